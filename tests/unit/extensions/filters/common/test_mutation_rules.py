"""Which headers somebody else may change."""

from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config.api import message_class
from minienvoy.extensions.filters.common.mutation_rules import CheckResult, MutationRules, Operation, is_removable

SET, APPEND, REMOVE = Operation.SET, Operation.APPEND, Operation.REMOVE


def rules(**said: Any) -> MutationRules:
    make = message_class("envoy.config.common.mutation_rules.v3.HeaderMutationRules")
    wrapped = {name: {"value": value} if isinstance(value, bool) else {"regex": value} for name, value in said.items()}
    return MutationRules.from_proto(make(**wrapped), "rules")


@pytest.mark.parametrize(
    ("said", "operation", "name", "allowed"),
    [
        ({}, SET, b"x-a", True),
        ({}, SET, b"x-envoy-a", False),
        ({"allow_envoy": True}, SET, b"x-envoy-a", True),
        ({}, SET, b"host", False),
        ({}, SET, b":authority", False),
        ({}, SET, b":path", True),
        ({}, APPEND, b":path", False),
        ({"disallow_system": True}, SET, b":path", False),
        ({"allow_all_routing": True}, SET, b":method", True),
        ({"allow_all_routing": True}, REMOVE, b":method", False),
        ({}, REMOVE, b"x-a", True),
        ({"disallow_all": True}, SET, b"x-a", False),
        ({"disallow_all": True, "allow_expression": "x-.*"}, SET, b"x-a", True),
        ({"allow_expression": "x-.*", "disallow_expression": "x-a"}, SET, b"x-a", False),
        ({"allow_expression": "host"}, REMOVE, b"host", False),
    ],
)
def test_who_may_change_what(said: dict[str, Any], operation: Operation, name: bytes, allowed: bool) -> None:
    assert rules(**said).check(operation, name, b"v") is (CheckResult.OK if allowed else CheckResult.IGNORE)


@pytest.mark.parametrize(
    ("name", "value", "valid"),
    [
        (b"x-a", b"a\nb", False),
        (b"x-a", b"a\tb", True),
        (b":authority", b"a b", False),
        (b":authority", b"[::1]:80", True),
        (b":scheme", b"HTTPS", True),
        (b":scheme", b"ftp", False),
        (b":status", b"199", False),
        (b":status", b"404", True),
        (b":status", b"many", False),
    ],
)
def test_a_value_has_to_make_sense(name: bytes, value: bytes, valid: bool) -> None:
    wanted = CheckResult.OK if valid else CheckResult.FAIL
    assert rules(allow_all_routing=True, disallow_is_error=True).check(SET, name, value) is wanted


def test_a_request_keeps_what_makes_it_one() -> None:
    assert [is_removable(name) for name in (b"host", b"Host", b":path", b"hosts")] == [False, False, False, True]
