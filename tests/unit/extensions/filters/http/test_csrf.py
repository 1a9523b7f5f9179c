"""The CSRF filter; what Envoy answers is in tests/conformance/scenarios/csrf.yaml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.extensions.filters.http import csrf
from minienvoy.extensions.filters.http.csrf import CsrfPolicy, host_and_port, source_origin
from minienvoy.http.header_map import RequestHeaderMap, entry
from tests.unit.http_bench import OK, Bench

MakeBench = Callable[..., Bench]
ALWAYS = {"default_value": {"numerator": 100}}
NEVER = {"default_value": {"numerator": 0}}


def posted(b: Bench, *headers: str) -> bytes:
    """The status line of the answer to a POST."""
    lines = ["POST / HTTP/1.1", "host: a.com", "content-length: 0", *headers, "", ""]
    client = b.client().send("\r\n".join(lines).encode())
    if b.upstreams and not b.upstream.closed:
        b.upstream.send(OK)
    return client.received().partition(b"\r\n")[0]


def test_who_comes_from_another_site_changes_nothing(bench: MakeBench) -> None:
    b = bench(http_filters={"csrf": {"filter_enabled": ALWAYS, "additional_origins": [{"suffix": ".b.com"}]}})
    assert posted(b, "origin: http://c.com") == b"HTTP/1.1 403 Forbidden"
    assert posted(b) == b"HTTP/1.1 403 Forbidden"
    assert posted(b, "origin: http://a.com") == b"HTTP/1.1 200 OK"
    assert posted(b, "origin: https://x.b.com") == b"HTTP/1.1 200 OK"
    names = ("request_invalid", "missing_source_origin", "request_valid")
    assert b.stats(*(f"http.csrf.{name}" for name in names)) == [1, 1, 2]


def test_in_the_shadow_it_only_counts(bench: MakeBench) -> None:
    b = bench(http_filters={"csrf": {"filter_enabled": NEVER, "shadow_enabled": ALWAYS}})
    assert posted(b, "origin: http://c.com") == b"HTTP/1.1 200 OK"
    assert b.stat("http.csrf.request_invalid") == 1


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (b"http://a.com", b"a.com"),
        (b"https://me@a.com:80/x?y#z", b"a.com:80"),
        (b"a.com", b"a.com"),
        (b"http:///x", b"http:///x"),
    ],
)
def test_of_a_url_host_and_port_count(url: bytes, expected: bytes) -> None:
    assert host_and_port(url) == expected


def test_an_origin_that_is_null_is_not_known_whatever_the_referer_says() -> None:
    headers = RequestHeaderMap(b"POST", b"/", b"a.com", [entry(b"referer", b"http://a.com/x")])
    assert source_origin(headers) == b"a.com"
    headers.set(b"origin", b"null")
    assert source_origin(headers) == b""


def test_a_wrong_regex_is_refused_with_its_place(bench: MakeBench) -> None:
    wrong: dict[str, Any] = {"filter_enabled": ALWAYS, "additional_origins": [{"safe_regex": {"regex": "("}}]}
    with pytest.raises(ConfigError) as refused:
        CsrfPolicy(load_dict(wrong, csrf.TYPE).message, "here", bench().server)
    assert refused.value.path == "here.additional_origins[0].safe_regex.regex"
