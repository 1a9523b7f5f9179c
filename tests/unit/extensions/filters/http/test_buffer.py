"""Buffered requests; what Envoy answers is in tests/conformance/scenarios/buffer.yaml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.unit.http_bench import OK, Bench

MakeBench = Callable[..., Bench]


def buffering(bench: MakeBench, limit: int, **options: Any) -> Bench:
    return bench(http_filters={"buffer": {"max_request_bytes": limit}}, **options)


def test_nothing_goes_on_before_everything_is_there(bench: MakeBench) -> None:
    b = buffering(bench, 100)
    client = b.client().send(b"POST / HTTP/1.1\r\nhost: a.com\r\ncontent-length: 6\r\n\r\n", b"abc")
    assert not b.upstreams
    client.send(b"def")
    assert b.upstream.received().endswith(b"\r\n\r\nabcdef")
    b.upstream.send(OK)
    assert client.received().endswith(b"ok")


def test_a_chunked_request_gets_a_length(bench: MakeBench) -> None:
    b = buffering(bench, 100)
    b.client().send(b"POST / HTTP/1.1\r\nhost: a.com\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", b"0\r\n\r\n")
    request = b.upstream.received()
    assert b"\r\ncontent-length: 3\r\n" in request
    assert request.endswith(b"\r\n\r\nabc")
    b.upstream.send(OK)


def test_the_limit_counts_and_not_the_buffer_of_the_connection(bench: MakeBench) -> None:
    b = buffering(bench, 5000, buffer_limit=10)
    client = b.client().send(b"POST / HTTP/1.1\r\nhost: a.com\r\ncontent-length: 9000\r\n\r\n", b"x" * 5000)
    assert client.reading
    client.send(b"x")
    assert client.received().startswith(b"HTTP/1.1 413 Payload Too Large\r\n")
    assert not b.upstreams
    assert b.stats("http.downstream_rq_too_large", "http.downstream_rq_4xx") == [1, 1]
    b.advance(2)
    assert client.gone


def test_what_is_held_back_goes_with_its_client(bench: MakeBench) -> None:
    b = buffering(bench, 100)
    b.client().send(b"POST / HTTP/1.1\r\nhost: a.com\r\ncontent-length: 6\r\n\r\nabc").close()
    assert not b.upstreams
