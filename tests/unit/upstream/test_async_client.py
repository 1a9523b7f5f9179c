"""Requests of the proxy's own, over HTTP/1 and HTTP/2, and gRPC calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hpack
import pytest

from minienvoy.http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from minienvoy.http.http1.selection import client_codec
from minienvoy.http.http2.frames import frame, rst_stream
from minienvoy.upstream.async_client import AsyncClient
from minienvoy.upstream.grpc_client import GrpcClient, GrpcDecoder, grpc_frame
from tests.unit.http_bench import OK, Bench

MakeBench = Callable[..., Bench]
HTTP2: dict[str, Any] = {"http2_protocol_options": {}}


class Heard:
    """Both kinds of callbacks, written down."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def on_success(self, headers: Any, body: bytes = b"", trailers: HeaderMap | None = None) -> None:
        if isinstance(headers, ResponseHeaderMap):
            self.events.append((headers.status, body))
        else:
            self.events.append(("message", headers))

    def on_failure(self, *why: Any) -> None:
        self.events.append(("failure", *why))

    def on_receive_message(self, message: bytes) -> None:
        self.events.append(("message", message))

    def on_remote_close(self, status: int, message: str) -> None:
        self.events.append(("closed", status, message))


def client_of(b: Bench) -> AsyncClient:
    return AsyncClient(b.cluster_manager, client_codec("native"))


def ask(b: Bench, heard: Heard, body: bytes = b"", **options: Any) -> Any:
    method = b"POST" if body else b"GET"
    made = client_of(b).send("a", RequestHeaderMap(method, b"/ask", b"host"), body, heard, **options)
    b.turns.settle()
    return made


def response(stream: int, *pairs: tuple[str, str], end: bool = False) -> bytes:
    return frame(1, 5 if end else 4, stream, hpack.Encoder().encode(pairs))


def test_a_request_and_its_response(bench: MakeBench) -> None:
    b, heard = bench(), Heard()
    ask(b, heard, b"hello")
    assert b.upstream.received() == (
        b"POST /ask HTTP/1.1\r\nhost: host\r\ncontent-length: 5\r\nx-envoy-internal: true\r\n"
        b"x-forwarded-for: 127.0.0.1\r\n\r\nhello"
    )
    b.upstream.send(OK)
    assert heard.events == [(200, b"ok")]
    assert b.stats("cluster.internal.upstream_rq_200", "cluster.upstream_rq_active") == [1, 0]


def test_connections_are_the_clusters_own(bench: MakeBench) -> None:
    b, heard = bench(), Heard()
    b.client().get()
    b.upstream.send(OK)
    b.upstream.received()
    ask(b, heard)
    assert b.upstream.received().startswith(b"GET /ask")
    b.upstream.send(OK)
    assert len(b.upstreams) == 1


@pytest.mark.parametrize("cluster", ["empty", "nowhere"])
def test_without_a_host_the_answer_is_503(bench: MakeBench, cluster: str) -> None:
    b, heard = bench(), Heard()
    client_of(b).send(cluster, RequestHeaderMap(b"GET", b"/", b"host"), b"", heard)
    assert heard.events == [(503, b"no healthy upstream")]


def test_a_connection_that_is_refused_is_503(bench: MakeBench) -> None:
    b, heard = bench(accepts=False), Heard()
    ask(b, heard)
    b.upstream.refuse()
    assert heard.events[0][0] == 503


def test_a_request_that_takes_too_long_is_504(bench: MakeBench) -> None:
    b, heard = bench(), Heard()
    ask(b, heard, timeout=2.0)
    b.advance(1.9)
    assert heard.events == []
    b.advance(0.2)
    assert heard.events == [(504, b"upstream request timeout")]
    assert b.stat("cluster.upstream_rq_timeout") == 1


def test_a_response_that_breaks_off_is_a_failure(bench: MakeBench) -> None:
    b, heard = bench(), Heard()
    ask(b, heard)
    b.upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel")
    b.upstream.close()
    assert heard.events == [("failure",)]


