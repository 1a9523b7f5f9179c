"""`Proxy.spans`: what a collector would be told, without one; and a collector that is told."""

from __future__ import annotations

import asyncio
import http.client
import json

import pytest

from minienvoy import Proxy
from minienvoy.testing.fake_upstream import FakeUpstream, Reply

CONFIG = """\
static_resources:
  listeners:
  - name: ingress
    address: {socket_address: {address: 127.0.0.1, port_value: 10000}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          tracing:
            spawn_upstream_span: true
            provider:
              name: envoy.tracers.zipkin
              typed_config:
                "@type": type.googleapis.com/envoy.config.trace.v3.ZipkinConfig
                collector_cluster: collector
                collector_endpoint: /api/v2/spans
                collector_endpoint_version: HTTP_JSON
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - {match: {path: /quiet}, route: {cluster: users}, tracing: {overall_sampling: {numerator: 0}}}
              - {match: {prefix: /}, route: {cluster: users, timeout: 3s}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - {name: users}
  - {name: collector}
"""


@pytest.mark.asyncio
async def test_spans_are_on_record_whether_or_not_somebody_is_told(fetch) -> None:
    async with FakeUpstream("hello") as users, Proxy.from_yaml(CONFIG, endpoints={"users": [users.address]}) as proxy:
        await fetch(proxy.url() + "/quiet")
        assert not proxy.spans
        await fetch(proxy.url() + "/users/7")
        attempt, request = proxy.spans
        assert (attempt.operation, request.operation) == ("router users egress", proxy.url().removeprefix("http://"))
        assert (attempt.parent_id, attempt.trace_id) == (request.span_id, request.trace_id)
        told = dict(users.requests[-1].headers)
        assert (told["x-b3-traceid"], told["x-b3-spanid"]) == (attempt.trace_id, attempt.span_id)
    assert len(proxy.spans) == 2, "they are there after the end"


@pytest.mark.asyncio
async def test_a_span_lasts_as_long_as_simulated_time_says(fetch) -> None:
    async with (
        FakeUpstream(Reply(hang=True)) as users,
        Proxy.from_yaml(CONFIG, endpoints={"users": [users.address]}, time="simulated") as proxy,
    ):
        response = asyncio.ensure_future(fetch(proxy.url() + "/"))
        await users.wait_for_requests()
        await proxy.advance(3)
        assert (await response).status == 504
        request = next(span for span in proxy.spans if span.kind == "SERVER")
        assert request.duration == pytest.approx(3, abs=0.02)
        assert (request.tags["http.status_code"], request.tags["response_flags"]) == ("504", "UT")


@pytest.mark.asyncio
async def test_a_collector_is_told_the_same(fetch) -> None:
    async with (
        FakeUpstream("hello") as users,
        FakeUpstream(Reply(status=202)) as collector,
        Proxy.from_yaml(
            CONFIG, endpoints={"users": [users.address], "collector": [collector.address]}, time="simulated"
        ) as proxy,
    ):
        await fetch(proxy.url() + "/")
        await proxy.advance(5.1)
        (report,) = collector.requests
        assert {span["id"] for span in json.loads(report.body)} == {span.span_id for span in proxy.spans}
        await proxy.advance(0.1)
        assert proxy.stats["tracing.zipkin.reports_sent"] == 1


def test_a_proxy_in_a_thread_tells_them_too_and_keeps_the_last_thousand() -> None:
    with (
        FakeUpstream("hello").in_thread() as users,
        Proxy.from_yaml(CONFIG, endpoints={"users": [users.address]}).in_thread() as proxy,
    ):
        connection = http.client.HTTPConnection(*proxy.address(), timeout=10)
        for _ in range(505):
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"hello"
        connection.close()
        assert len(proxy.spans) == 1000
