"""The global rate limit filter while it waits; what Envoy answers is in tests/conformance/scenarios.

The service is a host of the application's own cluster, which speaks HTTP/2 here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hpack
import pytest

from minienvoy.config.api import message_class
from minienvoy.errors import ConfigError
from minienvoy.http.filter import FilterHeadersStatus, StreamDecoderFilter
from minienvoy.http.filter_manager import FilterChain
from minienvoy.http.header_map import RequestHeaderMap
from minienvoy.http.http2.frames import frame
from minienvoy.upstream.grpc_client import grpc_frame
from tests.unit.http_bench import Bench

MakeBench = Callable[..., Bench]
LIMITS = [{"actions": [{"generic_key": {"descriptor_value": "a"}}]}]
ROUTES = [{"match": {"prefix": "/"}, "route": {"cluster": "a", "rate_limits": LIMITS}}]
GOOGLE = {"google_grpc": {"target_uri": "xds://a", "stat_prefix": "a"}}
HTTP2: dict[str, Any] = {"http2_protocol_options": {}}


def limited(bench: MakeBench, **more: Any) -> Bench:
    service = {"transport_api_version": "V3", "grpc_service": {"envoy_grpc": {"cluster_name": "a"}}}
    settings = {"domain": "d", "timeout": "1s", "rate_limit_service": service, **more}
    return bench(ROUTES, cluster=HTTP2, http_filters={"ratelimit": settings})


def said(b: Bench, code: str, **more: Any) -> None:
    """The service answers the call on stream 1."""
    message = message_class("envoy.service.ratelimit.v3.RateLimitResponse")(overall_code=code, **more)
    encode = hpack.Encoder().encode
    head = encode([(":status", "200"), ("content-type", "application/grpc")])
    b.upstream.send(
        frame(4, 0, 0, b"")
        + frame(1, 4, 1, head)
        + frame(0, 0, 1, grpc_frame(message.SerializeToString()))
        + frame(1, 5, 1, encode([("grpc-status", "0")]))
    )


def test_who_is_over_the_limit_is_told(bench: MakeBench) -> None:
    b = limited(bench)
    client = b.client().get()
    assert client.received() == b""
    said(b, "OVER_LIMIT", raw_body=b"slowly")
    answer = client.received()
    assert answer.startswith(b"HTTP/1.1 429 Too Many Requests\r\nx-envoy-ratelimited: true\r\n")
    assert answer.endswith(b"slowly")
    assert b.stats("cluster.ratelimit.over_limit", "cluster.ratelimit.ok") == [1, 0]


def test_a_request_goes_on_when_nobody_answers_in_time(bench: MakeBench) -> None:
    b = limited(bench)
    b.client().get()
    asked = b.upstream.received()
    b.advance(1.1)
    assert len(b.upstream.received()) > 13 and asked
    assert b.stats("cluster.ratelimit.error", "cluster.ratelimit.failure_mode_allowed") == [1, 1]


def test_a_failure_may_be_a_denial(bench: MakeBench) -> None:
    b = limited(bench, failure_mode_deny=True)
    client = b.client().get()
    b.advance(1.1)
    assert client.received().startswith(b"HTTP/1.1 500 Internal Server Error")
    assert b.log.streams[0].response_code_details == "rate_limiter_error"


def test_nobody_is_asked_on_behalf_of_a_client_that_has_gone(bench: MakeBench) -> None:
    b = limited(bench)
    client = b.client().get()
    b.upstream.received()
    client.close()
    assert b.upstream.received()[3] == 3  # RST_STREAM
    assert b.stats("cluster.ratelimit.ok", "cluster.ratelimit.error") == [0, 0]


def test_a_share_of_requests_is_asked_about(bench: MakeBench) -> None:
    b = limited(bench, filter_enabled={"default_value": {"numerator": 0}})
    b.client().get()
    assert b"ratelimit" not in b.upstream.received()
    assert b.stats("cluster.upstream_rq_total") == [1]


class LeavesHits(StreamDecoderFilter):
    """Stands before the filter."""

    def __init__(self, hits: str) -> None:
        self.hits = hits

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        self.decoder_callbacks.stream_info.filter_state["envoy.ratelimit.hits_addend"] = self.hits
        return FilterHeadersStatus.CONTINUE


@pytest.mark.parametrize(
    ("left", "told"), [("7", b"\x18\x07"), ("x", b""), ("5000000000", b"\x18\xff\xff\xff\xff\x0f")]
)
def test_a_filter_may_say_how_many_hits_a_request_is(bench: MakeBench, left: str, told: bytes) -> None:
    b = limited(bench)
    chain = b.config.filter_chain
    b.config.filter_chain = FilterChain([lambda: LeavesHits(left), *chain.factories, chain.make_terminal])
    b.client().get()
    # Field 3 of the request is behind the domain and the one descriptor.
    request = b"\n\x01d\x12\x12\n\x10\n\x0bgeneric_key\x12\x01a" + told
    assert grpc_frame(request) in b.upstream.received()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"rate_limit_service": {"grpc_service": GOOGLE}},
            "scheme xds",
        ),
        ({"rate_limits": [{"stage": {"value": 1}, **LIMITS[0]}]}, "'stage' field"),
        ({"response_headers_to_add": [{"header": {"key": ":status", "value": "1"}}]}, "may not be modified"),
    ],
)
def test_what_can_not_be_is_refused(bench: MakeBench, settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        limited(bench, **settings)
