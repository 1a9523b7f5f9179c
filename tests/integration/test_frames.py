"""How many Python frames one keep-alive GET enters, exactly: on uvloop, where transports are no Python."""

from __future__ import annotations

import uvloop

from bench import frames, retry_cost
from minienvoy import Proxy

BUDGET = 47
"""May only go down: a frame costs 50 to 100 ns of every request."""
HTTP2_BUDGET = 77
"""The same for one GET over HTTP/2 on both sides, all alone."""
HTTP2_BUDGET_OF_ONE_MORE = 52
"""And for each GET that comes along with it."""

CONFIG = """
static_resources:
  listeners:
  - name: http
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: upstream}}]}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: upstream
    load_assignment:
      cluster_name: upstream
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: PORT}}}
"""
HTTP2_UPSTREAM = """\
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
"""


def test_a_request_enters_no_more_frames_than_it_did() -> None:
    async def count(upstream_port: int) -> frames.FrameCount:
        async with Proxy.from_yaml(CONFIG.replace("PORT", str(upstream_port)), explain=False) as proxy:
            _, port = proxy.address("http")
            # Caches that other tests have filled take a new line only now and then.
            return await frames.frames_per_request(port, warm_up=64)

    with frames.upstream() as upstream_port:
        counted = uvloop.run(count(upstream_port))
    assert counted.total == BUDGET, counted.report()


def test_a_request_over_http2_enters_no_more_frames_than_it_did() -> None:
    async def count(upstream_port: int) -> tuple[frames.FrameCount, frames.FrameCount]:
        config = CONFIG.replace("PORT", str(upstream_port)) + HTTP2_UPSTREAM
        async with Proxy.from_yaml(config, explain=False) as proxy:
            _, port = proxy.address("http")
            one = await frames.frames_per_http2_request(port, warm_up=64)
            return one, await frames.frames_per_http2_request(port, 11, warm_up=8)

    with frames.http2_upstream() as upstream_port:
        one, eleven = uvloop.run(count(upstream_port))
    assert one.total == HTTP2_BUDGET, one.report()
    assert eleven.total == HTTP2_BUDGET + 10 * HTTP2_BUDGET_OF_ONE_MORE, eleven.report()


def test_a_retry_enters_fewer_frames_than_one_and_a_half_first_attempts() -> None:
    async def count(fine: int, flaky: int) -> tuple[int, int]:
        config = retry_cost.CONFIG.replace("FINE", str(fine)).replace("FLAKY", str(flaky))
        async with Proxy.from_yaml(config, explain=False) as proxy:
            _, port = proxy.address("http")
            once = await frames.frames_per_request(port, retry_cost.REQUEST % b"/first", warm_up=64)
            twice = await frames.frames_per_request(port, retry_cost.REQUEST % b"/retried", warm_up=64)
        return once.total, twice.total

    with frames.upstream() as fine, frames.upstream(retry_cost.fail_first_attempt) as flaky:
        once, twice = uvloop.run(count(fine, flaky))
    assert twice - once < 1.5 * once