def test_a_response_that_is_too_large_is_a_failure(bench: MakeBench) -> None:
    b, heard = bench(), Heard()
    ask(b, heard, max_response=1)
    b.upstream.send(OK)
    assert heard.events == [("failure",)]


@pytest.mark.parametrize("accepts", [True, False])
def test_who_gives_up_hears_nothing(bench: MakeBench, accepts: bool) -> None:
    b, heard = bench(accepts=accepts), Heard()
    ask(b, heard).reset()
    assert heard.events == []
    assert b.stats("cluster.upstream_rq_active", "cluster.upstream_rq_pending_active") == [0, 0]


def grpc(b: Bench) -> GrpcClient:
    return GrpcClient(client_of(b), "a")


def test_a_unary_call(bench: MakeBench) -> None:
    b, heard = bench(cluster=HTTP2), Heard()
    grpc(b).send("p.S/M", b"ask", heard, timeout=1.5)
    b.turns.settle()
    sent = b.upstream.received()
    assert grpc_frame(b"ask") in sent
    assert b"1500m" in sent
    b.upstream.send(
        frame(4, 0, 0)
        + response(1, (":status", "200"), ("content-type", "application/grpc"))
        + frame(0, 0, 1, grpc_frame(b"answer"))
        + response(1, ("grpc-status", "0"), end=True)
    )
    assert heard.events == [("message", b"answer")]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (response(1, (":status", "200"), ("grpc-status", "7"), ("grpc-message", "no%20way"), end=True), (7, "no way")),
        (response(1, (":status", "200"), end=True), (2, "")),
        (response(1, (":status", "503"), end=True), (14, "")),
        (response(1, (":status", "200")) + response(1, ("grpc-status", "0"), end=True), (13, "")),
        (response(1, (":status", "200")) + frame(0, 0, 1, b"\x07\0\0\0\0"), (13, "")),
        (response(1, (":status", "200")) + rst_stream(1, 2), (13, "")),
        (rst_stream(1, 2), (14, "")),
    ],
)
def test_a_call_that_fails(bench: MakeBench, frames: bytes, expected: tuple[int, str]) -> None:
    b, heard = bench(cluster=HTTP2), Heard()
    grpc(b).send("p.S/M", b"ask", heard)
    b.turns.settle()
    b.upstream.send(frame(4, 0, 0) + frames)
    assert heard.events == [("failure", *expected)]


def test_a_streaming_call(bench: MakeBench) -> None:
    b, heard = bench(cluster=HTTP2), Heard()
    stream = grpc(b).start("p.S/M", heard)
    stream.send(b"one")
    b.turns.settle()
    b.upstream.send(frame(4, 0, 0) + response(1, (":status", "200")) + frame(0, 0, 1, grpc_frame(b"1") * 2))
    stream.send(b"two")
    stream.close()
    b.turns.settle()
    assert grpc_frame(b"two") in b.upstream.received()
    b.upstream.send(response(1, ("grpc-status", "0"), end=True))
    assert heard.events == [("message", b"1"), ("message", b"1"), ("closed", 0, "")]


def test_an_answer_that_is_no_grpc_is_not_waited_for(bench: MakeBench) -> None:
    b, heard = bench(cluster=HTTP2), Heard()
    grpc(b).send("p.S/M", b"ask", heard)
    b.turns.settle()
    b.upstream.received()
    b.upstream.send(frame(4, 0, 0) + response(1, (":status", "503")))
    assert heard.events == [("failure", 14, "")]
    assert rst_stream(1, 2) in b.upstream.received()
    b.upstream.send(frame(0, 1, 1, b"a page"))
    assert len(heard.events) == 1


