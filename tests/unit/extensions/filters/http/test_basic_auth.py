"""Who knows the password of a user; what Envoy answers is in tests/conformance/scenarios."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from minienvoy.config.api import message_class
from minienvoy.errors import ConfigError
from minienvoy.extensions.filters.http.basic_auth import decode_base64, read_users
from tests.unit.http_bench import Bench

HASH = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="
"""Of `secret`."""
MakeBench = Callable[..., Bench]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (b"YTpi", b"a:b"),
        (b"YTo=", b"a:"),
        (b"YTo", b"a:"),
        (b"YQ==", b"a"),
        (b"YQ=", b"a"),
        (b"YQ===", b""),
        (b"YR==", b""),
        (b"Y", b""),
        (b"YTpi?", b""),
        (b" YTpi", b""),
        (b"", b""),
    ],
)
def test_base64_may_do_without_its_padding_and_nothing_else(text: bytes, plain: bytes) -> None:
    assert decode_base64(text) == plain


def source(text: str) -> object:
    return message_class("envoy.config.core.v3.DataSource")(inline_string=text)


def test_users_are_lines_and_comments_are_none() -> None:
    assert read_users(source(f"# all\n\nann:{HASH}\nbob:{HASH}\n"), "users") == {
        b"ann": HASH[5:].encode(),
        b"bob": HASH[5:].encode(),
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ann", "username:password is expected"),
        (f":{HASH}", "empty user name or password"),
        ("ann:", "empty user name or password"),
        (f"ann:{HASH}\nann:{HASH}", "duplicate users"),
        ("ann:$apr1$x", "please use {SHA}"),
        ("ann:{SHA}short", "invalid SHA hash length"),
        ("", "cannot be empty"),
    ],
)
def test_a_line_that_is_none_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        read_users(source(text), "users")


def test_who_knows_the_password_comes_in(bench: MakeBench) -> None:
    b = bench(http_filters={"basic_auth": {"users": {"inline_string": f"ann:{HASH}"}}})
    client = b.client().get("/", "authorization: Basic YW5uOnNlY3JldA==")
    assert b.upstream.received().startswith(b"GET / HTTP/1.1")
    denied = b.client().get("/", "authorization: Basic YW5uOndyb25n")
    assert denied.received().startswith(b'HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic realm="http://')
    assert client.received() == b""
    assert b.stats("http.basic_auth.allowed", "http.basic_auth.denied") == [1, 1]
