from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.errors import ConfigError
from minienvoy.http.conn_manager_config import PathWithEscapedSlashesAction, ServerHeaderTransformation
from tests.unit.http_bench import GET, Bench

MakeBench = Callable[..., Bench]
ROUTER = {
    "name": "router",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
}


def test_defaults_are_envoy_s(bench: MakeBench) -> None:
    config = bench().config
    assert (config.idle_timeout, config.stream_idle_timeout, config.drain_timeout, config.delayed_close_timeout) == (
        3600.0,
        300.0,
        5.0,
        1.0,
    )
    assert (config.request_timeout, config.request_headers_timeout, config.max_stream_duration) == (0.0, 0.0, 0.0)
    assert (config.max_connection_duration, config.max_requests_per_connection) == (0.0, 0)
    assert (config.server_name, config.server_transformation) == (b"envoy", ServerHeaderTransformation.OVERWRITE)
    assert (config.http1.max_headers_size, config.http1.max_headers_count) == (60 * 1024, 100)
    assert config.path_with_escaped_slashes is PathWithEscapedSlashesAction.KEEP_UNCHANGED
    assert (config.generate_request_id, config.use_remote_address, config.internal_address) == (True, False, None)


def test_times_are_seconds(bench: MakeBench) -> None:
    config = bench(
        hcm={
            "stream_idle_timeout": "1.5s",
            "drain_timeout": "0.25s",
            "delayed_close_timeout": "0s",
            "common_http_protocol_options": {"idle_timeout": "0s", "max_connection_duration": "60s"},
        }
    ).config
    assert (config.stream_idle_timeout, config.drain_timeout, config.delayed_close_timeout) == (1.5, 0.25, 0.0)
    assert (config.idle_timeout, config.max_connection_duration) == (0.0, 60.0)


def test_without_a_delay_local_replies_close_at_once(bench: MakeBench) -> None:
    b = bench(hcm={"delayed_close_timeout": "0s"})
    client = b.client().send(b"\x16\r\n\r\n")
    assert client.received().startswith(b"HTTP/1.1 400 ")
    assert client.gone


def test_the_port_of_the_listener_is_stripped_from_hosts(bench: MakeBench) -> None:
    b = bench(hcm={"strip_matching_host_port": True})
    for port, host in (("10000", b"a.com"), ("80", b"a.com:80")):
        b.client().send(GET.replace(b"a.com", f"a.com:{port}".encode()))
        assert b"\r\nhost: " + host + b"\r\n" in b.upstream.received()


def test_bytes_are_counted_while_connections_are_open_and_when_they_are_closed(bench: MakeBench) -> None:
    b = bench([{"match": {"prefix": "/"}, "direct_response": {"status": 200}}])
    client = b.client().send(GET)
    expected = [len(GET), len(client.received())]
    assert b.stats("http.downstream_cx_rx_bytes_total", "http.downstream_cx_tx_bytes_total") == expected
    client.close()
    assert b.stats("http.downstream_cx_rx_bytes_total", "http.downstream_cx_tx_bytes_total") == expected
    client = b.client().send(GET)
    b.store.reset_counters()
    assert b.stats("http.downstream_cx_rx_bytes_total", "http.downstream_cx_tx_bytes_total") == [0, 0]
    client.send(GET)
    assert b.stat("http.downstream_cx_rx_bytes_total") == len(GET)


@pytest.mark.parametrize(
    ("hcm", "problem"),
    [
        ({"http_filters": [ROUTER, ROUTER]}, "Error: terminal filter named"),
        ({"http_filters": [{**ROUTER, "typed_config": {"@type": "type.googleapis.com/x.Y"}}]}, "x.Y"),
        ({"strip_matching_host_port": True, "strip_any_host_port": True}, "strip_matching_host_port"),
    ],
)
def test_mistakes_are_refused(bench: MakeBench, hcm: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        bench(hcm=hcm)
    assert problem in str(error.value)
