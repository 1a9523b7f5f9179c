from __future__ import annotations

import pytest

from minienvoy.http.filter import FilterDataStatus, FilterHeadersStatus, FilterTrailersStatus
from minienvoy.http.header_map import HeaderMap, RequestHeaderMap
from minienvoy.server.admin.admin_filter import MAX_BODY, create_admin_filter_factory
from minienvoy.server.admin.request import AdminRequest, AdminResponse, text_response


class Callbacks:
    def __init__(self) -> None:
        self.sent: list[tuple[object, ...]] = []

    def encode_headers(self, headers, end_stream, details):
        self.sent.append(("headers", headers.status, end_stream, details))

    def encode_data(self, data, end_stream):
        self.sent.append(("data", data, end_stream))

    def send_local_reply(self, status, body, details, modify_headers=None):
        self.sent.append(("local_reply", status, body, details))


class Filter:
    def __init__(self) -> None:
        self.requests: list[AdminRequest] = []
        self.filter = create_admin_filter_factory(self.run)()
        self.callbacks = self.filter.decoder_callbacks = Callbacks()

    def run(self, request: AdminRequest) -> AdminResponse:
        self.requests.append(request)
        return text_response("hello")


@pytest.fixture
def under_test() -> Filter:
    return Filter()


def head(method: bytes = b"GET", path: bytes = b"/ready", **headers: str) -> RequestHeaderMap:
    found = RequestHeaderMap(method, path, b"a")
    for name, value in headers.items():
        found[name.replace("_", "-")] = value
    return found


ANSWER = [("headers", 200, False, "admin_filter_response"), ("data", b"hello", True)]


def test_request_without_body_is_answered_from_its_headers(under_test):
    assert under_test.filter.decode_headers(head(), True) is FilterHeadersStatus.STOP_ITERATION
    assert under_test.callbacks.sent == ANSWER
    assert under_test.requests[0].path == "/ready"


def test_body_is_collected_before_the_handler_is_asked(under_test):
    form = head(b"POST", b"/runtime_modify", content_type="application/x-www-form-urlencoded")
    under_test.filter.decode_headers(form, False)
    assert under_test.filter.decode_data(b"a=", False) is FilterDataStatus.STOP_ITERATION_NO_BUFFER
    assert under_test.callbacks.sent == []
    under_test.filter.decode_data(b"1", True)
    assert under_test.callbacks.sent == ANSWER
    assert under_test.requests[0].query.first_values() == {"a": "1"}


def test_trailers_end_a_request(under_test):
    under_test.filter.decode_headers(head(b"POST"), False)
    under_test.filter.decode_data(b"x", False)
    assert under_test.filter.decode_trailers(HeaderMap()) is FilterTrailersStatus.STOP_ITERATION
    assert under_test.callbacks.sent == ANSWER
    assert under_test.requests[0].body == b"x"


def test_too_large_a_body_is_refused_once_and_not_kept(under_test):
    under_test.filter.decode_headers(head(b"POST"), False)
    under_test.filter.decode_data(b"x" * MAX_BODY, False)
    assert under_test.callbacks.sent == []
    under_test.filter.decode_data(b"x", False)
    under_test.filter.decode_data(b"x", True)
    assert under_test.callbacks.sent == [("local_reply", 413, "Payload Too Large", "request_payload_too_large")]
    assert under_test.requests == []


def test_path_of_any_bytes_reaches_the_handler(under_test):
    under_test.filter.decode_headers(head(path=b"/\xff\xc3\xa9"), True)
    assert under_test.requests[0].path == "/\udcffé"
