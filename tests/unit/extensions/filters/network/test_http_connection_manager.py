"""Settings of the connection manager: what they become, which contradict themselves, and chains of HTTP filters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from minienvoy.config.fields import unsupported
from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.extensions.filters.network.http_connection_manager import (
    CONFIG_TYPE,
)
from minienvoy.extensions.filters.network.http_filter_chain import create_filter_chain
from minienvoy.http.conn_manager_config import PathWithEscapedSlashesAction, ServerHeaderTransformation
from minienvoy.http.filter import StreamDecoderFilter
from minienvoy.server.factory_context import FactoryContext
from tests.unit.http_bench import GET, Bench

NOWHERE = cast(FactoryContext, None)
DETECTION = [{"name": "x", "typed_config": {"@type": "type.googleapis.com/google.protobuf.Empty"}}]
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
    ("fields", "problem", "path"),
    [
        ({"codec_type": "HTTP3"}, "HTTP/3 codec configured on non-QUIC listener.", "hcm.codec_type"),
        (
            {"strip_any_host_port": True, "strip_matching_host_port": True},
            "Error: Only one of `strip_matching_host_port` or `strip_any_host_port` can be set.",
            "hcm.strip_matching_host_port",
        ),
        (
            {"use_remote_address": True, "xff_num_trusted_hops": 1, "original_ip_detection_extensions": DETECTION},
            "Original IP detection extensions and use_remote_address may not be mixed",
            "hcm.use_remote_address",
        ),
        (
            {"xff_num_trusted_hops": 1, "original_ip_detection_extensions": DETECTION},
            "Original IP detection extensions and xff_num_trusted_hops may not be mixed",
            "hcm.xff_num_trusted_hops",
        ),
    ],
)
def test_contradictions_are_refused(fields: dict[str, Any], problem: str, path: str) -> None:
    config = load_dict({"stat_prefix": "h", "route_config": {}, **fields}, CONFIG_TYPE).message
    with pytest.raises(ConfigError) as error:
        unsupported(config, "hcm")
    assert (error.value.problem, error.value.path) == (problem, path)


def test_chain_without_filters_has_one_that_never_answers() -> None:
    chain = create_filter_chain([], NOWHERE, "http_filters")
    assert (chain.factories, chain.make_terminal) == ((), StreamDecoderFilter)


@pytest.mark.parametrize(
    ("typed_config", "type_url"),
    [
        ({}, ""),
        (
            {"@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"},
            "envoy.extensions.filters.network.echo.v3.Echo",
        ),
    ],
)
def test_filter_that_is_none_is_refused_by_its_name(typed_config: dict[str, Any], type_url: str) -> None:
    filters = [{"name": "mine", **({"typed_config": typed_config} if typed_config else {})}]
    config = load_dict({"stat_prefix": "h", "route_config": {}, "http_filters": filters}, CONFIG_TYPE).message
    with pytest.raises(ConfigError) as error:
        create_filter_chain(config.http_filters, NOWHERE, "http_filters")
    assert error.value.problem == f"Didn't find a registered implementation for 'mine' with type URL: '{type_url}'"
    assert error.value.path == "http_filters[0].typed_config"


@pytest.mark.parametrize(
    ("hcm", "problem"),
    [
        ({"http_filters": [ROUTER, ROUTER]}, "Error: terminal filter named"),
        ({"http_filters": [{**ROUTER, "typed_config": {"@type": "type.googleapis.com/x.Y"}}]}, "x.Y"),
    ],
)
def test_mistakes_are_refused(bench: MakeBench, hcm: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        bench(hcm=hcm)
    assert problem in str(error.value)
