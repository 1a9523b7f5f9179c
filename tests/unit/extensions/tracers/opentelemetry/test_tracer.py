"""Spans of OpenTelemetry, and how the collector is told of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.config.api import message_class
from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.extensions.tracers.opentelemetry.tracer import CONFIG_TYPE, OpenTelemetryTracer
from minienvoy.http.header_map import RequestHeaderMap
from tests.unit.http_bench import OK, Bench

MakeBench = Callable[..., Bench]
REQUEST = message_class("opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest")
HTTP = {"http_service": {"http_uri": {"uri": "http://collector.test/v1/traces", "cluster": "a", "timeout": "1s"}}}
GRPC = {"grpc_service": {"envoy_grpc": {"cluster_name": "a"}}}
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"


@pytest.fixture
def tracer(bench: MakeBench) -> Callable[..., tuple[Bench, OpenTelemetryTracer]]:
    def make(config: dict[str, Any] | None = None, **options: Any) -> tuple[Bench, OpenTelemetryTracer]:
        b = bench(**options)
        return b, OpenTelemetryTracer(load_dict({**HTTP, **(config or {})}, CONFIG_TYPE).message, b.server)

    return make


def request(*pairs: tuple[bytes, bytes]) -> RequestHeaderMap:
    headers = RequestHeaderMap(b"GET", b"/", b"a.com")
    for name, value in pairs:
        headers.add(name, value)
    return headers


def start(tracer: OpenTelemetryTracer, *pairs: tuple[bytes, bytes], traced: bool = True, kind: str = "SERVER") -> Any:
    return tracer.start_span(request(*pairs), "ingress", kind, 1000.0, traced)


def sent(b: Bench) -> Any:
    """The request to the collector, over HTTP in one chunk."""
    b.turns.settle()
    head, _, body = b.upstream.received().partition(b"\r\n\r\n")
    assert head.startswith(
        b"POST /v1/traces HTTP/1.1\r\nhost: collector.test\r\ncontent-type: application/x-protobuf\r\n"
    )
    length, _, rest = body.partition(b"\r\n")
    return REQUEST.FromString(rest[: int(length, 16)])


@pytest.mark.parametrize("traced", [True, False])
@pytest.mark.parametrize("caller", [None, "0", "1"])
def test_a_span_is_sampled_if_it_is_traced_and_its_caller_does_not_object(
    tracer: Any, traced: bool, caller: str | None
) -> None:
    _, made = tracer()
    pairs = () if caller is None else ((b"traceparent", (CALLER + caller).encode()),)
    span = start(made, *pairs, traced=traced)
    assert span.sampled == (traced and caller != "0")
    assert span.local_decision == (caller is None)
    assert span.remote_parent == (caller is not None)


def test_a_child_of_ours_has_no_remote_parent(tracer: Any) -> None:
    _, made = tracer()
    span = start(made, (b"traceparent", (CALLER + "1").encode()), (b"tracestate", b"a=1"))
    child = span.spawn_child("up", 1001.0, "SERVER")
    assert (child.parent_id, child.trace_id, child.trace_state) == (span.span_id, span.trace_id, "a=1")
    assert (child.remote_parent, child.kind, child.sampled) == (False, "CLIENT", True)


def test_a_caller_that_makes_no_sense_has_a_span_that_nobody_is_told_of(tracer: Any) -> None:
    _, made = tracer()
    span = start(made, (b"traceparent", b"x"))
    headers = request((b"traceparent", b"x"))
    span.inject_context(headers)
    assert not span.sampled
    assert headers.pairs()[-1] == ("traceparent", "x")


def test_a_span_as_the_collector_has_it(tracer: Any) -> None:
    b, made = tracer({"service_name": "svc"}, runtime={"tracing.opentelemetry.min_flush_spans": "1"})
    span = start(made, (b"traceparent", (CALLER + "1").encode()), (b"tracestate", b"a=1"))
    span.tags["b"], span.tags["a"], span.tags[""] = "1", "é", "left out"
    span.events.append((1000.5, "half"))
    span.finish(1001.25)
    told = sent(b)
    (resource,) = told.resource_spans
    assert {each.key: each.value.string_value for each in resource.resource.attributes}["service.name"] == "svc"
    (scope,) = resource.scope_spans
    assert scope.scope.name == "envoy"
    (found,) = scope.spans
    assert (found.trace_id.hex(), found.parent_span_id.hex(), found.trace_state) == (
        "0af7651916cd43dd8448eb211c80319c",
        "b7ad6b7169203331",
        "a=1",
    )
    assert (found.name, found.kind, found.flags) == ("ingress", 2, 0x301)
    assert [(each.key, each.value.string_value) for each in found.attributes] == [("b", "1"), ("a", "é")]
    assert (found.start_time_unix_nano, found.end_time_unix_nano) == (1_000_000_000_000, 1_001_250_000_000)
    assert [(event.name, event.time_unix_nano) for event in found.events] == [("half", 1_000_500_000_000)]
    assert not found.HasField("status")
    b.upstream.send(OK)


@pytest.mark.parametrize(
    ("kind", "tags", "status"),
    [
        ("SERVER", {"http.status_code": "200"}, None),
        ("SERVER", {"http.status_code": "404"}, None),
        ("CLIENT", {"http.status_code": "404"}, 2),
        ("SERVER", {"http.status_code": "500"}, 2),
        ("SERVER", {"http.status_code": "500", "grpc.status_code": "0"}, 0),
        ("SERVER", {"grpc.status_code": "5"}, 0),
        ("CLIENT", {"grpc.status_code": "5"}, 2),
        ("SERVER", {"grpc.status_code": "13"}, 2),
        ("CLIENT", {"grpc.status_code": "x"}, 0),
        ("SERVER", {"error": "true"}, None),
    ],
)
def test_what_tags_say_of_the_end(tracer: Any, kind: str, tags: dict[str, str], status: int | None) -> None:
    _, made = tracer()
    span = start(made, kind=kind)
    for name, value in tags.items():
        span.tags[name] = value
    assert span.tags.status == status


def test_an_error_is_not_unsaid_by_another_code(tracer: Any) -> None:
    _, made = tracer()
    span = start(made)
    span.tags["http.status_code"] = "500"
    span.tags["http.status_code"] = "200"
    assert (span.tags.status, span.tags["http.status_code"]) == (2, "200")


def test_a_buffer_that_is_full_drops_a_span_and_is_sent(tracer: Any) -> None:
    b, made = tracer({"max_cache_size": 2}, runtime={"tracing.opentelemetry.min_flush_spans": "9"})
    for _ in range(3):
        start(made).finish(1001.0)
    assert len(sent(b).resource_spans[0].scope_spans[0].spans) == 2
    assert b.stats("tracing.opentelemetry.spans_sent", "tracing.opentelemetry.spans_dropped") == [2, 1]
    b.upstream.send(OK)


def test_spans_are_sent_from_time_to_time_until_the_server_ends(tracer: Any) -> None:
    b, made = tracer()
    made.start()
    start(made).finish(1001.0)
    b.advance(5.1)
    assert len(b.upstreams) == 1
    b.advance(5)
    assert b.stats("tracing.opentelemetry.spans_sent", "tracing.opentelemetry.timer_flushed") == [1, 4]
    made.close()
    b.turns.settle()
    assert b.upstream.gone


def test_a_span_that_is_not_sampled_is_not_told(tracer: Any) -> None:
    b, made = tracer(runtime={"tracing.opentelemetry.min_flush_spans": "1"})
    start(made, traced=False).finish(1001.0)
    assert not b.upstreams


def test_a_collector_over_grpc_is_asked_with_the_name_of_the_cluster(tracer: Any) -> None:
    b, made = tracer(
        {"http_service": None, **GRPC},
        cluster={"http2_protocol_options": {}},
        runtime={"tracing.opentelemetry.min_flush_spans": "1"},
    )
    start(made).finish(1001.0)
    b.turns.settle()
    assert b"PRI * HTTP/2.0" in b.upstream.received()
    assert b.stat("tracing.opentelemetry.spans_sent") == 1
    made.close()
    b.turns.settle()


def test_exactly_one_exporter_is_wanted(bench: MakeBench) -> None:
    server = bench().server
    for config in ({}, {**HTTP, **GRPC}):
        with pytest.raises(ConfigError, match="exactly one of gRPC, HTTP"):
            OpenTelemetryTracer(load_dict(config, CONFIG_TYPE).message, server)
