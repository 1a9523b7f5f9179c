"""statsd in all its forms; what Envoy sends is in tests/conformance/scenarios/stat_sinks.yaml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.extensions.stat_sinks import udp_statsd
from minienvoy.extensions.stat_sinks.statsd import CONFIG_TYPE, MAX_BUFFERED, TcpStatsdSink, create_statsd_sink
from minienvoy.extensions.stat_sinks.statsd_lines import DOG_STATSD, GRAPHITE, StatsdLines
from minienvoy.extensions.stat_sinks.udp_statsd import UdpStatsdSink, datagram_address
from minienvoy.network.address import Address
from minienvoy.stats.flush import CounterSnapshot, MetricSnapshot
from minienvoy.stats.histogram import PERCENT_SCALE, Histogram
from minienvoy.stats.store import HistogramSample, HostMetric, Sample
from minienvoy.stats.tag_extractor import TagProducer
from tests.unit.http_bench import Bench

MakeBench = Callable[..., Bench]
HOST = HostMetric(
    Sample("cluster.c.endpoint.1.rq", 0, False), False, "cluster.endpoint.rq", (("name", "c"), ("address", "1:2"))
)


def snapshot(**samples: dict[int, int]) -> MetricSnapshot:
    histograms = [HistogramSample(name, Histogram("percent" if name == "share" else "ms")) for name in samples]
    return MetricSnapshot(
        [
            CounterSnapshot(Sample("cluster.c.upstream_rq_total", 7, True), 2),
            CounterSnapshot(Sample("never", 0, False), 0),
            CounterSnapshot(HOST.sample, 0),
        ],
        [Sample("cluster.c.upstream_cx_active", 0, True), Sample("never_set", 0, False)],
        [],
        histograms,
        0.0,
        {HOST.sample.name: HOST},
        samples,
    )


def test_lines_have_what_was_ever_used_and_all_of_hosts() -> None:
    assert list(StatsdLines("").of(snapshot())) == [
        "envoy.cluster.c.upstream_rq_total:2|c",
        "envoy.cluster.c.endpoint.1.rq:0|c",
        "envoy.cluster.c.upstream_cx_active:0|g",
    ]


def test_tags_stand_behind_the_value_or_the_name() -> None:
    assert list(StatsdLines("p", TagProducer(), DOG_STATSD).of(snapshot())) == [
        "p.cluster.upstream_rq_total:2|c|#envoy.cluster_name:c",
        "p.cluster.endpoint.rq:0|c|#name:c,address:1:2",
        "p.cluster.upstream_cx_active:0|g|#envoy.cluster_name:c",
    ]
    assert list(StatsdLines("p", TagProducer(), GRAPHITE).of(snapshot()))[1] == (
        "p.cluster.endpoint.rq;name=c;address=1:2:0|c"
    )


def test_each_value_of_a_histogram_has_a_line_unless_there_are_very_many() -> None:
    assert list(StatsdLines("").of_samples(snapshot(h={3: 2, 5: 1}))) == [
        "envoy.h:3|ms",
        "envoy.h:3|ms",
        "envoy.h:5|ms",
    ]
    assert list(StatsdLines("").of_samples(snapshot(h={3: 2000, 5: 1}))) == ["envoy.h:3|ms|@0.0005", "envoy.h:5|ms"]
    assert list(StatsdLines("").of_samples(snapshot(share={PERCENT_SCALE // 8: 1}))) == ["envoy.share:0.125|h"]


class FakeSocket:
    """Takes datagrams, or does not."""

    sent: ClassVar[list[tuple[bytes, Any]]] = []
    takes = True

    def __init__(self, family: int, kind: int) -> None:
        self.closed = False

    def setblocking(self, blocking: bool) -> None:
        assert not blocking

    def sendto(self, data: bytes, address: Any) -> None:
        if not self.takes:
            raise BlockingIOError
        self.sent.append((data, address))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(udp_statsd.socket, "socket", FakeSocket)
    monkeypatch.setattr(FakeSocket, "sent", [])
    return FakeSocket.sent


def sent_by(sent: list[tuple[bytes, Any]], values: MetricSnapshot, max_bytes: int = 0) -> list[bytes]:
    sink = UdpStatsdSink(Address("127.0.0.1", 8125), StatsdLines("p"), max_bytes)
    sink.flush(values)
    sink.close()
    assert {address for _, address in sent} <= {("127.0.0.1", 8125)}
    return [data for data, _ in sent]


def test_datagrams_of_one_line_each(sent: Any) -> None:
    told = sent_by(sent, snapshot(h={3: 1}))
    assert told[:2] == [b"p.h:3|ms", b"p.cluster.c.upstream_rq_total:2|c"]
    assert len(told) == 4


def test_datagrams_of_several_lines_are_as_long_as_they_may_be(sent: Any) -> None:
    assert sent_by(sent, snapshot(), 70) == [
        b"p.cluster.c.upstream_rq_total:2|c\np.cluster.c.endpoint.1.rq:0|c",
        b"p.cluster.c.upstream_cx_active:0|g",
    ]


def test_a_line_that_is_too_long_goes_by_itself(sent: Any) -> None:
    assert sorted(map(len, sent_by(sent, snapshot(), 33))) == [29, 33, 34]


def test_what_the_system_does_not_take_is_lost(sent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeSocket, "takes", False)
    assert sent_by(sent, snapshot()) == []


def tcp(bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> tuple[Bench, TcpStatsdSink]:
    b = bench(accepts=False)
    monkeypatch.setattr("minienvoy.extensions.stat_sinks.statsd.create_connection", b.create_connection)
    return b, TcpStatsdSink("a", StatsdLines("p"), b.server)


def test_lines_wait_for_the_connection_and_share_it(bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    b, sink = tcp(bench, monkeypatch)
    sink.flush(snapshot(h={3: 1}))
    assert len(b.upstreams) == 1
    b.upstream.accept()
    assert b.upstream.received().startswith(b"p.h:3|ms\np.cluster.c.upstream_rq_total:2|c\n")
    sink.flush(snapshot())
    b.turns.settle()
    assert b.upstream.received().count(b"\n") == 3
    assert len(b.upstreams) == 1
    sink.close()
    b.turns.settle()
    assert b.upstream.gone


def test_a_connection_that_ends_is_made_anew_with_the_next_flush(
    bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    b, sink = tcp(bench, monkeypatch)
    sink.flush(snapshot())
    b.upstream.refuse()
    sink.flush(snapshot())
    b.upstream.accept()
    assert len(b.upstreams) == 2
    assert b.upstream.received().count(b"\n") == 3, "what was to be told before is lost"
    b.upstream.reset()
    sink.close()


def test_a_service_that_takes_nothing_is_given_up_before_too_much_waits(
    bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    b, sink = tcp(bench, monkeypatch)
    sink.flush(snapshot())
    b.upstream.accept()
    b.upstream.block()
    connection: Any = b.upstream.connection
    connection.write(b"x" * (MAX_BUFFERED + 1))
    b.turns.settle()
    sink.flush(snapshot())
    b.turns.settle()
    assert b.stat("statsd.cx_overflow") == 1
    assert b.upstream.connection.closed


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"tcp_cluster_name": "a"}, "tcp_cluster_name"),
        ({"address": {"socket_address": {"address": "localhost", "port_value": 1}}}, "address.socket_address.address"),
        ({"address": {"pipe": {"path": "/x"}}}, "address"),
    ],
)
def test_what_can_not_be_is_refused_with_its_place(bench: MakeBench, config: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        create_statsd_sink(load_dict(config, CONFIG_TYPE).message, bench().server)
    assert caught.value.path == path


def test_an_address_of_ipv6() -> None:
    where = load_dict(
        {"socket_address": {"address": "::1", "port_value": 8125}}, "envoy.config.core.v3.Address"
    ).message
    assert datagram_address(where, "address").sockaddr == ("::1", 8125)
