"""What an authorization server is told; what Envoy tells it is in tests/conformance/scenarios."""

from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config.api import message_class
from minienvoy.errors import ConfigError
from minienvoy.extensions.filters.common.ext_authz.check_request import (
    CheckRequests,
    HeaderRules,
    PeerSettings,
    compile_key_matchers,
    fill_metadata,
    sanitized,
)
from minienvoy.http.header_map import RequestHeaderMap, entry
from minienvoy.network.address import Address
from minienvoy.stream_info import ConnectionInfo, StreamInfo


def request() -> RequestHeaderMap:
    pairs = [(b"x-a", b"1"), (b"x-b", b"\xff"), (b"x-a", b"2"), (b"x-envoy-auth-partial-body", b"mine")]
    return RequestHeaderMap(b"GET", b"/p", b"a.test", [entry(*pair) for pair in pairs])


def stream() -> StreamInfo:
    made = StreamInfo()
    made.start_time, made.protocol = 1.5, "HTTP/1.1"
    return made


CONNECTION = ConnectionInfo(Address.ip("127.0.0.1", 80), Address.pipe("/run/socket"))


@pytest.mark.parametrize(
    ("value", "text"),
    [(b"a", "a"), (b"\xc3\xa4", "ä"), (b"a\xffb", "a!b"), (b"\xe2\x82", "!!"), ("CN=\xc3\xa4", "CN=ä")],
)
def test_what_is_no_utf8_is_told_as_an_exclamation_mark(value: bytes | str, text: str) -> None:
    assert sanitized(value) == text


def test_a_header_that_comes_twice_is_told_once() -> None:
    assert HeaderRules().joined(request()) == {
        b":authority": b"a.test",
        b":path": b"/p",
        b":method": b"GET",
        b":scheme": b"http",
        b"x-a": b"1,2",
        b"x-b": b"\xff",
    }


def test_an_http_server_is_always_told_what_it_needs() -> None:
    patterns = message_class("envoy.type.matcher.v3.ListStringMatcher")(patterns=[{"exact": "x-b"}])
    rules = HeaderRules(compile_key_matchers(patterns, "", http=True), b"x-a".__eq__)
    assert list(rules.joined(request())) == [b":authority", b":path", b":method", b"x-b"]


def test_a_pattern_that_is_none_is_told_with_its_place() -> None:
    patterns = message_class("envoy.type.matcher.v3.ListStringMatcher")(patterns=[{"safe_regex": {"regex": "("}}])
    with pytest.raises(ConfigError, match=r"allowed_headers\.patterns\[0\]\.safe_regex"):
        compile_key_matchers(patterns, "allowed_headers")


def test_raw_headers_are_a_list_and_the_body_is_told_with_whether_it_is_all() -> None:
    requests = CheckRequests(PeerSettings(False, False, {"a": "b"}), raw_headers=True, raw_body=True, next_id=lambda: 7)
    made = requests.of_request(request(), stream(), CONNECTION, b"\xff", True)
    http = made.attributes.request.http
    told = [(each.key, each.raw_value) for each in http.header_map.headers]
    assert told[-4:] == [("x-a", b"1"), ("x-b", b"\xff"), ("x-a", b"2"), ("x-envoy-auth-partial-body", b"true")]
    assert (http.id, http.raw_body, http.body, dict(http.headers)) == ("7", b"\xff", "", {})
    assert dict(made.attributes.destination.labels) == {"a": "b"}
    assert made.attributes.request.time.nanos == 500_000_000


def test_an_address_may_be_a_path() -> None:
    made = CheckRequests(PeerSettings(False, True, {})).of_connection(CONNECTION)
    assert made.attributes.source.address.pipe.path == "/run/socket"
    assert made.attributes.destination.address.socket_address.port_value == 80
    assert made.attributes.HasField("tls_session")


def test_labels_are_what_the_node_says_under_a_key() -> None:
    node = message_class("envoy.config.core.v3.Node")()
    node.metadata.update({"labels": {"a": "b", "n": 1}})
    proto = message_class("envoy.extensions.filters.network.ext_authz.v3.ExtAuthz")
    settings = PeerSettings.from_proto(proto(bootstrap_metadata_labels_key="labels"), node)
    assert settings.labels == {"a": "b", "n": ""}
    assert PeerSettings.from_proto(proto(bootstrap_metadata_labels_key="none"), node).labels == {}


def test_of_metadata_the_first_who_knows_is_asked() -> None:
    metadata: Any = message_class("envoy.config.core.v3.Metadata")()
    fill_metadata(metadata, ({"a": {"x": 1}}, None, {"a": {"x": 2}, "b": {"y": "z"}}), ("a", "b", "c"))
    assert {name: dict(value) for name, value in metadata.filter_metadata.items()} == {"a": {"x": 1.0}, "b": {"y": "z"}}
