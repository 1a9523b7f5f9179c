"""Health checks whose answers are written down: no socket, no loop."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from minienvoy.access_log.file import AccessLogManager
from minienvoy.config.runtime import Layer, Loader, Snapshot, entry_of_text
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.stats.store import Store
from minienvoy.upstream import health_checker
from minienvoy.upstream.cluster import Cluster, ClusterContext, create_cluster
from minienvoy.upstream.health_check_config import HealthCheckSettings
from minienvoy.upstream.health_check_session import ActiveHealthCheckSession
from minienvoy.upstream.health_checker import BATCH, HEALTH_CHECKERS, HealthChecker, HealthCheckerContext
from minienvoy.upstream.health_transition import FailureType
from minienvoy.upstream.host import HealthFlag, Host

SCRIPTED = "google.protobuf.StringValue"
"""A type that needs no proto of its own."""


class ScriptedSession(ActiveHealthCheckSession):
    """Answers with the next word of the checker's script: ok, degraded, bad, retry, broken, silent."""

    _checker: ScriptedChecker

    def check(self) -> None:
        checker = self._checker
        now = round(checker.dispatcher.monotonic_time(), 2)
        word = checker.script.pop(0) if checker.script else "silent"
        checker.asked.append((now, word))
        if word in ("ok", "degraded"):
            self.handle_success(word == "degraded")
        elif word in ("bad", "retry"):
            self.handle_failure(FailureType.ACTIVE, word == "retry", 503)
        elif word == "broken":
            self.handle_failure(FailureType.NETWORK)

    def close(self) -> None:
        self._checker.closed += 1


class ScriptedChecker(HealthChecker):
    checker_type = "HTTP"

    def __init__(self, settings: HealthCheckSettings, context: HealthCheckerContext) -> None:
        super().__init__(settings, context)
        self.script: list[str] = []
        self.asked: list[tuple[float, str]] = []
        self.closed = 0

    def new_session(self, host: Host) -> ActiveHealthCheckSession:
        return ScriptedSession(self, host)


@HEALTH_CHECKERS.register("test.scripted", SCRIPTED)
def create_scripted(config: Any, settings: HealthCheckSettings, context: HealthCheckerContext) -> HealthChecker:
    return ScriptedChecker(settings, context)


def check(**fields: Any) -> dict[str, Any]:
    """Intervals far apart, so that each can be told from the others."""
    return {
        "timeout": "1s",
        "interval": "10s",
        "no_traffic_interval": "100s",
        "unhealthy_threshold": 3,
        "healthy_threshold": 2,
        "custom_health_check": {
            "name": "scripted",
            "typed_config": {"@type": f"type.googleapis.com/{SCRIPTED}", "value": "x"},
        },
        **fields,
    }


class Scene:
    """A cluster under checks; `ready` counts how often it said that it can be used."""

    def __init__(self, cluster: Cluster, dispatcher: SimulatedDispatcher, script: str) -> None:
        self.cluster = cluster
        self.dispatcher = dispatcher
        assert isinstance(cluster.health.checker, ScriptedChecker)
        self.checker = cluster.health.checker
        self.checker.script = script.split()
        self.ready = 0
        cluster.initialize(self._on_ready)

    def _on_ready(self) -> None:
        self.ready += 1

    @property
    def host(self) -> Host:
        return self.cluster.hosts()[0]

    def flags(self) -> str:
        flags = self.host.health_flags
        return "".join(name for flag, name in HealthFlag.NAMES if flags & flag) or "healthy"

    def gaps(self) -> list[float]:
        times = [time for time, _ in self.checker.asked]
        return [round(after - before, 2) for before, after in pairwise(times)]

    def journal(self) -> list[str]:
        journal = self.checker.journal
        assert journal is not None
        return [f"{entry.decision.chose} because {entry.decision.because}" for entry in journal.all("health")]


Start = Callable[..., Scene]


