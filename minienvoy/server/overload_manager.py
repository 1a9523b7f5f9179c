"""Gives something up before everything is lost: when a resource runs short, actions become active.

Envoy: `Server::OverloadManagerImpl`, `OverloadAction`, `LoadShedPointImpl`; docs "Overload manager". Each
`refresh_interval` the monitors tell the pressure on their resources; a trigger is active above its threshold, or the
more the nearer a scale is to its end; an action is as active as the most active of its triggers. Whoever acts on it
reads `network.overload_state`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from .. import logger
from ..config.api import unpack
from ..config.extension import create_extension, find_extension
from ..config.fields import honours
from ..errors import ConfigError
from ..network.overload_state import (
    CONNECTION_IDLE,
    CONNECTION_MAX,
    DISABLE_HTTP_KEEPALIVE,
    LOAD_SHED_POINTS,
    REDUCE_TIMEOUTS,
    REJECT_INCOMING_CONNECTIONS,
    STOP_ACCEPTING_CONNECTIONS,
    STOP_ACCEPTING_REQUESTS,
    STREAM_FLUSH,
    STREAM_IDLE,
    OverloadState,
    ScaledMinimum,
)
from ..stats.store import CounterValue, GaugeValue, StatsStruct
from .resource_monitor import RESOURCE_MONITORS, ResourceMonitor, ResourceUnavailable
from .server_stats import OverloadManagerStats

if TYPE_CHECKING:
    from .factory_context import ServerContext

log = logger.get("main")

REFRESH_INTERVAL: Final = 1.0
SHRINK_HEAP: Final = "envoy.overload_actions.shrink_heap"
RESET_STREAMS: Final = "envoy.overload_actions.reset_high_memory_stream"
CLOSE_IDLE: Final = "envoy.overload_actions.close_idle_http_connections"
TIMERS: Final = (CONNECTION_IDLE, STREAM_IDLE, CONNECTION_MAX, STREAM_FLUSH, "TRANSPORT_SOCKET_CONNECT")
"""Those that can be made shorter; a connection without TLS never waits for its transport socket."""
ACTIONS: Final = (
    STOP_ACCEPTING_REQUESTS,
    DISABLE_HTTP_KEEPALIVE,
    STOP_ACCEPTING_CONNECTIONS,
    REJECT_INCOMING_CONNECTIONS,
    SHRINK_HEAP,
    REDUCE_TIMEOUTS,
    RESET_STREAMS,
    CLOSE_IDLE,
)
"""What Envoy knows."""

honours(
    "envoy.config.overload.v3.OverloadManager",
    "refresh_interval",
    "resource_monitors",
    "actions",
    "loadshed_points",
    ignored={"buffer_factory_config": "Python's memory is not accounted for by streams"},
)
honours("envoy.config.overload.v3.ResourceMonitor", "name", "typed_config")
honours("envoy.config.overload.v3.OverloadAction", "name", "triggers", whole=("typed_config",))
honours("envoy.config.overload.v3.Trigger", "name", "threshold", "scaled")
honours("envoy.config.overload.v3.ThresholdTrigger", "value")
honours("envoy.config.overload.v3.ScaledTrigger", "scaling_threshold", "saturation_threshold")
honours(
    "envoy.config.overload.v3.LoadShedPoint",
    "triggers",
    values={"name": LOAD_SHED_POINTS},
)


class ResourceStats(StatsStruct):
    """`overload.<resource>.`"""

    failed_updates: CounterValue
    skipped_updates: CounterValue
    pressure: GaugeValue


class ActionStats(StatsStruct):
    """`overload.<action>.`"""

    active: GaugeValue
    scale_percent: GaugeValue


class LoadShedPointStats(StatsStruct):
    """`overload.<load shed point>.`"""

    shed_load_count: CounterValue
    scale_percent: GaugeValue


class Resource:
    """What a monitor watches; `pressure` is the last that it told."""

    __slots__ = ("monitor", "name", "pressure", "stats")

    def __init__(self, name: str, monitor: ResourceMonitor, stats: ResourceStats) -> None:
        self.name = name
        self.monitor = monitor
        self.stats = stats
        self.pressure = 0.0

    def update(self) -> None:
        try:
            self.pressure = self.monitor.pressure()
        except ResourceUnavailable as problem:
            self.stats.failed_updates += 1
            log.debug(f"failed to update resource {self.name}: {problem}")
        else:
            self.stats.pressure = int(self.pressure * 100)


Trigger = Callable[[], float]
"""How active it is, from 0 to 1."""


class Action:
    """An overload action or a load shed point."""

    __slots__ = ("name", "stats", "triggers", "value")

    def __init__(self, name: str, triggers: tuple[Trigger, ...], stats: ActionStats | LoadShedPointStats) -> None:
        self.name = name
        self.triggers = triggers
        self.stats = stats
        self.value = 0.0

    def update(self) -> bool:
        """Whether it is more or less active than before."""
        value = max(trigger() for trigger in self.triggers)
        if value == self.value:
            return False
        self.value = value
        if isinstance(self.stats, ActionStats):
            self.stats.active = int(value >= 1.0)
        self.stats.scale_percent = int(value * 100)
        return True


class OverloadManager:
    """Attributes:
    state: what listeners and connection managers read.
    """

    def __init__(self, proto: Any, server: ServerContext, path: str = "overload_manager") -> None:
        """Raises ConfigError below `path`."""
        self._dispatcher = server.dispatcher
        self._interval = REFRESH_INTERVAL
        if proto.HasField("refresh_interval"):
            self._interval = proto.refresh_interval.seconds + proto.refresh_interval.nanos / 1e9
        self._scope = server.stats.scope("overload")
        self._stats = self._scope.struct(OverloadManagerStats)
        self._resources: dict[str, Resource] = {}
        for at, each in enumerate(proto.resource_monitors):
            self._add_resource(each, f"{path}.resource_monitors[{at}]", server)
        minimums: dict[str, ScaledMinimum] = {}
        self._actions: dict[str, Action] = {}
        for at, each in enumerate(proto.actions):
            self._add_action(each, f"{path}.actions[{at}]", minimums)
        self._points: dict[str, Action] = {}
        for at, each in enumerate(proto.loadshed_points):
            self._add_point(each, f"{path}.loadshed_points[{at}]")
        self.state = OverloadState(server.random.stream("overload").random, minimums)
        self.state.on_shed = self._count_shed
        self._timer = self._dispatcher.create_timer(self._refresh)
        self._last_refresh: float | None = None

    def start(self) -> None:
        self._timer.enable(self._interval)

    def stop(self) -> None:
        self._timer.disable()

    # -- compiling

    def _add_resource(self, proto: Any, path: str, server: ServerContext) -> None:
        name = proto.name
        if name in self._resources:
            raise ConfigError(f"Duplicate resource monitor {name}", path)
        monitor = create_extension(find_extension(RESOURCE_MONITORS, proto, path), proto, path, server)
        self._resources[name] = Resource(name, monitor, self._scope.scope(name).struct(ResourceStats))

    def _add_action(self, proto: Any, path: str, minimums: dict[str, ScaledMinimum]) -> None:
        name = proto.name
        if name not in ACTIONS:
            raise ConfigError(f"Unknown Overload Manager Action {name}", f"{path}.name")
        if name in self._actions:
            raise ConfigError(f"Duplicate overload action {name}", path)
        if name == SHRINK_HEAP:
            log.info(f"{name} has no effect: what Python does not need it gives back by itself")
        elif name == RESET_STREAMS:
            log.info(f"{name} has no effect: Python's memory is not accounted for by streams")
        elif name == CLOSE_IDLE:
            log.info(f"{name} has no effect: it concerns connections of HTTP/3")
        if name == REDUCE_TIMEOUTS:
            if not proto.HasField("typed_config"):
                raise ConfigError(f'Overload action "{name}" requires typed_config', path)
            minimums.update(_minimums(unpack(proto.typed_config, f"{path}.typed_config", validate=True), path))
        elif proto.HasField("typed_config") and name != SHRINK_HEAP:
            raise ConfigError(f'Overload action name "{name}" conflicts with its typed config', f"{path}.typed_config")
        triggers = self._triggers(proto.triggers, path, f"overload action {name}")
        self._actions[name] = Action(name, triggers, self._scope.scope(name).struct(ActionStats))

    def _add_point(self, proto: Any, path: str) -> None:
        name = proto.name
        if name in self._points:
            raise ConfigError(f"Duplicate loadshed point {name}", path)
        triggers = self._triggers(proto.triggers, path, f"loadshed point {name}")
        self._points[name] = Action(name, triggers, self._scope.scope(name).struct(LoadShedPointStats))

    def _triggers(self, protos: Any, path: str, owner: str) -> tuple[Trigger, ...]:
        made: dict[str, Trigger] = {}
        for at, each in enumerate(protos):
            here = f"{path}.triggers[{at}]"
            resource = self._resources.get(each.name)
            if resource is None:
                raise ConfigError(f"Unknown trigger resource {each.name} for {owner}", here)
            if each.name in made:
                raise ConfigError(f"Duplicate trigger resource for {owner}", here)
            if each.WhichOneof("trigger_oneof") == "threshold":
                made[each.name] = _threshold(resource, each.threshold.value)
            else:
                scaled = each.scaled
                if scaled.scaling_threshold >= scaled.saturation_threshold:
                    raise ConfigError("scaling_threshold must be less than saturation_threshold", f"{here}.scaled")
                made[each.name] = _scaled(resource, scaled.scaling_threshold, scaled.saturation_threshold)
        return tuple(made.values())

    # -- running

    def _refresh(self) -> None:
        now = self._dispatcher.monotonic_time()
        if self._last_refresh is not None:
            self._stats.refresh_interval_delay.record(int((now - self._last_refresh) * 1000))
        self._last_refresh = now
        for resource in self._resources.values():
            resource.update()
        changed = [each for each in (*self._actions.values(), *self._points.values()) if each.update()]
        for each in changed:
            log.info(f"overload: {each.name} is at {each.value * 100:.0f} %")
            self.state.values[each.name] = each.value
        if changed:
            for watcher in tuple(self.state.watchers):
                watcher()
        self._timer.enable(self._interval)

    def _count_shed(self, name: str) -> None:
        stats = self._points[name].stats
        if isinstance(stats, LoadShedPointStats):
            stats.shed_load_count += 1


def _threshold(resource: Resource, value: float) -> Trigger:
    return lambda: 1.0 if resource.pressure >= value else 0.0


def _scaled(resource: Resource, start: float, end: float) -> Trigger:
    return lambda: min(1.0, max(0.0, (resource.pressure - start) / (end - start)))


def _minimums(proto: Any, path: str) -> dict[str, ScaledMinimum]:
    made: dict[str, ScaledMinimum] = {}
    for at, each in enumerate(proto.timer_scale_factors):
        name = each.DESCRIPTOR.fields_by_name["timer"].enum_type.values_by_number[each.timer].name
        where = f"{path}.typed_config.timer_scale_factors[{at}]"
        if name in made:
            raise ConfigError(f"Found duplicate entry for timer type {name}", where)
        if name not in TIMERS:
            raise ConfigError(f"{name} is not supported, only {', '.join(TIMERS)}", f"{where}.timer")
        if each.WhichOneof("overload_adjust") == "min_timeout":
            made[name] = ScaledMinimum(each.min_timeout.seconds + each.min_timeout.nanos / 1e9)
        else:
            made[name] = ScaledMinimum(None, each.min_scale.value / 100.0)
    return made
