"""Which requests are traced, and what their spans are called; the rest is in tests/conformance/scenarios/tracing_*."""

from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config.api import message_class
from minienvoy.tracing.connection_manager_tracing import RouteTracing, Sampling
from tests.unit.http_bench import GET, OK, Bench
from tests.unit.tracing.conftest import ZIPKIN, MakeTraced

HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing"


def ask(b: Bench, request: bytes = GET, answer: bytes = OK) -> bytes:
    """What the client is answered."""
    client = b.client().send(request)
    b.upstream.send(answer)
    return client.received()


def request(*headers: str) -> bytes:
    return "\r\n".join(["GET / HTTP/1.1", "host: a.com", *headers, "", ""]).encode()


def reasons(b: Bench) -> dict[str, int]:
    names = ("random_sampling", "service_forced", "client_enabled", "not_traceable")
    return {name: count for name in names if (count := b.stat(f"http.tracing.{name}"))}


def test_a_request_is_sampled_unless_somebody_says_otherwise(traced: MakeTraced) -> None:
    b = traced()
    ask(b)
    (span,) = b.server.spans
    assert (span.operation, span.kind, span.sampled) == ("ingress", "SERVER", True)
    assert span.tags["http.status_code"] == "200"
    assert reasons(b) == {"random_sampling": 1}


def test_a_request_that_is_not_sampled_leaves_no_span(traced: MakeTraced) -> None:
    b = traced(random_sampling={"value": 0})
    ask(b)
    assert not b.server.spans
    assert reasons(b) == {"not_traceable": 1}


def test_the_number_in_the_request_id_is_what_is_compared_with_the_percentage(traced: MakeTraced) -> None:
    b = traced(random_sampling={"value": 1})
    ask(b, request("x-request-id: 00000063-0000-4000-8000-000000000000"))  # 99 of 10,000
    ask(b, request("x-request-id: 00000064-0000-4000-8000-000000000000"))  # 100
    assert [span.tags["guid:x-request-id"][:8] for span in b.server.spans] == ["00000063"]


@pytest.mark.parametrize(
    ("header", "reason"),
    [("x-client-trace-id: mine", "client_enabled"), ("x-envoy-force-trace: 1", "service_forced")],
)
def test_who_asks_for_a_trace_gets_one(traced: MakeTraced, header: str, reason: str) -> None:
    b = traced(random_sampling={"value": 0}, use_remote_address=True)
    b.config.internal_address = lambda address: True
    ask(b, request(header))
    assert len(b.server.spans) == 1
    assert reasons(b) == {reason: 1}


def test_overall_sampling_has_the_last_word(traced: MakeTraced) -> None:
    b = traced(overall_sampling={"value": 0})
    ask(b, request("x-client-trace-id: mine"))
    assert reasons(b) == {"not_traceable": 1}


def test_the_runtime_changes_what_is_sampled(traced: MakeTraced) -> None:
    b = traced()
    ask(b)
    b.runtime.modify({"tracing.random_sampling": "0"})
    ask(b)
    assert reasons(b) == {"random_sampling": 1, "not_traceable": 1}


def test_a_route_takes_the_place_of_the_sampling_of_the_connection_manager(traced: MakeTraced) -> None:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "a"}, "tracing": {"random_sampling": {"numerator": 0}}}
    b = traced([route])
    ask(b)
    assert reasons(b) == {"not_traceable": 1}


def test_a_decorator_names_the_span_and_the_client_is_told(traced: MakeTraced) -> None:
    b = traced([{"match": {"prefix": "/"}, "route": {"cluster": "a"}, "decorator": {"operation": "op"}}])
    assert b"x-envoy-decorator-operation: op\r\n" in ask(b)
    assert b.server.spans[0].operation == "op"


def test_a_client_that_names_the_span_is_not_told_another_name(traced: MakeTraced) -> None:
    b = traced([{"match": {"prefix": "/"}, "route": {"cluster": "a"}, "decorator": {"operation": "op"}}])
    assert b"decorator" not in ask(b, request("x-envoy-decorator-operation: mine"))
    assert b.server.spans[0].operation == "mine"


def test_an_operation_by_a_format_is_told_when_all_is_known(traced: MakeTraced) -> None:
    b = traced(
        operation="%REQ(:METHOD)% %RESPONSE_CODE%", upstream_operation="up %UPSTREAM_HOST%", spawn_upstream_span=True
    )
    ask(b)
    assert [span.operation for span in b.server.spans] == ["up 10.0.0.1:80", "GET 200"]


def test_an_attempt_is_a_child_of_its_request(traced: MakeTraced) -> None:
    b = traced(spawn_upstream_span=True)
    ask(b, answer=b"HTTP/1.1 500 no\r\ncontent-length: 0\r\n\r\n")
    attempt, whole = b.server.spans
    assert (attempt.operation, attempt.kind) == ("router a egress", "CLIENT")
    assert (attempt.parent_id, attempt.trace_id) == (whole.span_id, whole.trace_id)
    assert attempt.tags["error"] == whole.tags["error"] == "true"
    sent = b.upstream.received()
    assert f"traceparent: 00-{attempt.trace_id}-{attempt.span_id}-01\r\n".encode() in sent


