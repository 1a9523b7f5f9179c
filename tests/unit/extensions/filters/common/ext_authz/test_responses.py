"""What the answers of an authorization server mean, in either protocol."""

from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config.api import message_class
from minienvoy.errors import ConfigError
from minienvoy.extensions.filters.common.ext_authz.grpc_client import response_of
from minienvoy.extensions.filters.common.ext_authz.http_client import HttpAuthorizationClient
from minienvoy.extensions.filters.common.ext_authz.response import CheckStatus, Response
from minienvoy.http.header_map import ResponseHeaderMap, entry


def grpc(**fields: Any) -> Response:
    return response_of(message_class("envoy.service.auth.v3.CheckResponse")(**fields))


def test_no_status_is_ok() -> None:
    assert grpc().status is CheckStatus.OK


def test_what_is_not_ok_is_denied_with_403() -> None:
    response = grpc(status={"code": 7})
    assert (response.status, response.status_code, response.grpc_status) == (CheckStatus.DENIED, 403, 7)


def test_an_error_leaves_its_status_to_the_filter() -> None:
    response = grpc(status={"code": 13}, error_response={"body": "b"})
    assert (response.status, response.status_code, response.body) == (CheckStatus.ERROR, 0, b"b")


def test_of_request_headers_only_append_is_looked_at() -> None:
    headers = [
        {"header": {"key": "a", "value": "1"}, "append_action": "ADD_IF_ABSENT"},
        {"header": {"key": "b", "value": "2"}, "append": {"value": True}},
    ]
    response = grpc(ok_response={"headers": headers})
    assert (response.headers_to_set, response.headers_to_append) == ([(b"a", b"1")], [(b"b", b"2")])


def test_of_response_headers_each_action_has_its_place_and_an_unknown_one_is_told() -> None:
    headers = [{"header": {"key": str(action), "value": ""}, "append_action": action} for action in (0, 1, 2, 3, 9)]
    response = grpc(ok_response={"response_headers_to_add": headers})
    assert [
        response.response_headers_to_add,
        response.response_headers_to_add_if_absent,
        response.response_headers_to_set,
        response.response_headers_to_overwrite_if_exists,
        response.invalid_action,
    ] == [[(b"0", b"")], [(b"1", b"")], [(b"2", b"")], [(b"3", b"")], True]


def http_client(**fields: Any) -> HttpAuthorizationClient:
    make = message_class("envoy.extensions.filters.http.ext_authz.v3.HttpService")
    return HttpAuthorizationClient(make(server_uri={"uri": "http://a", "cluster": "a"}, **fields), "s", None)  # type: ignore[arg-type]


def http(status: int, *headers: tuple[bytes, bytes], **fields: Any) -> Response:
    map_of = ResponseHeaderMap(status, [entry(*each) for each in headers])
    return http_client(**fields).response_of(map_of, b"body")


@pytest.mark.parametrize(
    ("status", "means"),
    [(200, CheckStatus.OK), (204, CheckStatus.DENIED), (302, CheckStatus.DENIED), (499, CheckStatus.DENIED),
     (500, CheckStatus.ERROR), (503, CheckStatus.ERROR)],
)  # fmt: skip
def test_only_200_lets_pass(status: int, means: CheckStatus) -> None:
    assert http(status).status is means


def test_what_is_to_be_removed_is_told_in_a_header_that_nobody_else_sees() -> None:
    said = (b"x-envoy-auth-headers-to-remove", b"a, b ,,c")
    allowed = http(200, said, authorization_response={"allowed_upstream_headers": {"patterns": [{"prefix": "x-"}]}})
    assert (allowed.headers_to_remove, allowed.headers_to_set) == ([b"a", b"b", b"c"], [])
    denied = http(403, said)
    assert (denied.headers_to_remove, denied.headers_to_set) == ([], [(b":status", b"403")])


def test_a_denial_with_a_list_keeps_what_a_client_needs() -> None:
    listed = {"allowed_client_headers": {"patterns": [{"exact": "x-a"}]}}
    headers = [(b"x-a", b"1"), (b"x-b", b"2"), (b"location", b"/"), (b"content-length", b"4")]
    denied = http(302, *headers, authorization_response=listed)
    assert [name for name, _ in denied.headers_to_set] == [b":status", b"x-a", b"location", b"content-length"]
    assert denied.body == b"body"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"path_prefix": "a"}, "path_prefix should start with"),
        ({"path_prefix": "/a", "path_override": "/b"}, "Only one of path_prefix or path_override"),
        ({"retry_policy": {"host_selection_retry_max_attempts": 3}}, "host_selection_retry_max_attempts"),
    ],
)
def test_what_can_not_be_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        http_client(**fields)
