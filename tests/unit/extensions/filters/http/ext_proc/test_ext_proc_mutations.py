"""What a processor may change of headers, and what it is told of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from minienvoy.config.api import message_class
from minienvoy.extensions.filters.common.mutation_rules import MutationRules
from minienvoy.extensions.filters.http.ext_proc.mutations import (
    InvalidMutationError,
    apply_header_mutation,
    fill_headers,
    pairs,
)
from minienvoy.http.header_map import RequestHeaderMap, ResponseHeaderMap, entry


def request() -> RequestHeaderMap:
    return RequestHeaderMap(b"GET", b"/a", b"a.com", [entry(b"x-a", b"1"), entry(b"x-b", b"2"), entry(b"x-a", b"3")])


def change(headers: Any, *, remove: tuple[str, ...] = (), error: bool = False, **options: Any) -> int:
    """Set the headers of `options`; how many changes were refused."""
    mutation = message_class("envoy.service.ext_proc.v3.HeaderMutation")(remove_headers=remove)
    for name, value in options.items():
        said = mutation.set_headers.add()
        action, _, raw = value.rpartition(" ")
        said.header.key, said.header.raw_value = name.replace("_", "-").replace("-pseudo-", ":"), raw.encode()
        if action == "append":
            said.append.value = True
        elif action:
            said.append_action = action
    proto = message_class("envoy.config.common.mutation_rules.v3.HeaderMutationRules")()
    proto.disallow_is_error.value = error
    stats: Any = SimpleNamespace(rejected_header_mutations=0)
    apply_header_mutation(mutation, headers, MutationRules.from_proto(proto, ""), stats)
    return int(stats.rejected_header_mutations)


def shown(headers: Any) -> list[str]:
    return [f"{name.decode()}={value.decode()}" for name, value in pairs(headers)][4:]


@pytest.mark.parametrize(
    ("value", "made"),
    [
        ("new", ["x-b=2", "x-a=new"]),
        ("append new", ["x-a=1", "x-b=2", "x-a=3", "x-a=new"]),
        ("ADD_IF_ABSENT new", ["x-a=1", "x-b=2", "x-a=3"]),
        ("OVERWRITE_IF_EXISTS_OR_ADD new", ["x-b=2", "x-a=new"]),
        ("OVERWRITE_IF_EXISTS new", ["x-b=2", "x-a=new"]),
    ],
)
def test_a_header_that_is_there(value: str, made: list[str]) -> None:
    headers = request()
    assert change(headers, x_a=value) == 0
    assert shown(headers) == made


@pytest.mark.parametrize(("value", "added"), [("new", 1), ("ADD_IF_ABSENT new", 1), ("OVERWRITE_IF_EXISTS new", 0)])
def test_a_header_that_is_not_there(value: str, added: int) -> None:
    headers = request()
    change(headers, x_n=value)
    assert shown(headers).count("x-n=new") == added


def test_what_is_removed_goes_before_anything_is_set() -> None:
    headers = request()
    assert change(headers, remove=("x-a", "host", ":path"), x_a="ADD_IF_ABSENT 4") == 2
    assert shown(headers) == ["x-b=2", "x-a=4"]


def test_the_path_and_the_status_may_be_changed_the_method_may_not() -> None:
    headers, response = request(), ResponseHeaderMap(200)
    assert change(headers, _pseudo_path="/new", _pseudo_method="PUT") == 1
    assert (headers.path, headers.method) == (b"/new", b"GET")
    assert change(response, _pseudo_status="201") == 0
    assert response.status == 201


def test_what_is_not_allowed_may_be_an_error() -> None:
    with pytest.raises(InvalidMutationError, match="header_mutation_set_headers_failed"):
        change(request(), error=True, _pseudo_method="PUT")
    with pytest.raises(InvalidMutationError, match="header_mutation_remove_headers_failed"):
        change(request(), error=True, remove=("host",))


def test_a_line_break_is_an_error_whatever_is_allowed() -> None:
    with pytest.raises(InvalidMutationError):
        change(request(), x_a="a\r\nb:c")


def test_only_some_headers_are_told() -> None:
    proto = message_class("envoy.config.core.v3.HeaderMap")()
    fill_headers(proto, request(), lambda name: name in (b":path", b"x-a"))
    assert [(each.key, each.raw_value) for each in proto.headers] == [(":path", b"/a"), ("x-a", b"1"), ("x-a", b"3")]
