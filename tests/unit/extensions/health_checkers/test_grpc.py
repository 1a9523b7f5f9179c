"""gRPC and HTTP/2 health checks over connections that only remember; see tests/conformance/scenarios for Envoy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hpack
import pytest

from minienvoy.extensions.health_checkers.grpc import request_message, serving_status
from minienvoy.http.grpc import grpc_timeout
from minienvoy.http.http2.frames import PREFACE, frame, goaway, settings_frame
from tests.unit.http_bench import Bench

MakeBench = Callable[..., Bench]
SERVING = b"\0\0\0\0\x02\x08\x01"
GRPC = [(":status", "200"), ("content-type", "application/grpc")]


def checked(bench: MakeBench, **check: Any) -> Bench:
    check = {
        "timeout": "1s",
        "interval": "10s",
        "no_traffic_interval": "10s",
        "initial_jitter": "0.001s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "grpc_health_check": {},
        **check,
    }
    b = bench(cluster={"health_checks": [check], "http2_protocol_options": {}})
    b.advance(0.02)
    b.upstream.send(settings_frame([]))
    return b


def block(fields: list[tuple[str, str]]) -> bytes:
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    return encoder.encode(fields)


def headers(stream: int, fields: list[tuple[str, str]], end: bool = False) -> bytes:
    return frame(1, 4 | end, stream, block(fields))


def serving(stream: int) -> bytes:
    return headers(stream, GRPC) + frame(0, 0, stream, SERVING) + headers(stream, [("grpc-status", "0")], True)


def kinds(b: Bench) -> list[tuple[int, int]]:
    """(type, stream) of the frames that the newest upstream has got since the last time, but SETTINGS and windows."""
    data = b.upstream.received().removeprefix(PREFACE)
    found = []
    while data:
        length = int.from_bytes(data[:3], "big")
        if data[3] not in (4, 8):
            found.append((data[3], int.from_bytes(data[5:9], "big")))
        data = data[9 + length :]
    return found


def healthy(b: Bench) -> bool:
    return b.cluster.hosts()[0].healthy


def test_a_host_that_serves_is_healthy_and_asked_again_on_the_same_connection(bench: MakeBench) -> None:
    b = checked(bench)
    assert kinds(b) == [(1, 1), (0, 1)]
    b.upstream.send(serving(1))
    assert healthy(b)
    b.advance(10.02)
    assert kinds(b) == [(1, 3), (0, 3)]
    assert len(b.upstreams) == 1


def test_what_is_known_to_be_wrong_resets_the_stream_and_keeps_the_connection(bench: MakeBench) -> None:
    b = checked(bench)
    kinds(b)
    b.upstream.send(headers(1, [(":status", "503")]))
    assert not healthy(b)
    assert kinds(b) == [(3, 1)]
    assert not b.upstream.closed


def test_a_timeout_resets_the_stream(bench: MakeBench) -> None:
    b = checked(bench)
    kinds(b)
    b.advance(1.02)
    assert kinds(b) == [(3, 1)]
    assert b.stats("cluster.health_check.network_failure", "cluster.http2.streams_active") == [1, 0]


def test_a_timeout_closes_a_connection_that_is_not_reused(bench: MakeBench) -> None:
    b = checked(bench, reuse_connection=False)
    b.advance(1.02)
    assert b.upstream.closed


def test_the_answer_after_a_graceful_goaway_counts_and_the_connection_is_left(bench: MakeBench) -> None:
    b = checked(bench)
    b.upstream.send(goaway(1, 0))
    assert not b.upstream.closed
    b.upstream.send(serving(1))
    assert healthy(b)
    assert b.upstream.closed


@pytest.mark.parametrize("farewell", [goaway(1, 2), goaway(0, 0)])
def test_a_goaway_that_is_no_good_fails_the_check_once(bench: MakeBench, farewell: bytes) -> None:
    b = checked(bench)
    b.upstream.send(farewell)
    assert b.upstream.closed
    assert b.stat("cluster.health_check.failure") == 1


def test_a_long_message_is_not_collected(bench: MakeBench) -> None:
    b = checked(bench)
    b.upstream.send(headers(1, GRPC) + frame(0, 0, 1, b"\0\x7f\xff\xff\xff" + bytes(1000)))
    assert b.stat("cluster.health_check.failure") == 1
    assert b.stat("cluster.health_check.network_failure") == 0


def test_an_answer_after_the_cluster_has_gone_means_nothing(bench: MakeBench) -> None:
    b = checked(bench)
    session = next(iter(b.cluster.health.checker.sessions.values()))  # type: ignore[union-attr]
    session.stop()
    assert b.upstream.closed
    assert b.stats("cluster.health_check.failure", "cluster.http2.streams_active") == [0, 0]


def test_http_checks_speak_http2_if_they_are_told_to(bench: MakeBench) -> None:
    b = checked(bench, grpc_health_check=None, http_health_check={"path": "/hc", "codec_client_type": "HTTP2"})
    assert kinds(b) == [(1, 1)]
    b.upstream.send(headers(1, [(":status", "200")], True))
    assert healthy(b)


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [
        (0, b"0m"),
        (99_999_999, b"99999999m"),
        (100_000_000, b"100000S"),
        (100_000_059_999, b"1666667M"),
        (10**16, b"99999999H"),
    ],
)
def test_a_timeout_is_told_in_at_most_eight_digits(milliseconds: int, said: bytes) -> None:
    assert grpc_timeout(milliseconds) == said


def test_messages_are_those_of_the_health_protocol() -> None:
    assert request_message("") == b""
    assert request_message("a.B") == b"\n\x03a.B"
    assert serving_status(b"\x08\x02") == 2
    assert serving_status(b"\x08\x01\x12\x02hi") == 1
    assert serving_status(b"\x08\xff") is None