def test_how_long_an_answer_took_is_said(bench: MakeBench) -> None:
    b, heard = bench(), StreamHeard()
    client_of(b).start("a", heard).send_headers(RequestHeaderMap(b"GET", b"/", b"a"), True)
    b.turns.settle()
    b.advance(0.25)
    b.upstream.send(OK)
    assert heard.headers is not None
    assert heard.headers.get(b"x-envoy-upstream-service-time") == b"250"


def test_an_answer_that_is_reset_is_counted(bench: MakeBench) -> None:
    b, heard = bench(cluster=HTTP2), StreamHeard()
    stream = client_of(b).start("a", heard)
    stream.send_headers(RequestHeaderMap(b"GET", b"/", b"a"), True)
    b.turns.settle()
    b.upstream.send(frame(4, 0, 0) + response(1, (":status", "200")) + rst_stream(1, 2))
    assert heard.events == ["headers 200", "reset"]
    assert b.stat("cluster.upstream_rq_rx_reset") == 1


def test_messages_come_out_whole_however_they_are_split() -> None:
    wire = grpc_frame(b"hello") + grpc_frame(b"") + grpc_frame(b"x" * 300)
    for size in (1, 3, 7, 1000):
        decoder = GrpcDecoder()
        found = [each for at in range(0, len(wire), size) for each in decoder.feed(wire[at : at + size])]
        assert found == [b"hello", b"", b"x" * 300]
        assert decoder.empty
    with pytest.raises(ValueError, match="message"):
        GrpcDecoder(4).feed(grpc_frame(b"hello"))


def test_a_timeout_is_told_and_who_asked_before_is_not_forgotten(bench: MakeBench) -> None:
    b, heard = bench(), Heard()
    headers = RequestHeaderMap(b"GET", b"/ask", b"host")
    headers.add(b"x-forwarded-for", b"1.2.3.4")
    client_of(b).send("a", headers, b"", heard, timeout=0.25)
    b.turns.settle()
    assert b.upstream.received().endswith(
        b"x-forwarded-for: 1.2.3.4,127.0.0.1\r\nx-envoy-internal: true\r\nx-envoy-expected-rq-timeout-ms: 250\r\n\r\n"
    )


def test_what_waits_for_a_connection_is_bounded(bench: MakeBench) -> None:
    b = bench(accepts=False, cluster={"per_connection_buffer_limit_bytes": {"value": 100}})
    heard = StreamHeard()
    stream = client_of(b).start("a", heard)
    stream.send_headers(RequestHeaderMap(b"POST", b"/", b"a"), False)
    stream.send_data(b"x" * 100, False)
    assert heard.events == []
    stream.send_data(b"x", False)
    assert heard.events == ["reset"]
    assert stream.done
    assert b.stat("cluster.upstream_rq_pending_active") == 0


def test_who_can_stop_is_told_to_and_goes_on_when_there_is_a_connection(bench: MakeBench) -> None:
    b = bench(accepts=False, cluster={"per_connection_buffer_limit_bytes": {"value": 100}})
    heard = StreamHeard()
    told: list[bool] = []
    stream = client_of(b).start("a", heard)
    stream.above_watermark = told.append
    stream.send_headers(RequestHeaderMap(b"POST", b"/", b"a"), False)
    for _ in range(3):
        stream.send_data(b"x" * 60, False)
    assert told == [True]
    b.upstream.accept()
    assert told[:2] == [True, False]
    names = ("cluster.upstream_flow_control_backed_up_total", "cluster.upstream_flow_control_drained_total")
    assert b.stats(*names) == [1, 1]
    assert heard.events == []


class StreamHeard:
    """What comes of a stream, in a word each."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.headers: ResponseHeaderMap | None = None

    def on_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self.headers = headers
        self.events.append(f"headers {headers.status}")

    def on_data(self, data: bytes, end_stream: bool) -> None:
        self.events.append(f"data {len(data)}")

    def on_trailers(self, trailers: HeaderMap) -> None:
        self.events.append("trailers")

    def on_complete(self) -> None:
        self.events.append("complete")

    def on_reset(self) -> None:
        self.events.append("reset")
