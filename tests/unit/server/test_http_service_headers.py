"""Headers that a request to a service has of the configuration."""

from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.http.header_map import RequestHeaderMap
from minienvoy.server.http_service_headers import HttpServiceHeaders


def compiled(*pairs: tuple[str, str], **more: Any) -> HttpServiceHeaders:
    options = [
        load_dict({"header": {"key": key, "value": value}, **more}, "envoy.config.core.v3.HeaderValueOption").message
        for key, value in pairs
    ]
    return HttpServiceHeaders(options, "headers", None)


def applied(*pairs: tuple[str, str], **more: Any) -> RequestHeaderMap:
    headers = RequestHeaderMap(b"POST", b"/", b"a.com")
    headers.add(b"content-type", b"a/b")
    headers.add(b"x", b"before")
    compiled(*pairs, **more).apply(headers)
    return headers


def test_a_header_replaces_what_was_there_at_the_end() -> None:
    headers = applied(("Content-Type", "c/d"), ("y", "1"), ("y", "2"), append_action="APPEND_IF_EXISTS_OR_ADD")
    assert headers.pairs()[-3:] == [("x", "before"), ("content-type", "c/d"), ("y", "2")]


def test_a_format_knows_no_stream() -> None:
    assert applied(("y", "a %REQ(:PATH)%")).pairs()[-1] == ("y", "a -")


def test_empty_headers_stand_before_the_others() -> None:
    assert applied(("y", "1"), ("z", "")).pairs()[-2:] == [("z", ""), ("y", "1")]


def test_where_a_request_goes_can_be_changed_too() -> None:
    headers = applied(("host", "b.com"), (":path", "/p"), (":method", "PUT"))
    assert (headers.authority, headers.path, headers.method) == (b"b.com", b"/p", b"PUT")


def test_what_is_no_format_and_no_pseudo_header_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        compiled(("a", "1"), ("b", "%NOPE%"))
    assert caught.value.path == "headers[1].header.value"
    with pytest.raises(ConfigError) as caught:
        compiled((":status", "1"))
    assert caught.value.path == "headers[0].header.key"
