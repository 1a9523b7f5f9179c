"""One object that can not be served is left out, and all others are served."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from minienvoy.event.dispatcher import Dispatcher
from minienvoy.extensions import register_catalogue
from minienvoy.ingress.bootstrap import bootstrap
from minienvoy.ingress.controller import translate
from minienvoy.ingress.isolation import MOST_CHECKS, Isolation, problem_of
from minienvoy.ingress.model import Model
from tests.unit.ingress.test_translation import SETTINGS, found, notes

ROUTE = """
kind: Ingress
metadata: {name: NAME}
spec:
  ingressClassName: mine
  rules: [{host: NAME.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
"""  # noqa: E501


def configuration(model: Model) -> dict[str, Any]:
    return bootstrap(model, "127.0.0.1", "", {})


def hosts(values: dict[str, Any]) -> set[str]:
    found = set()
    for listener in values["static_resources"]["listeners"]:
        for each in listener["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]:
            found.add(each["name"])
    return found


class World:
    """What is wrong: hosts that can not be, and hosts that can not be beside each other."""

    def __init__(self, *wrong: str, apart: tuple[str, ...] = ()) -> None:
        self.wrong = set(wrong)
        self.apart = set(apart)
        self.checks = 0
        self.isolation = Isolation(configuration, self._problem)

    async def _problem(self, values: dict[str, Any]) -> str:
        self.checks += 1
        there = hosts(values)
        if there & self.wrong:
            return "wrong"
        return "two of a kind" if len(there & self.apart) > 1 else ""

    def search(self, names: list[str]) -> set[str]:
        return hosts(configuration(asyncio.run(self.isolation.search(self.model(names)))))

    def model(self, names: list[str]) -> Model:
        return translate(found("\n---\n".join(ROUTE.replace("NAME", name) for name in names)), SETTINGS)


def test_who_is_wrong_is_left_out_and_nobody_else() -> None:
    world = World("b.test")
    assert world.search(["a", "b", "c"]) == {"a.test", "c.test"}
    assert world.isolation.left_out == {"Ingress default/b": "wrong"}


def test_what_was_found_out_is_not_asked_again() -> None:
    world = World("b.test")
    names = ["a", "b", "c"]
    world.search(names)
    checks = world.checks
    assert hosts(configuration(world.isolation.rest(world.model(names)))) == {"a.test", "c.test"}
    assert world.checks == checks
    world.search([*names, "d"])
    assert world.checks == checks + 2  # the new one, and all together


def test_who_is_mended_is_served_again() -> None:
    world = World("b.test")
    world.search(["a", "b"])
    text = ROUTE.replace("NAME", "a") + "\n---\n" + ROUTE.replace("NAME.test", "z.test").replace("NAME", "b")
    rest = world.isolation.rest(translate(found(text), SETTINGS))
    assert hosts(configuration(rest)) == {"a.test", "z.test"}
    assert world.isolation.left_out == {}


def test_of_those_that_do_not_go_together_the_older_one_stays() -> None:
    world = World(apart=("b.test", "d.test", "f.test"))
    assert world.search(list("abcdefg")) == {"a.test", "b.test", "c.test", "e.test", "g.test"}
    assert world.isolation.left_out == {"Ingress default/d": "two of a kind", "Ingress default/f": "two of a kind"}


def test_the_work_is_bounded() -> None:
    names = [f"n{number}" for number in range(100)]
    world = World(apart=tuple(f"{name}.test" for name in names))
    assert world.search(names) == {"n0.test"}
    assert world.checks <= len(names) + 1 + MOST_CHECKS
    assert len(world.isolation.left_out) == 99
    assert "too much is wrong to look at it: two of a kind" in world.isolation.left_out.values()


def test_what_is_nobodys_fault_is_told_of_everybody_once() -> None:
    world = World("a.test", "b.test")
    assert world.search(["a", "b"]) == set()
    assert len(world.isolation.left_out) == 2


# -- what is really wrong

GATE = """
kind: Gateway
metadata: {name: gate}
spec: {gatewayClassName: mine, listeners: [{name: web, port: 80, protocol: HTTP}]}
---
kind: Service
metadata: {name: web}
---
kind: HTTPRoute
metadata: {name: good}
spec:
  parentRefs: [{name: gate}]
  hostnames: [good.test]
  rules: [{backendRefs: [{name: web, port: 80}]}]
---
kind: HTTPRoute
metadata: {name: bad}
spec:
  parentRefs: [{name: gate}]
  hostnames: [bad.test]
"""


@pytest.mark.parametrize(
    "rule",
    [
        'filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: "a\\nb", value: c}]}}]',
        "timeouts: {request: 99999999999999h}",
        "filters: [{type: RequestRedirect, requestRedirect: {port: -1}}]",
    ],
)
def test_a_route_that_can_not_be_is_left_out(rule: str) -> None:
    register_catalogue()
    model = translate(found(f"{GATE}  rules: [{{{rule}, backendRefs: [{{name: web, port: 80}}]}}]"), SETTINGS)

    async def rest() -> tuple[Model, dict[str, str]]:
        dispatcher = Dispatcher(asyncio.get_running_loop())
        isolation = Isolation(configuration, lambda values: problem_of(values, dispatcher))
        assert await problem_of(configuration(model), dispatcher)
        return await isolation.search(model), isolation.left_out

    served, left_out = asyncio.run(rest())
    assert hosts(configuration(served)) == {"good.test"}
    assert list(left_out) == ["HTTPRoute default/bad"]
    assert "virtual_hosts[0].routes[0]" in left_out["HTTPRoute default/bad"]


@pytest.mark.parametrize(
    ("rules", "note"),
    [
        ("[{backendRefs: [{port: 80}]}]", "spec is left out, it can not be understood: there is no 'name'"),
        ("[{matches: [{headers: [{value: x}]}]}]", "spec is left out, it can not be understood: there is no 'name'"),
        ("3", "spec is left out, it can not be understood: 'int' object is not iterable"),
        ("[{timeouts: {request: soon}}]", ""),
    ],
)
def test_what_can_not_be_understood_is_left_out(rules: str, note: str) -> None:
    model = translate(found(f"{GATE}  rules: {rules}"), SETTINGS)
    assert "good.test" in hosts(configuration(model))
    assert not note or notes(model) == [f"HTTPRoute default/bad: {note}"]


def test_a_listener_that_can_not_be_understood_takes_no_other_with_it() -> None:
    text = GATE.replace("listeners: [", "listeners: [{protocol: HTTP, name: broken}, ")
    model = translate(found(text), SETTINGS)
    assert hosts(configuration(model)) == {"good.test"}
    assert notes(model) == [
        "Gateway default/gate: spec.listeners[0] is left out, it can not be understood: there is no 'port'"
    ]