@pytest.fixture
def start(context: ClusterContext, cluster_config: Callable[..., Any]) -> Start:
    def make(script: str, endpoints: int = 1, cluster: dict[str, Any] | None = None, **fields: Any) -> Scene:
        config = cluster_config(
            "a",
            [f"10.0.{number // 250}.{number % 250 + 1}:80" for number in range(endpoints)],
            health_checks=[check(**fields)],
            **(cluster or {}),
        )
        assert isinstance(context.dispatcher, SimulatedDispatcher)
        return Scene(create_cluster(config, context), context.dispatcher, script)

    return make


def traffic(scene: Scene) -> None:
    scene.cluster.stats.traffic.upstream_cx_total += 1


def test_a_new_host_waits_for_its_first_success(start: Start) -> None:
    scene = start("")
    assert (scene.flags(), scene.ready) == ("/failed_active_hc", 0)
    assert scene.cluster.load_balancer.choose_host(None) is scene.host  # panic


def test_the_first_success_is_believed_at_once(start: Start) -> None:
    scene = start("ok")
    assert (scene.flags(), scene.ready) == ("healthy", 1)
    assert scene.journal() == ["10.0.0.1:80 healthy because first check"]


def test_the_cluster_is_ready_after_a_failure_too(start: Start) -> None:
    scene = start("bad")
    assert (scene.flags(), scene.ready) == ("/failed_active_hc", 1)


def test_the_cluster_is_ready_when_every_host_was_checked(start: Start) -> None:
    scene = start("ok", endpoints=2)
    assert scene.ready == 0
    scene.dispatcher.advance(1.01)
    assert scene.ready == 1
    assert scene.cluster.stats.endpoint.membership_healthy == 1


def test_a_cluster_without_hosts_is_ready_at_once(start: Start) -> None:
    assert start("", endpoints=0).ready == 1


def test_intervals_without_traffic(start: Start) -> None:
    scene = start("ok ok bad bad ok ok", no_traffic_healthy_interval="50s", interval="1s")
    scene.dispatcher.advance(1000)
    # well, well, failed, failed, change pending, well
    assert scene.gaps()[:6] == [50, 50, 100, 100, 100, 50]


def test_intervals_with_traffic(start: Start) -> None:
    scene = start(
        "ok ok broken broken broken broken ok ok",
        interval="10s",
        unhealthy_interval="20s",
        unhealthy_edge_interval="5s",
        healthy_edge_interval="3s",
    )
    traffic(scene)
    scene.dispatcher.advance(1000)
    # The first of them had no traffic yet; two failures are pending, two are unhealthy, one success is pending.
    assert scene.gaps()[:8] == [100, 10, 5, 5, 20, 20, 3, 10]


def test_defaults_of_intervals_follow_each_other(start: Start) -> None:
    settings = start("", interval="10s", unhealthy_interval="20s").checker.settings
    assert (settings.unhealthy_edge_interval, settings.healthy_edge_interval) == (20_000, 10_000)
    assert settings.no_traffic_healthy_interval == settings.no_traffic_interval == 100_000


def test_a_bad_answer_fails_at_once_and_a_broken_connection_after_the_threshold(start: Start) -> None:
    scene = start("ok bad")
    scene.dispatcher.advance(100)
    assert scene.flags() == "/failed_active_hc"
    assert scene.journal()[-1] == "10.0.0.1:80 failed_active_hc because ACTIVE 503"


@pytest.mark.parametrize("word", ["broken", "retry"])
def test_what_may_pass_counts_up_to_the_threshold(start: Start, word: str) -> None:
    scene = start(f"ok {word} {word} ok {word} {word} {word}")
    scene.dispatcher.advance(500)
    assert scene.flags() == "healthy"
    scene.dispatcher.advance(100)
    assert scene.flags() == "/failed_active_hc"


def test_a_timeout_is_a_flag_until_something_else_happens(start: Start) -> None:
    scene = start("silent silent bad silent ok ok", unhealthy_threshold=1)
    scene.dispatcher.advance(1.01)
    assert scene.flags() == "/failed_active_hc/active_hc_timeout"
    scene.dispatcher.advance(202.1)
    assert scene.flags() == "/failed_active_hc"
    scene.dispatcher.advance(101)
    assert scene.flags() == "/failed_active_hc/active_hc_timeout"
    scene.dispatcher.advance(202)
    assert scene.flags() == "healthy"


