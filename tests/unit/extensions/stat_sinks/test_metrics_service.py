"""A stream of metrics as Prometheus has them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from minienvoy.config.api import message_class
from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.extensions.stat_sinks.metrics_service import CONFIG_TYPE, MetricsServiceSink
from minienvoy.stats.flush import StatsFlusher
from tests.unit.http_bench import Bench

SERVICE = {"grpc_service": {"envoy_grpc": {"cluster_name": "a"}}}
MESSAGE = message_class("envoy.service.metrics.v3.StreamMetricsMessage")


class Calls:
    """In place of a client of gRPC."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.started = 0
        self.callbacks: Any = None
        self.stream = SimpleNamespace(done=False, above_watermark=None)

    def start(self, method: str, callbacks: Any, timeout: float, metadata: Any) -> Any:
        self.started += 1
        self.callbacks = callbacks
        return self

    def send(self, message: bytes) -> None:
        self.messages.append(MESSAGE.FromString(message))

    def reset(self) -> None:
        self.started = 0


@pytest.fixture
def told(bench: Any) -> Any:
    def make(**config: Any) -> tuple[Bench, Calls, StatsFlusher]:
        b = bench()
        b.server.tag_settings = SimpleNamespace(tags=(), use_all_default_tags=True)
        sink = MetricsServiceSink(load_dict({**SERVICE, **config}, CONFIG_TYPE).message, b.server)
        calls: Any = Calls()
        sink._client = calls
        return b, calls, StatsFlusher(b.store, b.dispatcher, sinks=[sink])

    return make


def families(message: Any, prefix: str = "test.") -> dict[str, Any]:
    return {
        f"{each.type} {each.name}": each.metric[0] for each in message.envoy_metrics if each.name.startswith(prefix)
    }


def test_who_it_is_stands_in_the_first_message_of_a_stream(told: Any) -> None:
    _, calls, flusher = told()
    flusher.flush()
    flusher.flush()
    assert [each.identifier.node.id for each in calls.messages] == ["node", ""]
    calls.callbacks.on_remote_close(14, "")
    flusher.flush()
    assert (calls.started, calls.messages[-1].identifier.node.id) == (2, "node")


def test_counters_are_whole_or_what_they_grew_by(told: Any) -> None:
    for deltas, expected in ((False, [2.0, 3.0]), (True, [2.0, 1.0])):
        b, calls, flusher = told(report_counters_as_deltas=deltas)
        counter = b.store.counter("test.c")
        counter.add(2)
        flusher.flush()
        counter.add(1)
        flusher.flush()
        assert [families(each)["0 test.c"].counter.value for each in calls.messages] == expected


def test_what_was_never_used_is_not_told(told: Any) -> None:
    b, calls, flusher = told()
    b.store.counter("test.c")
    b.store.gauge("test.g")
    b.store.histogram("test.h")
    flusher.flush()
    assert families(calls.messages[0]) == {}


@pytest.mark.parametrize(
    ("mode", "kinds"),
    [("SUMMARY_AND_HISTOGRAM", ["2 test.h", "4 test.h"]), ("SUMMARY", ["2 test.h"]), ("HISTOGRAM", ["4 test.h"])],
)
def test_histograms_are_told_as_is_wanted(told: Any, mode: str, kinds: list[str]) -> None:
    b, calls, flusher = told(histogram_emit_mode=mode)
    b.store.histogram("test.h").record(10)
    flusher.flush()
    found = families(calls.messages[0])
    assert list(found) == kinds
    if "4 test.h" in found:
        told_histogram = found["4 test.h"].histogram
        assert told_histogram.sample_count == 1
        assert [each.cumulative_count for each in told_histogram.bucket][:5] == [0, 0, 0, 1, 1]
    if "2 test.h" in found:
        assert [each.value for each in found["2 test.h"].summary.quantile][:1] == [10.5]


def test_tags_become_labels(told: Any) -> None:
    b, calls, flusher = told(emit_tags_as_labels=True)
    b.store.counter("cluster.c.upstream_rq_200").add(1)
    flusher.flush()
    metric = families(calls.messages[0], "cluster.upstream_rq")["0 cluster.upstream_rq"]
    assert {each.name: each.value for each in metric.label} == {
        "envoy.response_code": "200",
        "envoy.cluster_name": "c",
    }


def test_batches_are_as_large_as_they_may_be(told: Any) -> None:
    b, calls, flusher = told(batch_size=2)
    for name in "abc":
        b.store.counter(f"test.{name}").add(1)
    flusher.flush()
    sizes = [len(each.envoy_metrics) for each in calls.messages]
    assert max(sizes) == 2
    assert sum(sizes) >= 3


def test_a_service_that_takes_nothing_is_sent_nothing(told: Any) -> None:
    _, calls, flusher = told()
    flusher.flush()
    calls.stream.above_watermark(True)
    flusher.flush()
    assert len(calls.messages) == 1
    calls.stream.above_watermark(False)
    flusher.flush()
    assert len(calls.messages) == 2


def test_nothing_is_left_at_the_end(told: Any) -> None:
    _, calls, flusher = told()
    flusher.flush()
    flusher.stop()
    assert calls.started == 0


def test_a_cluster_that_is_not_there_is_refused_with_its_place(bench: Any) -> None:
    config = {"grpc_service": {"envoy_grpc": {"cluster_name": "nobody"}}}
    with pytest.raises(ConfigError) as caught:
        MetricsServiceSink(load_dict(config, CONFIG_TYPE).message, bench().server)
    assert caught.value.path == "grpc_service.envoy_grpc.cluster_name"
