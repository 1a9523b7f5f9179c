"""What is said of every request that is traced."""

from __future__ import annotations

import pytest

from minienvoy.http.header_map import ResponseHeaderMap
from minienvoy.tracing.span import Span
from minienvoy.tracing.span_tags import tag_grpc
from tests.unit.http_bench import GET, OK
from tests.unit.tracing.conftest import MakeTraced


def test_the_tags_of_a_request_stand_in_the_order_in_which_envoy_sets_them(traced: MakeTraced) -> None:
    b = traced()
    b.client().send(b"POST /p?q HTTP/1.1\r\nhost: a.com\r\nuser-agent: me\r\ncontent-length: 2\r\n\r\nhi")
    b.upstream.send(OK)
    tags = dict(b.server.spans[0].tags)
    assert len(tags.pop("guid:x-request-id")) == 36
    assert list(tags.items()) == [
        ("node_id", "node"),
        ("zone", ""),
        ("http.url", "http://a.com/p?q"),
        ("http.method", "POST"),
        ("downstream_cluster", "-"),
        ("user_agent", "me"),
        ("http.protocol", "HTTP/1.1"),
        ("peer.address", "127.0.0.1"),
        ("request_size", "2"),
        ("response_size", "2"),
        ("component", "proxy"),
        ("upstream_cluster", "a"),
        ("upstream_cluster.name", "a"),
        ("http.status_code", "200"),
        ("response_flags", "-"),
    ]


def test_of_a_path_only_so_much_is_told(traced: MakeTraced) -> None:
    b = traced(max_path_tag_length=3)
    b.client().get("/abcdef")
    b.upstream.send(OK)
    assert b.server.spans[0].tags["http.url"] == "http://a.com/ab"


def test_a_cluster_with_a_name_for_statistics_has_that(traced: MakeTraced) -> None:
    b = traced(cluster={"alt_stat_name": "other"}, spawn_upstream_span=True)
    b.client().send(GET)
    b.upstream.send(OK)
    attempt, request = b.server.spans
    assert attempt.operation == "router other egress"
    assert attempt.tags["upstream_cluster.name"] == request.tags["upstream_cluster.name"] == "other"
    assert request.tags["upstream_cluster"] == "a"


def test_verbose_spans_tell_when_bytes_came_and_went(traced: MakeTraced) -> None:
    b = traced(verbose=True)
    b.client().send(GET)
    b.advance(1.0)
    b.upstream.send(OK)
    span = b.server.spans[0]
    after = {name: round(time - span.start_time, 3) for time, name in span.events}
    assert after["first_upstream_tx_byte_sent"] == 0.0
    assert after["first_upstream_rx_byte_received"] == after["last_downstream_tx_byte_sent"] == 1.0


@pytest.mark.parametrize(
    ("status", "error"),
    [(str(code).encode(), code in (2, 4, 8, 12, 13, 14, 15)) for code in range(18)] + [(b"x", False), (b"-1", False)],
)
def test_which_statuses_of_grpc_are_errors(status: bytes, error: bool) -> None:
    span, headers = Span(), ResponseHeaderMap(200)
    headers.add(b"grpc-status", status)
    headers.add(b"grpc-message", b"away")
    tag_grpc(span, headers)
    assert span.tags.pop("error", "") == ("true" if error else "")
    assert span.tags == {"grpc.status_code": status.decode(), "grpc.message": "away"}


def test_headers_that_tell_no_status_of_grpc_add_nothing() -> None:
    span = Span()
    tag_grpc(span, None)
    tag_grpc(span, ResponseHeaderMap(200))
    assert span.tags == {}
