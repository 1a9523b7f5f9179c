"""Bandwidth over simulated time; what Envoy answers is in tests/conformance/scenarios/bandwidth_limit.yaml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.unit.http_bench import GET, OK, Bench

MakeBench = Callable[..., Bench]
KILO = b"HTTP/1.1 200 OK\r\ncontent-length: 1024\r\n\r\n" + b"x" * 1024


def limited(bench: MakeBench, mode: str, **more: Any) -> Bench:
    options = {key: more.pop(key) for key in ("buffer_limit", "hcm", "cluster") if key in more}
    limit = {"stat_prefix": "bw", "limit_kbps": 1, "enable_mode": mode, **more}
    return bench(http_filters={"bandwidth_limit": limit}, **options)


def test_a_response_begins_with_what_has_been_saved_and_goes_on_at_the_rate(bench: MakeBench) -> None:
    b = limited(bench, "RESPONSE")
    b.advance(0.45)
    client = b.client().send(GET)
    b.upstream.send(KILO)
    client.received()
    b.advance(0.01)
    assert 500 < len(client.received()) < 530
    b.advance(0.05)
    assert 45 < len(client.received()) < 60
    b.advance(2)
    assert b.stats(
        "bw.http_bandwidth_limit.response_allowed_total_size", "bw.http_bandwidth_limit.response_pending"
    ) == [
        1024,
        0,
    ]


def test_both_directions_and_all_streams_share_one_bucket(bench: MakeBench) -> None:
    b = limited(bench, "REQUEST_AND_RESPONSE", fill_interval="1s")
    one, two = b.client(), b.client()
    one.send(b"POST / HTTP/1.1\r\nhost: a.com\r\ncontent-length: 600\r\n\r\n" + b"x" * 600)
    two.send(b"POST / HTTP/1.1\r\nhost: a.com\r\ncontent-length: 600\r\n\r\n" + b"x" * 600)
    b.advance(0.02)
    bodies = [each.received().partition(b"\r\n\r\n")[2] for each in b.upstreams]
    assert sorted(map(len, bodies)) == [424, 600]
    b.advance(1)
    for upstream in b.upstreams:
        upstream.send(OK)
    b.advance(1)
    assert one.received().endswith(b"ok")
    assert two.received().endswith(b"ok")


def test_whoever_sends_too_fast_is_made_to_wait(bench: MakeBench) -> None:
    b = limited(bench, "REQUEST", buffer_limit=1000)
    client = b.client().send(b"POST / HTTP/1.1\r\nhost: a.com\r\ncontent-length: 1500\r\n\r\n" + b"x" * 1500)
    assert not client.reading
    b.advance(1.2)
    assert client.reading
    b.advance(1)
    b.upstream.send(OK)
    assert client.received().endswith(b"ok")


def test_a_client_that_leaves_takes_its_timer_along(bench: MakeBench) -> None:
    b = limited(bench, "RESPONSE")
    client = b.client().send(GET)
    b.upstream.send(KILO)
    b.advance(0.1)
    client.close()
    assert b.stat("bw.http_bandwidth_limit.response_pending") == 1  # as Envoy leaves it


def test_trailers_tell_how_long_it_took(bench: MakeBench) -> None:
    hcm = {"http_protocol_options": {"enable_trailers": True}}
    b = limited(bench, "RESPONSE", enable_response_trailers=True, response_trailer_prefix="my", hcm=hcm)
    client = b.client().send(GET)
    b.upstream.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n100\r\n" + b"x" * 256 + b"\r\n0\r\n\r\n")
    b.advance(1)
    end = client.received().rpartition(b"\r\n0\r\n")[2]
    names = [line.partition(b":")[0] for line in end.split(b"\r\n") if line]
    assert names == [b"my-bandwidth-response-delay-ms", b"my-bandwidth-response-filter-delay-ms"]
    assert b.stat("bw.http_bandwidth_limit.response_enforced") == int(end.split(b"filter-delay-ms: ")[1][:3]) // 50
