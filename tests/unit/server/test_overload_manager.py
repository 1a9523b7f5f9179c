"""The overload manager over simulated time; what Envoy does is in tests/conformance/scenarios/overload.yaml."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any, cast

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.config.runtime import Loader
from minienvoy.event.random import RandomGenerator
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.network.overload_state import (
    CONNECTION_IDLE,
    REDUCE_TIMEOUTS,
    STOP_ACCEPTING_REQUESTS,
    STREAM_IDLE,
    OverloadState,
    ScaledMinimum,
)
from minienvoy.server.factory_context import ServerContext
from minienvoy.server.listener import ConnectionLimit
from minienvoy.server.overload_manager import OverloadManager
from minienvoy.stats.store import Store
from tests.unit.http_bench import Turns

INJECTED = "type.googleapis.com/envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig"
HEAP = "type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig"


class Bench:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.server = ServerContext()
        self.dispatcher = SimulatedDispatcher(cast(asyncio.AbstractEventLoop, Turns()))
        self.server.dispatcher = self.dispatcher
        self.server.stats = self.store = Store()
        self.server.random = RandomGenerator(7)
        self.server.runtime = Loader()
        self.server.global_connections = ConnectionLimit(self.server.runtime)

    def manager(self, *actions: dict[str, Any], monitors: list[dict[str, Any]] | None = None) -> OverloadManager:
        monitors = monitors or [{"name": "r", "typed_config": {"@type": INJECTED, "filename": str(self.path)}}]
        fields = {"resource_monitors": monitors, "actions": list(actions)}
        manager = OverloadManager(load_dict(fields, "envoy.config.overload.v3.OverloadManager").message, self.server)
        manager.start()
        return manager

    def press(self, text: str) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)
        self.dispatcher.advance(1.0)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "pressure")


def scaled(name: str) -> dict[str, Any]:
    trigger = {"name": "r", "scaled": {"scaling_threshold": 0.8, "saturation_threshold": 0.9}}
    return {"name": name, "triggers": [trigger]}


def test_an_action_is_the_more_active_the_higher_the_pressure(bench: Bench) -> None:
    state = bench.manager(scaled(STOP_ACCEPTING_REQUESTS)).state
    values = []
    for pressure in ("0.5", "0.8", "0.85", "0.9", "1.0"):
        bench.press(pressure)
        values.append(round(state.values.get(STOP_ACCEPTING_REQUESTS, 0.0), 6))
    assert values == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert state.saturated(STOP_ACCEPTING_REQUESTS)
    assert bench.store.value("overload.r.pressure") == 100
    assert bench.store.value(f"overload.{STOP_ACCEPTING_REQUESTS}.scale_percent") == 100


def test_half_active_concerns_half_of_the_requests(bench: Bench) -> None:
    state = bench.manager(scaled(STOP_ACCEPTING_REQUESTS)).state
    bench.press("0.85")
    assert 400 < sum(state.happens(STOP_ACCEPTING_REQUESTS) for _ in range(1000)) < 600


def test_whoever_watches_is_told_of_changes_only(bench: Bench) -> None:
    state = bench.manager(scaled(STOP_ACCEPTING_REQUESTS)).state
    told: list[float] = []
    state.watchers.add(lambda: told.append(state.values[STOP_ACCEPTING_REQUESTS]))
    for pressure in ("0.5", "1.0", "1.0", "0.5"):
        bench.press(pressure)
    assert told == [1.0, 0.0]


def test_a_file_that_is_none_or_holds_no_pressure_leaves_things_as_they_are(bench: Bench) -> None:
    state = bench.manager(scaled(STOP_ACCEPTING_REQUESTS)).state
    bench.press("1.0")
    for text in ("much", "2.0", "-1", "nan", ""):
        bench.press(text)
    bench.path.unlink()
    bench.dispatcher.advance(1.0)
    assert state.saturated(STOP_ACCEPTING_REQUESTS)
    assert bench.store.value("overload.r.failed_updates") == 6


def test_a_file_that_is_written_in_place_is_not_looked_at_again(bench: Bench) -> None:
    state = bench.manager(scaled(STOP_ACCEPTING_REQUESTS)).state
    bench.press("0.1")
    bench.path.write_text("1.0")
    bench.dispatcher.advance(5.0)
    assert not state.saturated(STOP_ACCEPTING_REQUESTS)


def test_memory_is_measured(bench: Bench) -> None:
    bench.manager(monitors=[{"name": "heap", "typed_config": {"@type": HEAP, "max_heap_size_bytes": 2**40}}])
    bench.dispatcher.advance(1.0)
    assert bench.store.value("overload.heap.pressure") == 0
    bench.manager(monitors=[{"name": "small", "typed_config": {"@type": HEAP, "max_heap_size_bytes": 1000}}])
    bench.dispatcher.advance(1.0)
    assert bench.store.value("overload.small.pressure") > 100


def test_a_stopped_manager_has_no_timer(bench: Bench) -> None:
    bench.manager(scaled(STOP_ACCEPTING_REQUESTS)).stop()
    assert bench.dispatcher.next_deadline() is None


def test_timeouts_get_shorter_down_to_their_minimum() -> None:
    minimums = {CONNECTION_IDLE: ScaledMinimum(2.0), STREAM_IDLE: ScaledMinimum(None, 0.1)}
    state = OverloadState(random.Random(1).random, minimums)
    found = []
    for value in (0.0, 0.5, 1.0):
        state.values[REDUCE_TIMEOUTS] = value
        found.append((state.scaled(CONNECTION_IDLE, 10.0), state.scaled(STREAM_IDLE, 10.0)))
    assert found == [(10.0, 10.0), (6.0, 5.5), (2.0, 1.0)]
    assert state.scaled(CONNECTION_IDLE, 1.0) == 1.0
    assert state.scaled(CONNECTION_IDLE, 0.0) == 0.0
    assert state.scaled("HTTP_DOWNSTREAM_CONNECTION_MAX", 7.0) == 7.0