def test_the_upstream_is_told_nothing_if_the_context_is_not_propagated(traced: MakeTraced) -> None:
    b = traced(no_context_propagation=True)
    b.client().send(GET)
    assert b"traceparent" not in b.upstream.received()
    b.upstream.send(OK)
    assert len(b.server.spans) == 1


def test_a_client_that_leaves_ends_the_spans_and_is_not_counted(traced: MakeTraced) -> None:
    b = traced(spawn_upstream_span=True)
    client = b.client().send(GET)
    client.reset()
    attempt, whole = b.server.spans
    assert attempt.tags["canceled"] == "true"
    assert whole.tags["http.status_code"] == "0"
    assert reasons(b) == {}


def test_the_span_of_a_slow_request_lasts_as_long_as_that(traced: MakeTraced) -> None:
    b = traced()
    b.client().send(GET)
    b.advance(2.5)
    b.upstream.send(OK)
    assert b.server.spans[0].duration == pytest.approx(2.5)


def test_an_attempt_that_times_out_has_the_flag_of_that(traced: MakeTraced) -> None:
    retry = {"retry_on": "5xx", "num_retries": 1, "per_try_timeout": "1s"}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "a", "timeout": "0s", "retry_policy": retry}}
    b = traced([route], spawn_upstream_span=True)
    b.client().send(GET)
    b.advance(1.0)
    b.advance(0.1)
    b.upstream.send(OK)
    first, second, _ = b.server.spans
    assert (first.tags["response_flags"], first.tags["canceled"]) == ("UT", "true")
    assert (second.tags["retry.count"], second.tags["response_flags"]) == ("1", "-")


def test_a_shadow_has_a_span_that_its_policy_decides_on(traced: MakeTraced) -> None:
    policies = [{"cluster": "a"}, {"cluster": "a", "trace_sampled": False}]
    b = traced([{"match": {"prefix": "/"}, "route": {"cluster": "a", "request_mirror_policies": policies}}])
    b.client().send(GET)
    for each in b.upstreams:
        each.send(OK)
    told = sorted(
        line[-2:] for each in b.upstreams for line in each.received().split(b"\r\n") if b"traceparent" in line
    )
    assert told == [b"00", b"01", b"01"]
    assert sorted(span.operation for span in b.server.spans) == ["ingress", "mirror"]


def test_a_shadow_that_is_given_up_says_so(traced: MakeTraced) -> None:
    b = traced([{"match": {"prefix": "/"}, "route": {"cluster": "a", "request_mirror_policies": [{"cluster": "a"}]}}])
    client = b.client().send(b"POST / HTTP/1.1\r\nhost: a.com\r\ncontent-length: 9\r\n\r\nab")
    client.reset()
    mirror = next(span for span in b.server.spans if span.operation == "mirror")
    assert mirror.tags["canceled"] == "true"


def test_without_a_provider_requests_are_counted_and_nobody_is_told(traced: MakeTraced) -> None:
    b = traced(provider=None)
    ask(b)
    assert not b.server.spans
    assert reasons(b) == {"random_sampling": 1}


def test_a_health_check_that_a_filter_answers_is_not_traced(traced: MakeTraced) -> None:
    check = {"pass_through_mode": False, "headers": [{"name": ":path", "string_match": {"exact": "/"}}]}
    b = traced(provider=ZIPKIN, http_filters={"health_check": check})
    b.client().send(GET)
    assert not b.server.spans
    assert reasons(b) == {"not_traceable": 1}


def test_explanations_tell_the_trace(traced: MakeTraced) -> None:
    b = traced()
    ask(b)
    decision = b.explanations.last()["trace"]
    assert (decision.chose, decision.because) == (b.server.spans[0].trace_id, "random_sampling, sampled")


def test_percentages_of_a_connection_manager_count_in_hundredths() -> None:
    proto = message_class(HCM)()
    proto.random_sampling.value, proto.client_sampling.value = 0.29, 50.9
    sampling = Sampling.from_hcm(proto)
    assert (sampling.random.default.numerator, sampling.random.default.denominator) == (29, 10000)
    assert (sampling.client.default.numerator, sampling.client.default.denominator) == (50, 100)


def test_a_route_without_a_word_on_tracing_has_none() -> None:
    route: Any = message_class("envoy.config.route.v3.Route")()
    assert RouteTracing.from_proto(route, "route", None) is None
    route.decorator.operation = "op"
    found = RouteTracing.from_proto(route, "route", None)
    assert found is not None
    assert (found.decorated, found.told, found.sampling) == ("op", b"op", None)
    route.decorator.propagate.value = False
    found = RouteTracing.from_proto(route, "route", None)
    assert found is not None
    assert found.told == b""
