"""Role based access control; what Envoy answers is in tests/conformance/scenarios/rbac_*.yaml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.config.schema import message_class
from minienvoy.errors import ConfigError
from minienvoy.extensions.filters.common.rbac.engine import RULES_TYPE, RulesEngine, Verdict
from minienvoy.extensions.filters.common.rbac.rules import compile_permissions
from minienvoy.extensions.filters.common.rbac.statistics import response_details
from tests.unit.http_bench import OK, Bench

MakeBench = Callable[..., Bench]
ANY = [{"any": True}]
BOB = {"header": {"name": "x-user", "string_match": {"exact": "bob"}}}


def test_who_matches_no_policy_is_refused(bench: MakeBench) -> None:
    b = bench(http_filters={"rbac": {"rules": {"policies": {"p": {"permissions": [BOB], "principals": ANY}}}}})
    client = b.client().get("/")
    assert client.received().startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert not b.upstreams
    client.get("/", "x-user: bob")
    b.upstream.send(OK)
    assert client.received().startswith(b"HTTP/1.1 200 OK\r\n")
    assert b.stats("http.rbac.allowed", "http.rbac.denied") == [1, 1]


def test_shadow_rules_count_and_refuse_nobody(bench: MakeBench) -> None:
    b = bench(http_filters={"rbac": {"shadow_rules": {"policies": {"p": {"permissions": [BOB], "principals": ANY}}}}})
    client = b.client().get("/")
    b.upstream.send(OK)
    assert client.received().startswith(b"HTTP/1.1 200 OK\r\n")
    assert b.stats("http.rbac.shadow_denied", "http.rbac.denied") == [1, 0]


def rules(**config: Any) -> Any:
    from google.protobuf.json_format import ParseDict

    return ParseDict(config, message_class(RULES_TYPE)())


def test_the_policy_that_comes_first_by_name_is_told() -> None:
    policy = {"permissions": ANY, "principals": ANY}
    engine = RulesEngine(rules(action="DENY", policies={"b": policy, "a": policy, "B": policy}), "rules")
    nothing: Any = None
    assert engine.judge(nothing, nothing, nothing) == Verdict(False, "B")


@pytest.mark.parametrize(
    ("action", "allowed", "hint"), [("ALLOW", False, None), ("DENY", True, None), ("LOG", True, False)]
)
def test_without_policies_the_action_decides(action: str, allowed: bool, hint: bool | None) -> None:
    nothing: Any = None
    assert RulesEngine(rules(action=action), "rules").judge(nothing, nothing, nothing) == Verdict(allowed, None, hint)


def test_a_range_of_ports_that_is_none_is_refused_with_its_place() -> None:
    policies = {"p": {"permissions": [{"destination_port_range": {"start": 5, "end": 5}}], "principals": ANY}}
    permissions = rules(policies=policies).policies["p"].permissions
    with pytest.raises(ConfigError, match="range start 5 cannot be greater or equal than range end 5") as refused:
        compile_permissions(permissions, "permissions")
    assert refused.value.path == "permissions[0].destination_port_range"


def test_spaces_in_the_name_of_a_policy_do_not_split_a_log_line() -> None:
    assert response_details("my policy") == "rbac_access_denied_matched_policy[my_policy]"
    assert response_details(None) == "rbac_access_denied_matched_policy[none]"
