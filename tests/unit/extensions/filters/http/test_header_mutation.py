"""The filter that changes headers; what Envoy does is in tests/conformance/scenarios/header_mutation.yaml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.extensions.filters.http.header_mutation import CONFIG_TYPE, Mutations
from tests.unit.http_bench import OK, Bench

MakeBench = Callable[..., Bench]


def query(key: str, value: str, action: str = "APPEND_IF_EXISTS_OR_ADD") -> dict[str, Any]:
    return {"append": {"record": {"key": key, "value": value}, "action": action}}


def path_of(bench: MakeBench, path: str, *mutations: dict[str, Any]) -> bytes:
    """What the upstream is asked for."""
    b = bench(http_filters={"header_mutation": {"mutations": {"query_parameter_mutations": list(mutations)}}})
    b.client().get(path)
    asked = b.upstream.received().split(b" ")[1]
    b.upstream.send(OK)
    return asked


def test_both_directions_are_changed(bench: MakeBench) -> None:
    add = {"append": {"header": {"key": "x-new", "value": "%REQ(x-old)%!"}}}
    b = bench(
        http_filters={
            "header_mutation": {
                "mutations": {"request_mutations": [add, {"remove": "x-old"}], "response_mutations": [add]}
            }
        }
    )
    client = b.client().get("/", "x-old: 1")
    request = b.upstream.received()
    assert b"\r\nx-new: 1!\r\n" in request
    assert b"x-old" not in request
    b.upstream.send(OK)
    assert b"\r\nx-new: !\r\n" in client.received()


@pytest.mark.parametrize(
    ("path", "mutation", "expected"),
    [
        ("/?a=1", query("a", "2"), b"/?a=1&a=2"),
        ("/?a=1", query("a", "2", "ADD_IF_ABSENT"), b"/?a=1"),
        ("/", query("a", "2", "ADD_IF_ABSENT"), b"/?a=2"),
        ("/?a=1&a=3&b=4", query("a", "2", "OVERWRITE_IF_EXISTS_OR_ADD"), b"/?a=2&b=4"),
        ("/?b=1", query("a", "2", "OVERWRITE_IF_EXISTS"), b"/?b=1"),
        ("/?b=1&a=2", {"remove": "b"}, b"/?a=2"),
        ("/?a=1", {"remove": "a"}, b"/"),
        ("/", query("a", "x y&z"), b"/?a=x%20y%26z"),
    ],
)
def test_query_parameters(bench: MakeBench, path: str, mutation: dict[str, Any], expected: bytes) -> None:
    assert path_of(bench, path, mutation) == expected


def test_what_the_route_says_comes_after_it_and_the_filter_wins_if_it_is_to(bench: MakeBench) -> None:
    told = []
    for wins in (False, True):

        def setting(value: str) -> dict[str, Any]:
            header = {"header": {"key": "x-who", "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            return {"mutations": {"request_mutations": [{"append": header}]}}

        def per_route(value: str) -> dict[str, Any]:
            kind = "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute"
            return {"envoy.filters.http.header_mutation": {"@type": kind, **setting(value)}}

        route = {"match": {"prefix": "/"}, "route": {"cluster": "a"}, "typed_per_filter_config": per_route("route")}
        b = bench(
            [route],
            route_config={"typed_per_filter_config": per_route("table")},
            http_filters={"header_mutation": {**setting("filter"), "most_specific_header_mutations_wins": wins}},
        )
        b.client().get()
        told.append(b.upstream.received().partition(b"x-who: ")[2].partition(b"\r\n")[0])
        b.upstream.send(OK)
    assert told == [b"table", b"route"]


def test_a_parameter_without_a_record_is_refused_with_its_place(bench: MakeBench) -> None:
    wrong = load_dict({"mutations": {"query_parameter_mutations": [{"append": {}}]}}, CONFIG_TYPE).message
    with pytest.raises(ConfigError) as refused:
        Mutations(wrong.mutations, "here", bench().server)
    assert refused.value.path == "here.query_parameter_mutations[0].append"
