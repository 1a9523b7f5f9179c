"""Asks hosts whether they are well.

Envoy: `Upstream::HealthCheckerImplBase`, `ActiveHealthCheckSession`
(`source/extensions/health_checkers/common/health_checker_base_impl.cc`); docs "Health checking".

A checker has a session (`health_check_session.py`) for each host, and decides when it asks. How it asks is a subclass
of both: `extensions/health_checkers/`. An answer to a request may fail a host as well (`set_unhealthy`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..config.api import type_of, unpack
from ..errors import ConfigError
from ..record import record, replace
from ..registry import Registry
from .health_check_config import HealthCheckerStats, HealthCheckSettings
from .health_check_event_logger import HealthCheckEventLogger, create_event_logger
from .health_check_session import ActiveHealthCheckSession, CheckedHost
from .health_transition import FailureType, HealthTransition
from .host import HealthFlag, Host, HostSet

if TYPE_CHECKING:
    from ..access_log.file import AccessLogManager
    from ..config.runtime import Loader
    from ..event.dispatcher import Dispatcher
    from ..event.random import RandomStream
    from ..explain.journal import Journal
    from .cluster import Cluster

BATCH: Final = 64
"""How many hosts of a large cluster are asked in one turn of the event loop: requests must not wait for 10,000."""


@record
class HealthCheckerContext:
    """What a factory of health checkers may ask for (`HealthCheckerFactoryContext`).

    Attributes:
        random: the sequence `cluster.<name>.health_check`.
        path: of the `HealthCheck` in the configuration, for errors.
        stat_suffix: `.name.NAME` if it has a name.
    """

    cluster: Cluster
    dispatcher: Dispatcher
    random: RandomStream
    runtime: Loader | None = None
    event_logger: HealthCheckEventLogger | None = None
    journal: Journal | None = None
    path: str = ""
    stat_suffix: str = ""


def _the_host_itself(checker: HealthChecker, host: Host) -> CheckedHost:
    return host


HostCheckComplete = Callable[[Host, HealthTransition, bool], None]
"""(the host, what changed, whether this check has succeeded)"""


class HealthChecker:
    """Checks every host of a cluster; subclasses make the sessions.

    Attributes:
        checker_type: `envoy.data.core.v3.HealthCheckerType`.
    """

    checker_type = ""

    def __init__(self, settings: HealthCheckSettings, context: HealthCheckerContext) -> None:
        self.settings = settings
        self.cluster = context.cluster
        self.dispatcher = context.dispatcher
        self.runtime = context.runtime
        self.event_logger = context.event_logger
        self.journal = context.journal
        scope = context.cluster.stats.scope
        self.stats = scope.scope(f"health_check{context.stat_suffix}").struct(HealthCheckerStats)
        self.sessions: dict[Host, ActiveHealthCheckSession] = {}
        self.view_of: Callable[[HealthChecker, Host], CheckedHost] = _the_host_itself
        """Where a session keeps what it finds."""
        self.started = False
        self._random = context.random
        self._callbacks: list[HostCheckComplete] = []
        self._budget = BATCH
        self._due: deque[ActiveHealthCheckSession] = deque()
        context.cluster.priority_set.add_member_update_callback(self._on_member_update)

    def new_session(self, host: Host) -> ActiveHealthCheckSession:
        raise NotImplementedError

    def add_host_check_complete_callback(self, callback: HostCheckComplete) -> None:
        """Called after every check, and once for a host that goes away before its first."""
        self._callbacks.append(callback)

    def start(self) -> None:
        """Begin with the hosts that there are; those that come later are checked from then on."""
        self.started = True
        self._add_hosts(tuple(self.cluster.priority_set.hosts()))

    def stop(self) -> None:
        """End every session and its connection; nothing is told any more."""
        self._callbacks.clear()
        self._due.clear()
        for session in tuple(self.sessions.values()):
            session.stop()
        self.sessions.clear()

    def set_unhealthy(self, host: Host) -> None:
        """An answer to a request said `x-envoy-immediate-health-check-fail`."""
        if host in self.sessions:
            host.health_flags |= HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL
            # Not from inside the response: it closes connections.
            self.dispatcher.post(lambda: self._fail_passively(host))

    # -- for sessions

    def next_interval(self, succeeded: bool, change: HealthTransition) -> float:
        """Seconds until the next check (`HealthCheckerImplBase::interval`)."""
        settings, traffic = self.settings, self.cluster.stats.traffic
        pending = change is HealthTransition.CHANGE_PENDING
        if traffic.upstream_cx_total or traffic.upstream_cx_tx_bytes_total or traffic.upstream_cx_rx_bytes_total:
            if succeeded:
                base = settings.healthy_edge_interval if pending else settings.interval
            else:
                base = settings.unhealthy_edge_interval if pending else settings.unhealthy_interval
        elif succeeded and not pending:
            base = settings.no_traffic_healthy_interval
        else:
            base = settings.no_traffic_interval
        return self.with_jitter(base, settings.interval_jitter)

    def with_jitter(self, base: int, jitter: int) -> float:
        """Seconds; milliseconds go in."""
        part = self.settings.interval_jitter_percent * base // 100
        for most in (part, jitter):
            if most > 0:
                base += self._random.getrandbits(64) % most
        if self.runtime is not None:
            snapshot = self.runtime.snapshot
            base = min(base, snapshot.get_integer("health_check.max_interval", base))
            base = max(base, snapshot.get_integer("health_check.min_interval", 0))
        return max(1, base) / 1000

    def on_due(self, session: ActiveHealthCheckSession) -> None:
        """It is time for a check: now, or in a turn of the event loop that has room for it."""
        if len(self.sessions) > BATCH:
            if self._budget == BATCH:
                self.dispatcher.post(self._refill)
            if not self._budget:
                self._due.append(session)
                return
            self._budget -= 1
        session.begin()

    def completed(self, host: Host, change: HealthTransition, succeeded: bool) -> None:
        for callback in tuple(self._callbacks):
            callback(host, change, succeeded)

    def note(self, host: Host, what: str, because: str) -> None:
        """Write a transition into the journal."""
        if self.journal is not None:
            now = self.dispatcher.monotonic_time()
            self.journal.record(now, self.cluster.name, "health", f"{host} {what}", because)

    # -- inside

    def _add_hosts(self, hosts: tuple[Host, ...]) -> None:
        new = []
        for host in hosts:
            if not host.disable_active_health_check and host not in self.sessions:
                self.sessions[host] = session = self.new_session(host)
                new.append(session)
        for session in new:
            session.start()

    def _on_member_update(self, host_set: HostSet, added: tuple[Host, ...], removed: tuple[Host, ...]) -> None:
        if not self.started:
            return
        self._add_hosts(added)
        for host in removed:
            session = self.sessions.pop(host, None)
            if session is not None:
                session.stop()

    def _fail_passively(self, host: Host) -> None:
        session = self.sessions.get(host)
        if session is not None:
            session.set_unhealthy(FailureType.PASSIVE, False, 0)

    def _refill(self) -> None:
        self._budget = BATCH
        for _ in range(min(BATCH, len(self._due))):
            session = self._due.popleft()
            if not session.stopped:
                self.on_due(session)


class HealthCheckerFactory(Protocol):
    def __call__(self, config: Any, settings: HealthCheckSettings, context: HealthCheckerContext) -> HealthChecker:
        """`config` is the whole `envoy.config.core.v3.HealthCheck`."""


HEALTH_CHECKERS: Registry[HealthCheckerFactory] = Registry("envoy.health_checkers")
"""The checks of Envoy's core by their names, `envoy.health_checkers.http` and so on, others by their configuration."""

