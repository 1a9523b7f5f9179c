"""Spans are told to the collector some at a time, and what it does not take is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.http_bench import GET, OK, Bench

MakeBench = Callable[..., Bench]
ACCEPTED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"
NAMES = (
    "spans_sent",
    "timer_flushed",
    "reports_sent",
    "reports_dropped",
    "reports_failed",
    "reports_skipped_no_cluster",
)


@pytest.fixture
def traced(bench: MakeBench) -> MakeBench:
    """Requests are answered by the proxy itself, so that the only upstream is the collector."""

    def make(**options: Any) -> Bench:
        config = {
            "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
            "collector_cluster": "a",
            "collector_endpoint": "/spans",
            "collector_endpoint_version": "HTTP_JSON",
            **options.pop("config", {}),
        }
        tracing = {"provider": {"name": "zipkin", "typed_config": config}}
        b = bench([{"match": {"prefix": "/"}, "direct_response": {"status": 200}}], hcm={"tracing": tracing}, **options)
        b.server.tracers.start()
        return b

    return make


def stats(b: Bench) -> dict[str, int]:
    return {name: count for name in NAMES if (count := b.stat(f"tracing.zipkin.{name}"))}


def told(sent: bytes) -> list[Any]:
    """The spans of a request in one chunk."""
    head, _, body = sent.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    return list(json.loads(body.split(b"\r\n")[1]))


def end(b: Bench) -> None:
    b.server.tracers.close()
    b.turns.settle()


def test_five_spans_are_sent_at_once(traced: MakeBench) -> None:
    b = traced()
    client = b.client()
    for _ in range(4):
        client.send(GET)
    assert not b.upstreams
    client.send(GET)
    assert len(told(b.upstream.received())) == 5
    b.upstream.send(ACCEPTED)
    assert stats(b) == {"spans_sent": 5, "reports_sent": 1}
    end(b)


def test_fewer_are_sent_when_the_time_has_come(traced: MakeBench) -> None:
    b = traced()
    b.client().send(GET)
    b.advance(4.9)
    assert not b.upstreams
    b.advance(0.2)
    assert len(told(b.upstream.received())) == 1
    b.upstream.send(ACCEPTED)
    b.advance(5)
    assert stats(b) == {"spans_sent": 1, "timer_flushed": 4, "reports_sent": 1}
    end(b)


def test_the_runtime_says_how_many_and_how_often(traced: MakeBench) -> None:
    b = traced(runtime={"tracing.zipkin.min_flush_spans": "2", "tracing.zipkin.flush_interval_ms": "1000"})
    client = b.client().send(GET)
    b.advance(1.1)
    assert stats(b) == {"spans_sent": 1, "timer_flushed": 2}
    client.send(GET).send(GET)
    assert stats(b)["spans_sent"] == 3
    end(b)


@pytest.mark.parametrize(
    ("status", "name"), [(202, "reports_sent"), (200, "reports_dropped"), (500, "reports_dropped")]
)
def test_a_collector_that_does_not_say_202_has_dropped_the_report(traced: MakeBench, status: int, name: str) -> None:
    b = traced(runtime={"tracing.zipkin.min_flush_spans": "1"})
    b.client().send(GET)
    b.upstream.send(b"HTTP/1.1 %d x\r\ncontent-length: 0\r\n\r\n" % status)
    assert stats(b) == {"spans_sent": 1, name: 1}
    end(b)


def test_a_collector_that_breaks_off_has_failed(traced: MakeBench) -> None:
    b = traced(runtime={"tracing.zipkin.min_flush_spans": "1"})
    b.client().send(GET)
    b.upstream.send(b"HTTP/1.1 202 Accepted\r\ncontent-length: 9\r\n\r\nhel")
    b.upstream.reset()
    assert stats(b) == {"spans_sent": 1, "reports_failed": 1}
    end(b)


def test_a_collector_that_never_answers_is_given_up(traced: MakeBench) -> None:
    b = traced(runtime={"tracing.zipkin.min_flush_spans": "1", "tracing.zipkin.request_timeout": "300"})
    b.client().send(GET)
    b.advance(0.4)
    assert b.upstream.gone
    assert stats(b) == {"spans_sent": 1, "reports_dropped": 1}
    end(b)


def test_no_more_reports_wait_than_the_cluster_allows(traced: MakeBench) -> None:
    limits = {"thresholds": [{"max_connections": 1, "max_pending_requests": 1}]}
    b = traced(runtime={"tracing.zipkin.min_flush_spans": "1"}, cluster={"circuit_breakers": limits})
    client = b.client()
    for _ in range(5):
        client.send(GET)
    assert len(b.upstreams) == 1
    assert stats(b) == {"spans_sent": 5, "reports_dropped": 3}
    end(b)


def test_when_the_server_ends_nothing_is_left_under_way(traced: MakeBench) -> None:
    b = traced(runtime={"tracing.zipkin.min_flush_spans": "1"})
    b.client().send(GET)
    end(b)
    assert b.upstream.gone
    assert b.stat("cluster.upstream_rq_active") == 0


def test_a_report_in_protobuf_says_so(traced: MakeBench) -> None:
    b = traced(config={"collector_endpoint_version": "HTTP_PROTO"}, runtime={"tracing.zipkin.min_flush_spans": "1"})
    b.client().send(GET).send(GET)
    assert b"content-type: application/x-protobuf\r\n" in b.upstreams[0].received()
    end(b)


def test_an_answer_that_is_not_traced_goes_on_meanwhile(traced: MakeBench) -> None:
    b = traced(runtime={"tracing.zipkin.min_flush_spans": "1"})
    client = b.client().send(GET)
    assert client.received().startswith(OK[:15])
    end(b)
