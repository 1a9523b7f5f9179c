"""A stream as the real Envoy logged it, to format again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from minienvoy.access_log.context import FormatterContext
from minienvoy.access_log.formatter import compile_format
from minienvoy.event.random import RandomGenerator
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap, entry
from minienvoy.network.address import Address
from minienvoy.stream_info import AccessLogType, ConnectionInfo, StreamInfo


class Host:
    address = Address("127.0.0.1", 44053)
    hostname = ""
    metadata = {"hns": {"hk": "hv"}}


class Sources:
    def __init__(self, dispatcher: SimulatedDispatcher) -> None:
        self.dispatcher = dispatcher
        self.random = RandomGenerator(7)


@pytest.fixture
def sources() -> Iterator[Sources]:
    loop = asyncio.new_event_loop()
    yield Sources(SimulatedDispatcher(loop, wall_time=1795453639.266))
    loop.close()


def http_request(path: str, *headers: tuple[str, str]) -> RequestHeaderMap:
    entries = [entry(name.encode(), value.encode("latin-1")) for name, value in headers]
    return RequestHeaderMap(b"GET", path.encode("latin-1"), b"a.com", entries)


@pytest.fixture
def proxied() -> FormatterContext:
    """GET /p/x?q=1, rewritten to /zz/p/x?q=1, answered by 127.0.0.1:44053."""
    info = StreamInfo()
    info.start_time = 1795453639.265756
    info.start_monotonic = 50.0
    info.request_complete_time = 50.001
    info.last_downstream_rx_byte_time = 50.0
    info.upstream_connect_start_time = 50.0001
    info.upstream_connect_complete_time = 50.00013
    info.first_downstream_tx_byte_time = info.last_downstream_tx_byte_time = 50.001000622
    info.first_upstream_tx_byte_time = info.last_upstream_tx_byte_time = 50.0004
    info.first_upstream_rx_byte_time = info.last_upstream_rx_byte_time = 50.0009
    info.upstream_request_create_time = 50.0001
    info.upstream_connection_pool_ready_time = 50.0002
    info.protocol = info.upstream_protocol = "HTTP/1.1"
    info.response_code = 200
    info.response_code_details = "via_upstream"
    info.bytes_sent = 2
    info.connection = ConnectionInfo(Address("127.0.0.1", 37899), Address("127.0.0.1", 53802), 2)
    info.upstream_connection = ConnectionInfo(Address("127.0.0.1", 34120), Address("127.0.0.1", 44053), 3)
    info.upstream_host = Host()
    info.attempted_hosts = (Host(),)
    info.attempted_connection_ids = (3,)
    info.attempt_count = 1
    info.route_name = "up"
    info.filter_chain_name = "fcn"
    info.upstream_cluster_name = "c"
    info.upstream_cluster_alt_stat_name = "altc"
    info.cluster_metadata = {"ns": {"k": "v", "n": 3.0, "o": {"b": True, "a": [1.0, "x"]}}}
    info.request_id = "59b7a39a-13bf-48b4-a08d-ef9ebfc4e41d"
    info.downstream_wire_bytes_received = 119
    info.downstream_header_bytes_received = 87
    info.downstream_decompressed_header_bytes_received = 87
    request = http_request(
        "/zz/p/x?q=1",
        ("empty", ""),
        ("multi", "1"),
        ("multi", "2"),
        ("hi", "\xe9"),
        ("quote", 'a"b\\c\td/</script>'),
        ("x-envoy-original-path", "/p/x?q=1"),
        ("x-request-id", "59b7a39a-13bf-48b4-a08d-ef9ebfc4e41d"),
    )
    response = ResponseHeaderMap(200, [entry(b"x-up", b"u"), entry(b"x-envoy-upstream-service-time", b"0")])
    return FormatterContext(info, request, response, None, "", AccessLogType.DOWNSTREAM_END)


@pytest.fixture
def direct_response() -> Callable[..., FormatterContext]:
    """Makes the context of a direct response to GET `path` with `headers`."""
    return _direct_response


def _direct_response(path: str = "/d", *headers: tuple[str, str]) -> FormatterContext:
    info = StreamInfo()
    info.start_time = 1795453638.260328
    info.start_monotonic = info.request_complete_time = 50.0
    info.protocol = "HTTP/1.1"
    info.response_code = 200
    info.response_code_details = "direct_response"
    info.connection = ConnectionInfo(Address("127.0.0.1", 37899), Address("127.0.0.1", 53798), 1)
    info.route_metadata = {"rns": {"a": "b", "é": 1.5}}
    return FormatterContext(info, http_request(path, *headers), ResponseHeaderMap(200), HeaderMap())


@pytest.fixture
def tcp() -> FormatterContext:
    info = StreamInfo()
    info.start_time = 1795453769.882
    info.start_monotonic = 1.0
    info.request_complete_time = 2.50284
    info.bytes_received = 51
    info.bytes_sent = 49
    info.upstream_host = Host()
    info.connection = ConnectionInfo(Address("127.0.0.1", 39239), Address("127.0.0.1", 39010), 1)
    return FormatterContext(info, access_log_type=AccessLogType.TCP_CONNECTION_END)


@pytest.fixture
def text_of(sources: Sources, proxied: FormatterContext) -> Callable[..., str]:
    """Format `%COMMAND%` in a context (a proxied request if none is given)."""

    def format(command: str, context: FormatterContext | None = None, **settings: Any) -> str:
        return compile_format(f"%{command}%", sources, **settings).format(context or proxied)

    return format