_CORE: Final = {
    "http_health_check": "envoy.health_checkers.http",
    "tcp_health_check": "envoy.health_checkers.tcp",
    "grpc_health_check": "envoy.health_checkers.grpc",
}


def create_health_checkers(
    configs: Any, context: HealthCheckerContext, access_logs: AccessLogManager | None
) -> tuple[HealthChecker, ...]:
    """From `Cluster.health_checks`; `context.path` is that of the field.

    Raises:
        ConfigError: one can not be used, or several can not be told apart.
    """
    names: set[str] = set()
    for index, config in enumerate(configs):
        if len(configs) > 1 and not config.name:
            raise ConfigError(
                f"health check at index {index} is missing a name; all health checks must have a name when multiple "
                "health checks are configured",
                f"{context.path}[{index}].name",
            )
        if config.name and config.name in names:
            raise ConfigError(
                f"duplicate health check name '{config.name}' at index {index}; all health check names must be unique "
                "within a cluster",
                f"{context.path}[{index}].name",
            )
        names.add(config.name)
    return tuple(
        _create_health_checker(config, replace(context, path=f"{context.path}[{index}]"), access_logs)
        for index, config in enumerate(configs)
    )


def _create_health_checker(
    config: Any, context: HealthCheckerContext, access_logs: AccessLogManager | None
) -> HealthChecker:
    path = context.path
    logger = create_event_logger(config, context.cluster.name, context.dispatcher, access_logs, path)
    suffix = f".name.{config.name}" if config.name else ""
    context = replace(context, event_logger=logger, stat_suffix=suffix)
    settings = HealthCheckSettings.from_proto(config)
    kind = config.WhichOneof("health_checker")
    if kind == "custom_health_check":
        custom, where = config.custom_health_check, f"{path}.custom_health_check.typed_config"
        entry = HEALTH_CHECKERS.find(type_of(custom.typed_config, where), where, custom.name)
        unpack(custom.typed_config, where, validate=True)
    else:
        entry = HEALTH_CHECKERS.find(_CORE[kind], f"{path}.{kind}")
    return entry.factory(config, settings, context)
