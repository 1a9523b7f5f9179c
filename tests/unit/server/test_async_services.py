"""Services that a configuration names: compiled, asked, and asked again."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any, cast

import hpack
import pytest
from google.protobuf.json_format import ParseDict

from minienvoy.config.api import message_class
from minienvoy.errors import ConfigError
from minienvoy.http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from minienvoy.http.http2.frames import frame
from minienvoy.server.async_services import (
    HTTP_RETRY_ON,
    GrpcServiceConfig,
    HttpUriConfig,
    async_client,
    core_retry_policy,
    host_and_path,
    retries_by,
)
from minienvoy.server.factory_context import ServerContext
from minienvoy.stream_info import StreamInfo
from minienvoy.upstream.async_client import DEFAULT_OPTIONS, AsyncStream, StreamOptions
from minienvoy.upstream.grpc_client import grpc_frame
from tests.unit.http_bench import OK, Bench

MakeBench = Callable[..., Bench]
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
GET = b"GET", b"/ask", b"host"


class Heard:
    def __init__(self) -> None:
        self.events: list[Any] = []

    def on_success(self, headers: Any, body: bytes = b"", trailers: HeaderMap | None = None) -> None:
        is_http = isinstance(headers, ResponseHeaderMap)
        self.events.append((headers.status, body) if is_http else headers)

    def on_failure(self, *why: Any) -> None:
        self.events.append(("failure", *why))


def proto(name: str, values: dict[str, Any]) -> Any:
    return ParseDict(values, message_class(f"envoy.config.core.v3.{name}")())


def server_of(b: Bench) -> ServerContext:
    server = cast(Any, b.server)
    server._singletons = None
    server.singleton = MethodType(ServerContext.singleton, server)
    return cast(ServerContext, server)


def retrying(b: Bench, **policy: Any) -> StreamOptions:
    compiled = core_retry_policy(proto("RetryPolicy", policy), "retry_policy", HTTP_RETRY_ON)
    return StreamOptions(retries=retries_by(compiled, server_of(b)))


def ask(b: Bench, heard: Heard, options: StreamOptions, body: bytes = b"", timeout: float = 0.0) -> AsyncStream:
    made = async_client(server_of(b)).send("a", RequestHeaderMap(*GET), body, heard, timeout, options=options)
    b.turns.settle()
    return made


def test_a_failure_is_tried_again_with_the_whole_request(bench: MakeBench) -> None:
    b, heard = bench(), Heard()
    ask(b, heard, retrying(b), b"hello")
    first = b.upstream.received()
    b.upstream.send(UNAVAILABLE)
    assert heard.events == []
    b.advance(1.0)
    assert b.upstream.received() == first
    assert first.endswith(b"\r\n\r\nhello")
    b.upstream.send(OK)
    assert heard.events == [(200, b"ok")]
    assert b.stats("cluster.upstream_rq_retry", "cluster.upstream_rq_retry_success") == [1, 1]
    assert (b.stat("cluster.upstream_rq_active"), b.store.value("http.async-client.rq_total")) == (0, 1)


def test_when_there_are_no_retries_left_the_failure_is_the_answer(bench: MakeBench) -> None:
    b, heard = bench(), Heard()
    ask(b, heard, retrying(b, num_retries=2))
    for _ in range(3):
        assert heard.events == []
        b.upstream.send(UNAVAILABLE)
        b.advance(10.0)
    assert heard.events == [(503, b"")]
    assert b.stats("cluster.upstream_rq_retry", "cluster.upstream_rq_retry_limit_exceeded") == [2, 1]


def test_a_connection_that_breaks_is_tried_again(bench: MakeBench) -> None:
    b, heard = bench(), Heard()
    ask(b, heard, retrying(b))
    b.upstream.close()
    assert heard.events == []
    b.advance(1.0)
    b.upstream.send(OK)
    assert heard.events == [(200, b"ok")]


def test_an_attempt_that_is_slow_is_given_up_for_another(bench: MakeBench) -> None:
    b, heard = bench(), Heard()
    ask(b, heard, retrying(b, retry_back_off={"base_interval": "0.1s", "max_interval": "0.5s"}))
    assert b"x-envoy-expected-rq-timeout-ms: 500" in b.upstream.received()
    b.advance(0.5)
    assert b.stat("cluster.upstream_rq_per_try_timeout") == 1
    b.advance(0.1)
    b.upstream.send(OK)
    assert heard.events == [(200, b"ok")]


def test_the_timeout_is_that_of_all_attempts(bench: MakeBench) -> None:
    b, heard = bench(), Heard()
    ask(b, heard, retrying(b, num_retries=9), timeout=3.0)
    b.upstream.send(UNAVAILABLE)
    b.advance(2.9)
    assert heard.events == []
    b.advance(0.2)
    assert heard.events == [(504, b"upstream request timeout")]
    b.advance(60.0)
    assert b.stats("cluster.upstream_rq_timeout", "cluster.upstream_rq_active") == [1, 0]


@pytest.mark.parametrize("waits", [True, False])
def test_who_gives_up_is_not_tried_for_again(bench: MakeBench, waits: bool) -> None:
    b, heard = bench(), Heard()
    stream = ask(b, heard, retrying(b))
    if waits:
        b.upstream.send(UNAVAILABLE)
    stream.reset()
    b.advance(60.0)
    assert heard.events == []
    assert b.stats("cluster.upstream_rq_active", "cluster.upstream_rq_retry") == [0, 0]


def test_what_is_too_large_to_be_kept_is_sent_once(bench: MakeBench) -> None:
    b, heard = bench(cluster={"per_connection_buffer_limit_bytes": {"value": 100}}), Heard()
    b.client().get()
    b.upstream.send(OK)
    stream = async_client(server_of(b)).start("a", StreamHeard(heard), options=retrying(b))
    stream.send_headers(RequestHeaderMap(*GET), False)
    stream.send_data(b"x" * 101, True)
    b.turns.settle()
    b.upstream.send(UNAVAILABLE)
    assert heard.events == [503]


class StreamHeard:
    """Nothing but the status."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard

    def on_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self._heard.events.append(headers.status)

    def on_data(self, data: bytes, end_stream: bool) -> None: ...
    def on_trailers(self, trailers: HeaderMap) -> None: ...
    def on_complete(self) -> None: ...
    def on_reset(self) -> None: ...


