"""Load reports beside the requests: what a host is asked, and what becomes of a host that does not answer well."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import hpack

from minienvoy.config.api import message_class
from minienvoy.extensions.load_balancing_policies.orca_oob import OobReportingConfig
from minienvoy.http.http2.frames import PREFACE, frame, goaway, settings_frame
from tests.unit.http_bench import Bench

MakeBench = Callable[..., Bench]
POLICY = "envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin"
GRPC = [(":status", "200"), ("content-type", "application/grpc")]


def asked(bench: MakeBench, **policy: Any) -> Bench:
    """A cluster whose host has been asked for reports every second."""
    config = {
        "@type": f"type.googleapis.com/{POLICY}",
        "enable_oob_load_report": True,
        "oob_reporting_period": "1s",
        "blackout_period": "0s",
        **policy,
    }
    policies = [{"typed_extension_config": {"name": "x", "typed_config": config}}]
    b = bench(cluster={"load_balancing_policy": {"policies": policies}})
    b.advance(1.02)
    b.upstream.send(settings_frame([]))
    return b


def headers(fields: list[tuple[str, str]], end: bool = False) -> bytes:
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    return frame(1, 4 | end, 1, encoder.encode(fields))


def report(requests: float, cpu: float) -> bytes:
    message = b"\x09" + struct.pack("<d", cpu) + b"\x31" + struct.pack("<d", requests)
    return frame(0, 0, 1, b"\0" + len(message).to_bytes(4, "big") + message)


def stats(b: Bench) -> list[int]:
    names = ("active_sessions", "reports_received", "report_errors", "stream_failures", "stream_terminated")
    return b.stats(*(f"cluster.lb_orca_oob.{name}" for name in names))


def test_a_host_is_asked_within_the_first_period(bench: MakeBench) -> None:
    b = asked(bench)
    assert b.upstream.received().startswith(PREFACE)
    assert len(b.upstreams) == 1
    assert stats(b) == [1, 0, 0, 0, 0]


def test_reports_are_weights(bench: MakeBench) -> None:
    b = asked(bench)
    b.upstream.send(headers(GRPC) + report(100, 0.5))
    b.advance(1.02)
    assert b.cluster.hosts()[0].weight == 200
    b.upstream.send(report(100, 0.0))
    assert stats(b) == [1, 2, 1, 0, 0]


def test_three_periods_without_a_report_are_a_failure(bench: MakeBench) -> None:
    b = asked(bench)
    b.upstream.send(headers(GRPC))
    for _ in range(5):
        b.advance(2)
        b.upstream.send(report(100, 0.5))
    assert len(b.upstreams) == 1
    b.advance(3.02)
    assert b.upstreams[0].closed
    b.advance(1.02)
    assert len(b.upstreams) == 2
    assert stats(b)[3] == 1


def test_a_connection_that_is_not_established_is_a_failure_and_waits_grow(bench: MakeBench) -> None:
    b = asked(bench)
    b.accepts = False
    b.upstream.close()
    for _ in range(40):
        b.advance(1)
        if not b.upstream.closed:
            b.upstream.refuse()
    assert 4 <= stats(b)[3] < 25


def test_who_does_not_implement_it_is_not_asked_again(bench: MakeBench) -> None:
    b = asked(bench)
    b.upstream.send(headers([*GRPC, ("grpc-status", "12")], True))
    assert b.upstream.closed
    b.advance(60)
    assert len(b.upstreams) == 1
    assert stats(b) == [0, 0, 0, 0, 1]


def test_after_a_graceful_goaway_the_end_is_a_reason_to_connect_again(bench: MakeBench) -> None:
    b = asked(bench)
    b.upstream.send(headers(GRPC) + goaway(1, 0))
    assert not b.upstream.closed
    b.upstream.send(headers([("grpc-status", "12")], True))
    assert b.upstream.closed
    b.advance(1.02)
    assert len(b.upstreams) == 2


def test_broken_framing_is_a_failure(bench: MakeBench) -> None:
    b = asked(bench)
    b.upstream.send(frame(0, 0, 0, b"x"))
    assert b.upstream.closed
    assert stats(b)[3] == 1


def test_a_host_that_leaves_is_not_asked_any_more(bench: MakeBench) -> None:
    b = asked(bench)
    b.cluster.load_assignment.update(b.cluster.priority_set, {0: ()})
    b.advance(2)
    assert b.upstream.closed
    assert stats(b)[0] == 0


def test_the_request_says_the_period() -> None:
    def config(**fields: Any) -> OobReportingConfig:
        return OobReportingConfig.from_proto(message_class(POLICY)(**fields))

    assert config().request() == b"\n\x02\x08\x0a"
    assert config(oob_reporting_period={"nanos": 300_000_000}).request() == b"\n\x06\x10\x80\xc6\x86\x8f\x01"