def test_counters_tell_failures_apart(start: Start) -> None:
    scene = start("ok broken bad silent", unhealthy_threshold=5)
    scene.dispatcher.advance(301.5)
    stats = scene.checker.stats
    assert (stats.attempt, stats.success, stats.failure, stats.network_failure) == (4, 1, 3, 2)
    assert (stats.healthy, stats.passive_failure) == (0, 0)


def test_degraded_hosts_are_counted_and_come_back(start: Start) -> None:
    scene = start("degraded ok")
    assert (scene.flags(), scene.cluster.stats.endpoint.membership_degraded) == ("/degraded_active_hc", 1)
    scene.dispatcher.advance(100)
    assert (scene.flags(), scene.cluster.stats.endpoint.membership_degraded) == ("healthy", 0)


def test_a_pending_host_is_excluded_until_its_first_check(start: Start) -> None:
    scene = start("", cluster={"common_lb_config": {"ignore_new_hosts_until_first_hc": True}})
    assert scene.flags() == "/failed_active_hc/pending_active_hc"
    assert scene.cluster.stats.endpoint.membership_excluded == 1
    scene.dispatcher.advance(1.01)
    assert scene.cluster.stats.endpoint.membership_excluded == 0


def test_an_answer_to_a_request_fails_the_host_in_the_next_turn(start: Start, loop: Any) -> None:
    scene = start("ok")
    scene.cluster.health.on_immediate_failure(scene.host)
    assert scene.flags() == "/excluded_via_immediate_hc_fail"
    loop.turn()
    assert scene.flags() == "/failed_active_hc/excluded_via_immediate_hc_fail"
    assert scene.checker.stats.passive_failure == 1
    assert scene.cluster.stats.endpoint.membership_excluded == 1


def test_an_answer_that_comes_after_the_cluster_has_gone_means_nothing(start: Start, loop: Any) -> None:
    scene = start("ok")
    host = scene.host
    scene.cluster.health.on_immediate_failure(host)
    scene.cluster.stop()
    loop.turn()
    assert not host.health_flags & HealthFlag.FAILED_ACTIVE_HC


def test_nothing_is_left_of_a_cluster_that_stops(start: Start) -> None:
    scene = start("ok silent")
    scene.dispatcher.advance(100)
    scene.cluster.stop()
    assert scene.checker.sessions == {}
    assert scene.checker.closed == 1
    assert scene.checker.stats.healthy == 0
    assert scene.dispatcher.next_deadline() is None


def test_a_host_that_leaves_before_its_first_check_does_not_hold_the_cluster_up(start: Start) -> None:
    scene = start("")
    scene.cluster.priority_set.update_hosts(scene.cluster.load_assignment.host_set(0, ()))
    assert scene.ready == 1
    assert scene.checker.sessions == {}


def test_a_host_that_comes_later_is_checked(start: Start) -> None:
    scene = start("ok ok")
    late = Host(scene.host.address, health_flags=scene.cluster.initial_health_flags)
    scene.cluster.priority_set.update_hosts(scene.cluster.load_assignment.host_set(0, (scene.host, late)))
    assert not late.health_flags
    assert scene.ready == 1


def test_a_host_with_checks_disabled_is_healthy_and_not_asked(
    context: ClusterContext, cluster_config: Callable[..., Any]
) -> None:
    endpoint = {
        "address": {"socket_address": {"address": "1.2.3.4", "port_value": 80}},
        "health_check_config": {"disable_active_health_check": True, "hostname": "h", "port_value": 81},
    }
    config = cluster_config("a", [{"endpoint": endpoint}], health_checks=[check()])
    assert isinstance(context.dispatcher, SimulatedDispatcher)
    scene = Scene(create_cluster(config, context), context.dispatcher, "bad")
    assert (scene.flags(), scene.ready, scene.checker.asked) == ("healthy", 1, [])
    assert (scene.host.health_check_hostname, scene.host.health_check_address.text) == ("h", "1.2.3.4:81")


