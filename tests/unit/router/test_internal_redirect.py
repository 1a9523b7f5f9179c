"""Redirects that the proxy follows itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.config.schema import message_class
from minienvoy.extensions.internal_redirect import filter_state
from minienvoy.router.internal_redirect import RedirectTarget
from tests.unit.http_bench import GET, OK, Bench

MakeBench = Callable[..., Bench]
POST = b"POST /old HTTP/1.1\r\nhost: a.com\r\ncontent-length: 4\r\n\r\n"


def following(**policy: Any) -> list[Any]:
    return [{"name": "all", "match": {"prefix": "/"}, "route": {"cluster": "a", "internal_redirect_policy": policy}}]


def redirect(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Go\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode()


def test_the_client_sees_only_the_end_of_a_redirect(bench: MakeBench) -> None:
    b = bench(following())
    client = b.client().send(GET)
    first = b.upstream
    assert first.received().startswith(b"GET / HTTP/1.1\r\nhost: a.com\r\n")
    first.send(redirect("http://b.com/new?x"))
    second = b.upstreams[0]
    text = second.received()
    assert text.startswith(b"GET /new?x HTTP/1.1\r\nhost: b.com\r\n")
    assert b"x-envoy-original-url: http://a.com/\r\n" in text
    assert client.received() == b""
    second.send(OK)
    assert client.received().startswith(b"HTTP/1.1 200 OK\r\n")
    assert b.stats("cluster.upstream_internal_redirect_succeeded_total", "http.rq_total") == [1, 2]


def test_a_body_is_sent_again_from_memory(bench: MakeBench) -> None:
    b = bench(following())
    client = b.client().send(POST, b"ab").send(b"cd")
    b.upstream.received()
    b.upstreams[0].send(redirect("http://b.com/new"))
    assert b.upstreams[0].received().endswith(b"\r\n\r\nabcd")
    b.upstreams[0].send(OK)
    assert client.received().startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_body_that_was_too_large_to_keep_is_not_sent_again(bench: MakeBench) -> None:
    b = bench(following(), buffer_limit=100)
    client = b.client().send(b"POST / HTTP/1.1\r\nhost: a.com\r\ncontent-length: 200\r\n\r\n", b"x" * 60, b"x" * 140)
    b.upstream.send(redirect("http://b.com/new"))
    assert client.received().startswith(b"HTTP/1.1 302 Found\r\nlocation: http://b.com/new\r\n")
    assert b.stats("cluster.retry_or_shadow_abandoned", "cluster.upstream_internal_redirect_failed_total") == [1, 1]


def test_a_client_that_leaves_between_two_attempts_leaves_nothing(bench: MakeBench) -> None:
    b = bench(following(), hcm={"request_timeout": "9s", "stream_idle_timeout": "9s"})
    client = b.client().send(GET)
    b.upstream.send(redirect("http://b.com/new"))
    client.close()
    assert b.stat("http.downstream_rq_active") == 0


@pytest.mark.parametrize(
    ("answer", "stat"),
    [
        (redirect("/relative"), "bad_location"),
        (redirect("https://b.com/"), "unsafe_scheme"),
        (redirect("http://b.com?no-route"), "no_route"),
    ],
)
def test_what_can_not_be_followed_goes_to_the_client(bench: MakeBench, answer: bytes, stat: str) -> None:
    b = bench(following())
    client = b.client().send(GET)
    b.upstream.send(answer)
    assert client.received().startswith(b"HTTP/1.1 302 Found\r\n")
    assert b.stat(f"http.passthrough_internal_redirect_{stat}") == 1


def test_a_redirect_is_explained(bench: MakeBench) -> None:
    b = bench(following())
    b.client().send(GET)
    b.upstream.send(redirect("http://b.com/new"))
    b.upstreams[0].send(redirect("http://b.com/newer"))
    first, second = b.explanations
    assert first["internal_redirect"].chose == "/new"
    assert second["internal_redirect"].because == "too_many_redirects"


@pytest.mark.parametrize(
    ("state", "if_absent", "followed"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"k": True}, False, True),
        ({"k": False}, True, False),
        ({"k": 1}, True, True),
    ],
)
def test_a_filter_may_decide_whether_a_redirect_is_followed(
    state: dict[str, Any], if_absent: bool, followed: bool
) -> None:
    config = message_class(filter_state.CONFIG_TYPE)(redirect_enabled_key="k", redirect_if_absent=if_absent)
    accepts = filter_state.create_filter_state(config, "route")
    assert accepts(RedirectTarget("other", False, False, state)) is followed
