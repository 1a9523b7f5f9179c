"""Ejections and returns in simulated time, over a cluster without sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.config.runtime import Layer, Loader, Snapshot, entry_of_text
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.upstream.cluster import ClusterContext, create_cluster
from minienvoy.upstream.host import HealthFlag, Host
from minienvoy.upstream.outlier_config import OUTLIER_MONITORS, DetectorConfig, OnMonitorFailed
from minienvoy.upstream.outlier_detection import OutlierDetector
from minienvoy.upstream.outlier_event_logger import OutlierEventLogger
from minienvoy.upstream.outlier_host_monitor import HostMonitor


class Scene:
    def __init__(self, context: ClusterContext, config: Any, loop: Any) -> None:
        assert isinstance(context.dispatcher, SimulatedDispatcher)
        self.dispatcher = context.dispatcher
        self.loop = loop
        self.cluster = create_cluster(config, context)
        self.cluster.initialize(lambda: None)
        detector = self.cluster.health.detector
        assert detector is not None
        self.detector: OutlierDetector = detector
        self.hosts: list[Host] = self.cluster.hosts()
        self.context = context

    def monitor(self, index: int = 0) -> HostMonitor:
        monitor = self.hosts[index].outlier
        assert isinstance(monitor, HostMonitor)
        return monitor

    def answer(self, *statuses: int, index: int = 0) -> None:
        for status in statuses:
            self.monitor(index).put_http_response_code(status)
        self.loop.turn()

    def ejected(self) -> list[int]:
        return [index for index, host in enumerate(self.hosts) if host.health_flags & HealthFlag.FAILED_OUTLIER_CHECK]

    def away(self, index: int = 0) -> float:
        """Seconds until the host is back."""
        start = self.dispatcher.monotonic_time()
        while index in self.ejected():
            self.dispatcher.advance(0.5)
        return self.dispatcher.monotonic_time() - start

    def journal(self) -> list[str]:
        assert self.context.journal is not None
        return [f"{entry.decision.chose} because {entry.decision.because}" for entry in self.context.journal]

    def picks(self, count: int = 12) -> set[str]:
        return {str(self.cluster.load_balancer.choose_host(None)) for _ in range(count)}


Start = Callable[..., Scene]


@pytest.fixture
def start(context: ClusterContext, cluster_config: Callable[..., Any], loop: Any) -> Start:
    def make(endpoints: int = 4, own: ClusterContext | None = None, **fields: Any) -> Scene:
        settings = {"max_ejection_percent": 100, "interval": "10s", "base_ejection_time": "30s", **fields}
        config = cluster_config("a", [f"10.0.0.{n}:80" for n in range(endpoints)], outlier_detection=settings)
        return Scene(own or context, config, loop)

    return make


def runtime_of(values: dict[str, int]) -> Loader:
    runtime = Loader()
    layer = Layer("a", {f"outlier_detection.{key}": entry_of_text(str(value)) for key, value in values.items()})
    runtime.snapshot = Snapshot((layer,))
    return runtime


def test_defaults_are_envoys() -> None:
    config = DetectorConfig.from_proto(load_dict({}, "envoy.config.cluster.v3.OutlierDetection").message)
    assert config == DetectorConfig()


def test_the_longest_time_is_at_least_the_base_time() -> None:
    message = load_dict({"base_ejection_time": "400s"}, "envoy.config.cluster.v3.OutlierDetection").message
    assert DetectorConfig.from_proto(message).max_ejection_time_ms == 400_000


def test_errors_in_a_row_eject(start: Start) -> None:
    scene = start()
    scene.answer(500, 500, 200, 500, 500, 500, 500)
    assert scene.ejected() == []
    scene.answer(500)
    assert scene.ejected() == [0]
    assert scene.journal() == ["10.0.0.0:80 ejected because CONSECUTIVE_5XX"]
    assert scene.picks() == {"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"}


def test_the_ejection_waits_for_the_end_of_the_request(start: Start) -> None:
    scene = start(consecutive_5xx=1)
    scene.monitor().put_http_response_code(500)
    assert scene.ejected() == []
    scene.loop.turn()
    assert scene.ejected() == [0]


def test_a_host_comes_back_at_an_interval_after_the_base_time(start: Start) -> None:
    scene = start(consecutive_5xx=1)
    scene.dispatcher.advance(5)
    scene.answer(500)
    # 30 seconds later is between two intervals.
    assert scene.away() == 35
    assert scene.journal()[-1] == "10.0.0.0:80 unejected because away for 30 s"
    assert scene.picks() == {f"10.0.0.{n}:80" for n in range(4)}


def test_each_ejection_lasts_longer_up_to_the_longest(start: Start) -> None:
    scene = start(consecutive_5xx=1, max_ejection_time="80s")
    times = []
    for _ in range(4):
        scene.answer(500)
        times.append(scene.away())
    assert times == [30, 60, 80, 80]


def test_without_ejections_the_next_one_is_short_again(start: Start) -> None:
    scene = start(consecutive_5xx=1)
    for _ in range(3):
        scene.answer(500)
        scene.away()
    scene.dispatcher.advance(20)  # two intervals: twice less
    scene.answer(500)
    assert scene.away() == 60


def test_jitter_makes_it_longer(start: Start) -> None:
    scene = start(consecutive_5xx=1, interval="1s", max_ejection_time_jitter="100s", base_ejection_time="1s")
    scene.answer(500)
    jitter = scene.monitor().jitter
    assert 0 < jitter <= 100_000
    assert 0 <= scene.away() - (1 + jitter / 1000) <= 1.5


def test_counters_are_fresh_after_a_return(start: Start) -> None:
    scene = start(consecutive_5xx=2, consecutive_gateway_failure=3)
    scene.answer(503, 503)
    scene.monitor().put_http_response_code(503)
    scene.away()
    assert (scene.monitor().consecutive_5xx, scene.monitor().consecutive_gateway_failure) == (0, 0)


def test_no_more_hosts_are_ejected_than_the_percentage_says(start: Start) -> None:
    scene = start(consecutive_5xx=1, max_ejection_percent=50)
    for index in range(4):
        scene.answer(500, index=index)
    assert scene.ejected() == [0, 1]
    stats = scene.detector.stats
    assert (stats.ejections_active, stats.ejections_overflow, stats.ejections_enforced_total) == (2, 2, 2)


def test_one_host_may_always_be_ejected(start: Start) -> None:
    scene = start(consecutive_5xx=1, max_ejection_percent=1, always_eject_one_host=True)
    scene.answer(500, index=2)
    scene.answer(500, index=3)
    assert scene.ejected() == [2]


def test_gateway_failures_are_only_detected_by_default(start: Start) -> None:
    scene = start(consecutive_gateway_failure=2, consecutive_5xx=10)
    scene.answer(502, 504)
    assert scene.ejected() == []
    assert scene.detector.stats.ejections_detected_consecutive_gateway_failure == 1
    assert scene.journal() == ["10.0.0.0:80 not ejected because CONSECUTIVE_GATEWAY_FAILURE, which is not enforced"]


def test_enforcement_is_a_matter_of_percent(start: Start) -> None:
    scene = start(endpoints=200, consecutive_5xx=1, enforcing_consecutive_5xx=50)
    for index in range(200):
        scene.answer(500, index=index)
    assert 60 < len(scene.ejected()) < 140


def test_local_errors_count_as_answers_unless_they_are_told_apart(start: Start) -> None:
    scene = start(consecutive_5xx=2)
    scene.monitor().put_connect_failure()
    scene.monitor().put_connected()
    scene.monitor().put_timeout()
    scene.loop.turn()
    assert scene.ejected() == [0]
    assert scene.monitor().consecutive_gateway_failure == 2


def test_local_errors_that_are_told_apart(start: Start) -> None:
    scene = start(split_external_local_origin_errors=True, consecutive_local_origin_failure=2, consecutive_5xx=2)
    monitor = scene.monitor()
    monitor.put_connect_failure()
    monitor.put_connected()
    monitor.put_timeout()
    scene.answer(500)
    assert scene.ejected() == []
    monitor.put_connect_failure()
    scene.loop.turn()
    assert scene.ejected() == [0]
    assert scene.detector.stats.ejections_enforced_consecutive_local_origin_failure == 1


def test_tcp_connections_are_successes(start: Start) -> None:
    scene = start(consecutive_5xx=2)
    scene.monitor().put_connect_failure()
    scene.monitor().put_connected_finally()
    scene.monitor().put_connect_failure()
    scene.loop.turn()
    assert scene.ejected() == []


def rates(scene: Scene, *failures: int, requests: int = 100) -> None:
    """So many failures of each host in one interval, none of them in a row."""
    for index, failed in enumerate(failures):
        for number in range(requests):
            scene.monitor(index).put_http_response_code(500 if number < failed else 200)
    scene.loop.turn()
    scene.dispatcher.advance(10)


def test_a_success_rate_far_below_the_average_ejects(start: Start) -> None:
    scene = start(endpoints=5, consecutive_5xx=1000)
    # Envoy's own example: 50, 100, 100, 100, 100 has the mean 90, the deviation 20 and the threshold 52.
    rates(scene, 50, 0, 0, 0, 0)
    assert scene.detector.success_rates[True] == (90, 52)
    assert scene.ejected() == [0]
    assert [scene.monitor(index).success_rate for index in (0, 1)] == [50, 100]
    scene.dispatcher.advance(10)
    assert scene.detector.success_rates[True] == (-1, -1)
    assert scene.monitor(1).success_rate == -1


@pytest.mark.parametrize(
    ("endpoints", "requests", "fields"),
    [
        (4, 100, {}),
        (5, 99, {}),
        (5, 100, {"enforcing_success_rate": 0}),
        (5, 100, {"success_rate_stdev_factor": 2100}),
        (5, 100, {"max_ejection_percent": 10}),
    ],
)
def test_a_success_rate_ejects_nobody(start: Start, endpoints: int, requests: int, fields: dict[str, int]) -> None:
    scene = start(endpoints=endpoints, consecutive_5xx=1000, **fields)
    rates(scene, requests // 2, *[0] * (endpoints - 1), requests=requests)
    assert scene.ejected() == []


def test_failures_above_the_threshold_eject(start: Start) -> None:
    scene = start(endpoints=5, consecutive_5xx=1000, enforcing_failure_percentage=100, success_rate_minimum_hosts=100)
    rates(scene, 84, 85, 100, 0, 0)
    assert scene.ejected() == [1, 2]
    assert scene.detector.stats.ejections_enforced_failure_percentage == 2


def test_two_rules_that_find_the_same_host_eject_it_once(start: Start) -> None:
    scene = start(endpoints=5, consecutive_5xx=1000, enforcing_failure_percentage=100)
    rates(scene, 100, 0, 0, 0, 0)
    assert scene.detector.stats.ejections_active == 1
    assert scene.detector.stats.ejections_detected_failure_percentage == 1


def test_local_success_rates_are_looked_at_by_themselves(start: Start) -> None:
    scene = start(endpoints=5, split_external_local_origin_errors=True, consecutive_local_origin_failure=1000)
    for index in range(5):
        for number in range(100):
            if index == 3 and number % 2:
                scene.monitor(index).put_connect_failure()
            else:
                scene.monitor(index).put_connected()
    scene.dispatcher.advance(10)
    assert scene.ejected() == [3]
    assert scene.monitor(3).local_origin_success_rate == 50
    assert scene.detector.stats.ejections_enforced_local_origin_success_rate == 1


def test_degraded_hosts_are_used_last_for_the_base_time(start: Start) -> None:
    scene = start(detect_degraded_hosts=True)
    scene.monitor().put_degraded(500, True)
    scene.loop.turn()
    assert not scene.hosts[0].degraded
    scene.monitor().put_degraded(200, True)
    scene.monitor().put_degraded(200, True)
    scene.loop.turn()
    assert scene.hosts[0].degraded
    assert scene.detector.stats.ejections_detected_degradation == 1
    assert scene.picks() == {"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"}
    scene.dispatcher.advance(30)
    assert scene.hosts[0].healthy


def test_runtime_says_otherwise(start: Start, context: ClusterContext) -> None:
    runtime = runtime_of({"consecutive_5xx": 2, "base_ejection_time_ms": 10_000, "interval_ms": 5_000})
    scene = start(own=replace(context, runtime=runtime))
    scene.answer(500, 500)
    assert scene.ejected() == [0]
    assert scene.away() == 10
    runtime.snapshot = runtime_of({"enforcing_consecutive_5xx": 0}).snapshot
    scene.answer(500, 500, 500, 500, 500)
    assert scene.ejected() == []


def test_a_host_that_leaves_takes_its_ejection_along(start: Start) -> None:
    scene = start(consecutive_5xx=1)
    scene.answer(500)
    scene.monitor(1).put_http_response_code(500)
    scene.cluster.priority_set.update_hosts(scene.cluster.load_assignment.host_set(0, tuple(scene.hosts[2:])))
    scene.loop.turn()
    assert scene.detector.stats.ejections_active == 0
    assert len(scene.detector.monitors) == 2
    assert scene.ejected() == [0]  # and it may not come back
    scene.dispatcher.advance(100)
    assert scene.ejected() == [0]


def test_nothing_happens_after_the_end(start: Start) -> None:
    scene = start(consecutive_5xx=1)
    scene.monitor().put_http_response_code(500)
    scene.cluster.stop()
    scene.loop.turn()
    assert scene.ejected() == []
    assert scene.dispatcher.next_deadline() is None


def test_events_are_lines_of_json(start: Start, context: ClusterContext) -> None:
    lines: list[str] = []
    logger = OutlierEventLogger(lines.append, context.dispatcher)
    scene = start(consecutive_5xx=1, own=replace(context, outlier_event_logger=logger))
    scene.answer(500)
    scene.away()
    scene.answer(500)
    events = [json.loads(line) for line in lines]
    assert [(event["action"], event["num_ejections"], event["enforced"]) for event in events] == [
        ("EJECT", 1, True),
        ("UNEJECT", 1, False),
        ("EJECT", 2, True),
    ]
    assert [event.get("secs_since_last_action") for event in events] == [None, "30", "0"]


class LateMonitor:
    """Ejects after the second timeout, whatever comes between."""

    def __init__(self, failed: OnMonitorFailed) -> None:
        self._failed = failed
        self.seen: list[object] = []

    def put_http_response_code(self, status: int) -> None:
        self.seen.append(status)

    def put_local_origin(self, failed: bool) -> None:
        self.seen.append(failed)
        if self.seen.count(True) == 2:
            self._failed("late", 100, "two timeouts")

    def reset(self) -> None:
        self.seen.clear()


@OUTLIER_MONITORS.register("test.late", "google.protobuf.BytesValue")
def create_late_monitor(name: str, config: Any) -> Callable[[Host, OnMonitorFailed], LateMonitor]:
    return lambda host, failed: LateMonitor(failed)


def test_somebody_elses_monitor_ejects(start: Start) -> None:
    typed = {"@type": "type.googleapis.com/google.protobuf.BytesValue", "value": "eA=="}
    other = {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "x"}
    scene = start(
        monitors=[{"name": "late", "typed_config": typed}, {"name": "unknown", "typed_config": other}],
        split_external_local_origin_errors=True,
    )
    monitor = scene.monitor()
    monitor.put_timeout()
    monitor.put_connected()
    monitor.put_http_response_code(200)
    monitor.put_timeout()
    scene.loop.turn()
    assert scene.ejected() == [0]
    assert scene.journal() == ["10.0.0.0:80 ejected because EXTENSION"]
    assert scene.away() == 30