def test_jitter_is_drawn_again_for_each_check(start: Start) -> None:
    scene = start("ok " * 60, no_traffic_interval="10s", interval_jitter="2s", interval_jitter_percent=10)
    scene.dispatcher.advance(400)
    gaps = scene.gaps()
    assert len(set(gaps)) > 10
    assert all(10 <= gap < 13.02 for gap in gaps)


def test_the_first_check_may_wait_for_a_jitter(start: Start) -> None:
    scene = start("ok " * 50, endpoints=50, initial_jitter="10s")
    assert scene.checker.asked == []
    scene.dispatcher.advance(10.02)
    times = [time for time, _ in scene.checker.asked]
    assert len(times) == 50
    assert min(times) < 1 < 9 < max(times)


@pytest.mark.parametrize(("key", "gap"), [("health_check.min_interval", 200.0), ("health_check.max_interval", 0.2)])
def test_runtime_bounds_intervals(start: Start, key: str, gap: float) -> None:
    scene = start("ok ok ok")
    runtime = Loader()
    runtime.snapshot = Snapshot((Layer("a", {key: entry_of_text(str(int(gap * 1000)))}),))
    scene.checker.runtime = runtime
    scene.dispatcher.advance(1000)
    assert scene.gaps()[1] == gap


def test_a_large_cluster_is_asked_a_batch_a_turn(start: Start, loop: Any) -> None:
    scene = start("ok " * 1000, endpoints=3 * BATCH + 1)
    asked = [len(scene.checker.asked)]
    while loop.posted:
        loop.turn()
        asked.append(len(scene.checker.asked))
    assert asked[:4] == [BATCH, 2 * BATCH, 3 * BATCH, 3 * BATCH + 1]
    assert scene.ready == 1


def test_many_hosts_are_counted_together(start: Start, loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = start("ok " * 1000, endpoints=300)
    updates = []
    scene.cluster.priority_set.add_member_update_callback(lambda *_: updates.append(1))
    while loop.posted:
        loop.turn()
    assert scene.ready == 1
    assert len(updates) < 10
    assert scene.cluster.stats.endpoint.membership_healthy == 300


def test_events_are_lines_of_json(
    context: ClusterContext, cluster_config: Callable[..., Any], tmp_path: Any, store: Store
) -> None:
    from dataclasses import replace

    path = tmp_path / "events"
    logs = AccessLogManager(context.dispatcher, store.scope(""))
    config = cluster_config(
        "a",
        [
            {
                "endpoint": {"address": {"socket_address": {"address": "1.2.3.4", "port_value": 80}}},
                "metadata": {"filter_metadata": {"f": {"k": "é"}}},
            }
        ],
        health_checks=[check(event_log_path=str(path), always_log_health_check_success=True)],
    )
    assert isinstance(context.dispatcher, SimulatedDispatcher)
    scene = Scene(create_cluster(config, replace(context, access_logs=logs)), context.dispatcher, "degraded ok bad")
    scene.dispatcher.advance(250)
    logs.close()
    events = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [next(key for key in event if "event" in key or "degraded" in key) for event in events] == [
        "add_healthy_event",
        "degraded_healthy_host",
        "successful_health_check_event",
        "no_longer_degraded_host",
        "eject_unhealthy_event",
    ]
    assert list(events[0]) == [
        *("health_checker_type", "host", "cluster_name", "add_healthy_event", "timestamp", "metadata", "locality"),
    ]
    assert list(events[2])[-1] == "successful_health_check_event"
    assert events[0]["metadata"]["filter_metadata"] == {"f": {"k": "é"}}
    assert events[4]["eject_unhealthy_event"] == {"failure_type": "ACTIVE", "http_status_code": 503}


def test_the_batch_is_smaller_than_what_counts_as_many() -> None:
    from minienvoy.upstream.cluster_health import MANY_HOSTS

    assert health_checker.BATCH < MANY_HOSTS