def test_nobody_to_ask_is_not_asked_again(bench: MakeBench) -> None:
    b, heard = bench(), Heard()
    async_client(server_of(b)).send("empty", RequestHeaderMap(*GET), b"", heard, options=retrying(b))
    assert heard.events == [(503, b"no healthy upstream")]


def test_a_service_may_not_be_told_who_asks(bench: MakeBench) -> None:
    b = bench()
    ask(b, Heard(), StreamOptions(send_xff=False, send_internal=False))
    assert b.upstream.received() == b"GET /ask HTTP/1.1\r\nhost: host\r\n\r\n"


def test_a_grpc_service_is_called_as_its_configuration_says(bench: MakeBench) -> None:
    b, heard = bench(cluster={"http2_protocol_options": {}}), Heard()
    values = {
        "envoy_grpc": {"cluster_name": "a", "authority": "auth.test", "skip_envoy_headers": True},
        "timeout": "0.25s",
        "initial_metadata": [{"key": "X-Fixed", "value": "1"}, {"key": "x-fixed", "value": "2%%"}],
    }
    service = GrpcServiceConfig.from_proto(proto("GrpcService", values), "grpc_service", server_of(b))
    metadata = service.call_metadata(cast(StreamInfo, None))
    assert metadata == ((b"x-fixed", b"2%"),)
    call = service.client(server_of(b)).send("p.S/M", b"ask", heard, service.timeout, metadata)
    b.turns.settle()
    said = dict(hpack.Decoder().decode(headers_frame(b.upstream.received())))
    assert said[":authority"] == "auth.test"
    assert said["x-fixed"] == "2%"
    assert said["grpc-timeout"] == "250m"
    assert "x-envoy-internal" not in said
    encode = hpack.Encoder().encode
    answer = encode([(":status", "200"), ("content-type", "application/grpc"), ("x-beside", "yes")])
    trailers = encode([("grpc-status", "0"), ("x-after", "all")])
    b.upstream.send(
        frame(4, 0, 0) + frame(1, 4, 1, answer) + frame(0, 0, 1, grpc_frame(b"answer")) + frame(1, 5, 1, trailers)
    )
    assert heard.events == [b"answer"]
    assert call.headers is not None
    assert call.trailers is not None
    assert (call.headers.get(b"x-beside"), call.trailers.get(b"x-after")) == (b"yes", b"all")


def headers_frame(data: bytes) -> bytes:
    """The header block of the first HEADERS frame after the preface."""
    at = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    while True:
        size = int.from_bytes(data[at : at + 3], "big")
        if data[at + 3] == 1:
            return data[at + 9 : at + 9 + size]
        at += 9 + size


def test_a_service_must_say_where_it_is(bench: MakeBench) -> None:
    with pytest.raises(ConfigError, match="neither envoy_grpc nor google_grpc"):
        GrpcServiceConfig.from_proto(proto("GrpcService", {}), "grpc_service", server_of(bench()))


def test_a_back_off_that_shrinks_is_refused() -> None:
    policy = proto("RetryPolicy", {"retry_back_off": {"base_interval": "2s", "max_interval": "1s"}})
    with pytest.raises(ConfigError, match="max_interval"):
        core_retry_policy(policy, "retry_policy", "")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://a.test:80/b?c", ("a.test:80", "/b?c")),
        ("https://a.test", ("a.test", "/")),
        ("a.test/b/c", ("a.test", "/b/c")),
    ],
)
def test_the_host_and_the_path_of_a_uri(uri: str, expected: tuple[str, str]) -> None:
    assert host_and_path(uri) == expected


def test_an_http_service_adds_its_headers(bench: MakeBench) -> None:
    values = {
        "http_uri": {"uri": "http://t.test/v1", "cluster": "a", "timeout": "2s"},
        "request_headers_to_add": [{"header": {"key": "api-key", "value": "k"}}],
    }
    service = HttpUriConfig.from_service(proto("HttpService", values), "http_service", server_of(bench()))
    assert (service.cluster, service.host, service.path, service.timeout) == ("a", b"t.test", b"/v1", 2.0)
    headers = RequestHeaderMap(b"POST", service.path, service.host)
    assert service.headers is not None
    service.headers.apply(headers)
    assert headers.get(b"api-key") == b"k"


def test_without_a_policy_there_is_one_attempt(bench: MakeBench) -> None:
    b, heard = bench(), Heard()
    ask(b, heard, DEFAULT_OPTIONS)
    b.upstream.send(UNAVAILABLE)
    assert heard.events == [(503, b"")]
