"""Changes that a service makes to a request and to its response."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from minienvoy.extensions.filters.common.ext_authz.response import CheckStatus, Response
from minienvoy.extensions.filters.http.ext_authz.mutations import (
    InvalidMutationError,
    ResponseChanges,
    change_query,
    change_request,
    take_over,
)
from minienvoy.http.header_map import SUSPECT, RequestHeaderMap, ResponseHeaderMap, entry


def config(validate: bool = False) -> Any:
    return SimpleNamespace(validate_mutations=validate, mutation_rules=None)


def request() -> RequestHeaderMap:
    return RequestHeaderMap(b"GET", b"/p?a=1&b=2&a=3", b"a.test", [entry(b"x-a", b"1"), entry(b"x-b", b"2")])


def allowed(**changes: Any) -> Response:
    response = Response(CheckStatus.OK, 200)
    for name, value in changes.items():
        setattr(response, name, value)
    return response


def test_what_is_set_comes_last_and_what_is_appended_needs_a_header() -> None:
    headers = request()
    changes = {
        "headers_to_set": [(b"X-A", b"9"), (b":path", b"/new")],
        "headers_to_append": [(b"x-b", b"3"), (b"x-none", b"3")],
        "headers_to_add": [(b"x-a", b"10")],
        "headers_to_remove": [b"host", b"x-none"],
    }
    change_request(headers, allowed(**changes), config())
    assert [item[:2] for item in headers.entries] == [(b"x-b", b"2,3"), (b"x-a", b"9"), (b"x-a", b"10")]
    assert (headers.path, headers.authority) == (b"/new", b"a.test")


def test_what_may_not_be_sent_is_marked_for_the_codec() -> None:
    headers = request()
    change_request(headers, allowed(headers_to_set=[(b"x-a", b"a\nb")]), config())
    assert headers.seen & SUSPECT
    with pytest.raises(InvalidMutationError):
        change_request(request(), allowed(headers_to_set=[(b"x-a", b"a\nb")]), config(validate=True))


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"query_parameters_to_set": [(b"a", b"9")]}, b"/p?a=9&b=2"),
        ({"query_parameters_to_remove": [b"a"]}, b"/p?b=2"),
        ({"query_parameters_to_remove": [b"a", b"b"]}, b"/p"),
        ({}, b"/p?a=1&b=2&a=3"),
    ],
)
def test_a_query_is_written_anew_if_it_changes(changes: dict[str, Any], path: bytes) -> None:
    headers = request()
    change_query(headers, allowed(**changes), config())
    assert headers.path == path


@pytest.mark.parametrize("value", [b"1 2", b"1%20", b"~", b"+"])
def test_a_parameter_that_needs_an_escape_is_none(value: bytes) -> None:
    with pytest.raises(InvalidMutationError):
        change_query(request(), allowed(query_parameters_to_set=[(b"a", value)]), config(validate=True))


def test_there_may_be_no_more_response_headers_than_the_limit_says() -> None:
    changes = ResponseChanges(allowed(response_headers_to_add=[(b"x-a", b"1"), (b"x-b", b"2")]))
    assert changes.apply(ResponseHeaderMap(200), 3)
    assert not changes.apply(ResponseHeaderMap(200), 2)


def test_a_local_reply_has_what_the_service_says_in_the_place_of_its_own() -> None:
    headers = ResponseHeaderMap(403, [entry(b"x-a", b"0")])
    take_over(headers, [(b":status", b"200"), (b"X-A", b"1"), (b"x-a", b"2")])
    assert (headers.status, [item[:2] for item in headers.entries]) == (403, [(b"x-a", b"1"), (b"x-a", b"2")])
