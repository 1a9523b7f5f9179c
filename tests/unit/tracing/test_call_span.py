"""Spans of calls on behalf of requests that are traced; what Envoy tells is in tests/conformance/scenarios/
tracing_filters.yaml. The authorization server is a host of the application's own cluster here."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.http_bench import OK, Bench
from tests.unit.tracing.conftest import ZIPKIN, MakeTraced

HTTP = {"http_service": {"server_uri": {"uri": "http://authz", "cluster": "a", "timeout": "1s"}}}
GRPC = {"grpc_service": {"envoy_grpc": {"cluster_name": "a", "authority": "authz"}, "timeout": "1s"}}
DENIED = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"


def asking(traced: MakeTraced, settings: dict[str, Any]) -> Bench:
    cluster: dict[str, Any] = {"http2_protocol_options": {}} if "grpc_service" in settings else {}
    return traced(provider=ZIPKIN, http_filters={"ext_authz": settings}, cluster=cluster)


def spans(b: Bench) -> list[tuple[str, str]]:
    return [(span.operation, span.kind) for span in b.server.spans]


def test_a_question_is_the_child_of_its_request(traced: MakeTraced) -> None:
    b = asking(traced, HTTP)
    b.client().get()
    asked = b.upstream.received()
    b.advance(0.25)
    b.upstream.send(DENIED)
    call, request = b.server.spans
    assert (call.operation, call.parent_id, call.trace_id) == ("async a egress", request.span_id, request.trace_id)
    assert f"x-b3-spanid: {call.span_id}".encode() in asked
    assert call.duration == pytest.approx(0.25)
    assert call.tags["ext_authz_status"] == "ext_authz_unauthorized"
    assert call.tags["http.status_code"] == "403"


def test_a_question_that_nobody_wants_to_be_told_of_is_not_sampled(traced: MakeTraced) -> None:
    b = asking(traced, {**HTTP, "emit_client_span": False})
    b.client().get()
    assert b"x-b3-sampled: 0" in b.upstream.received()
    b.upstream.send(DENIED)
    assert [kind for _, kind in spans(b)] == ["SERVER"]


@pytest.mark.parametrize(
    ("settings", "tag"), [(HTTP, ("canceled", "true")), (GRPC, ("status", "canceled"))], ids=["http", "grpc"]
)
def test_a_question_that_is_given_up_says_so(traced: MakeTraced, settings: dict[str, Any], tag: Any) -> None:
    b = asking(traced, settings)
    b.client().get().close()
    call = b.server.spans[0]
    assert tag in call.tags.items()
    assert call.kind == "CLIENT"


def test_a_question_that_breaks_off_is_over_as_well(traced: MakeTraced) -> None:
    b = asking(traced, HTTP)
    b.client().get()
    b.upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel")
    b.upstream.close()
    call = b.server.spans[0]
    assert (call.tags["error.reason"], call.tags["response_flags"]) == ("Reset", "UPE")
    assert "ext_authz_status" not in call.tags


def test_a_grpc_call_says_how_it_ends(traced: MakeTraced) -> None:
    b = asking(traced, GRPC)
    b.client().get()
    b.upstream.received()
    b.advance(1.1)
    # Whoever has asked answers the client before the span of the call is over.
    request, call = b.server.spans
    assert call.operation == "async envoy.service.auth.v3.Authorization.Check egress"
    assert call.parent_id == request.span_id
    assert call.tags == {
        "upstream_cluster": "a",
        "upstream_address": "authz",
        "component": "proxy",
        "grpc.status_code": "14",
        "error": "true",
    }


def test_a_question_about_a_request_that_is_not_traced_has_no_span(traced: MakeTraced) -> None:
    b = asking(traced, HTTP)
    b.client().send(b"GET / HTTP/1.1\r\nhost: a.com\r\nx-b3-sampled: 0\r\n\r\n")
    asked = b.upstream.received()
    assert b"x-b3-sampled: 0" in asked
    b.upstream.send(OK)
    assert not b.server.spans
