"""A proxy that speaks HTTP/2 on both sides by the codec that it was told to use, to another one that has ours."""

from __future__ import annotations

import asyncio

import pytest

from minienvoy import Proxy
from minienvoy.errors import UsageError

from .http2_client import Http2Client

pytestmark = pytest.mark.asyncio

LISTENER = """\
static_resources:
  listeners:
  - name: http
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - ROUTE
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"""
INNER = LISTENER.replace("ROUTE", "{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: BODY}}}")
OUTER = (
    LISTENER.replace("ROUTE", "{match: {prefix: /}, route: {cluster: inner}}")
    + """\
  clusters:
  - name: inner
    http2_protocol_options: {}
    load_assignment:
      cluster_name: inner
      endpoints:
      - lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}}]
"""
)


@pytest.mark.parametrize("codec", ["native", "h2"])
async def test_requests_pass_through(codec):
    body = "x" * 4000
    async with (
        Proxy.from_yaml(INNER.replace("BODY", body)) as inner,
        Proxy.from_yaml(OUTER, endpoints={"inner": [inner.address("http")]}, http2_codec=codec) as outer,
    ):
        client = await Http2Client.connect(*outer.address("http"))
        for _ in range(3):
            assert await client.get("/") == (200, len(body))
        # More than both windows: DATA and WINDOW_UPDATE go to and fro.
        stream = client.next_stream
        client.writer.write(client.headers("POST", "/", ("content-length", "200000"), end=False))
        answer = asyncio.ensure_future(client.response(stream))
        await client.send_body(stream, 200_000)
        assert await answer == (200, len(body))
        assert outer.stats["cluster.inner.upstream_rq_200"] == 4
        assert outer.stats["cluster.inner.upstream_cx_http2_total"] == 1
        assert outer.stats["http2.rx_reset"] == 0
        await client.close()


async def test_an_unknown_codec_is_refused():
    with pytest.raises(UsageError, match="http2_codec"):
        Proxy.from_yaml(INNER, http2_codec="h3")
