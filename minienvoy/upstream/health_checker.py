"""Asks hosts whether they are well.

Envoy: `Upstream::HealthCheckerImplBase`, `ActiveHealthCheckSession`
(`source/extensions/health_checkers/common/health_checker_base_impl.cc`); docs "Health checking".

A *session* is one host under checks. It asks (`check`), and within the timeout one of `handle_success` and
`handle_failure` is called; then the next question waits for an interval that depends on how the host is and on whether
the cluster has had traffic at all:

    a host is new          FAILED_ACTIVE_HC; the first success makes it healthy at once
    healthy, fails         a bad answer makes it unhealthy at once; a broken connection, a timeout or a retriable
                           answer only after `unhealthy_threshold` of them in a row
    unhealthy, succeeds    healthy after `healthy_threshold` successes in a row

How a question is asked is a subclass: `extensions/health_checkers/`. An answer to a request may fail a host as well
(`set_unhealthy`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..config.api import type_of, unpack
from ..config.fields import honours
from ..errors import ConfigError
from ..record import record, replace
from ..registry import Registry
from ..stats.store import CounterValue, GaugeValue, StatsStruct
from .duration import duration_of
from .health_check_event_logger import HealthCheckEventLogger, create_event_logger
from .host import HealthFlag, Host, HostSet

if TYPE_CHECKING:
    from ..access_log.file import AccessLogManager
    from ..config.runtime import Loader
    from ..event.dispatcher import Dispatcher
    from ..event.random import RandomStream
    from ..explain.journal import Journal
    from .cluster import Cluster

honours(
    "envoy.config.core.v3.HealthCheck",
    "always_log_health_check_failures",
    "always_log_health_check_success",
    "custom_health_check",
    "event_log_path",
    "event_logger",
    "healthy_edge_interval",
    "healthy_threshold",
    "http_health_check",
    "initial_jitter",
    "interval",
    "interval_jitter",
    "interval_jitter_percent",
    "name",
    "no_traffic_healthy_interval",
    "no_traffic_interval",
    "reuse_connection",
    "tcp_health_check",
    "timeout",
    "unhealthy_edge_interval",
    "unhealthy_interval",
    "unhealthy_threshold",
    when={"grpc_health_check": lambda check: "gRPC needs HTTP/2, which does not exist here yet"},
    ignored={
        "alt_port": "Envoy does not use it either",
    },
)
honours("envoy.config.core.v3.HealthCheck.CustomHealthCheck", "name", "typed_config")
honours(
    "envoy.config.core.v3.HealthCheck.HttpHealthCheck",
    "expected_statuses",
    "host",
    "method",
    "path",
    "receive",
    "request_headers_to_add",
    "request_headers_to_remove",
    "response_buffer_size",
    "retriable_statuses",
    "send",
    "service_name_matcher",
    values={"codec_client_type": ("HTTP1",)},
)
honours("envoy.type.v3.Int64Range", "start", "end")
honours("envoy.config.core.v3.HealthCheck.TcpHealthCheck", "receive", "send")
honours("envoy.config.core.v3.HealthCheck.Payload", "text", "binary")

BATCH: Final = 64
"""How many hosts of a large cluster are asked in one turn of the event loop: requests must not wait for 10,000."""


class FailureType(Enum):
    """`envoy.data.core.v3.HealthCheckFailureType`."""

    ACTIVE = 0
    """A bad answer."""
    PASSIVE = 1
    """An answer to a request said so."""
    NETWORK = 2
    NETWORK_TIMEOUT = 3


class HealthTransition(Enum):
    UNCHANGED = 0
    CHANGED = 1
    CHANGE_PENDING = 2
    """It will change if the next checks end like this one."""


class HealthCheckerStats(StatsStruct):
    """`cluster.NAME.health_check.*`."""

    USED_WITH = {"degraded": "", "healthy": ""}

    attempt: CounterValue
    degraded: GaugeValue
    failure: CounterValue
    healthy: GaugeValue
    network_failure: CounterValue
    passive_failure: CounterValue
    success: CounterValue
    verify_cluster: CounterValue


@record
class HealthCheckSettings:
    """What is common to every kind of check. Times are whole milliseconds, as in Envoy, whose jitter divides them."""

    timeout: int
    interval: int
    unhealthy_threshold: int = 1
    healthy_threshold: int = 1
    reuse_connection: bool = True
    no_traffic_interval: int = 60_000
    no_traffic_healthy_interval: int = 60_000
    unhealthy_interval: int = 0
    unhealthy_edge_interval: int = 0
    healthy_edge_interval: int = 0
    initial_jitter: int = 0
    interval_jitter: int = 0
    interval_jitter_percent: int = 0
    always_log_failures: bool = False
    always_log_success: bool = False

    @classmethod
    def from_proto(cls, config: Any) -> HealthCheckSettings:
        """From `envoy.config.core.v3.HealthCheck`."""

        def milliseconds(field: str, default: int) -> int:
            return int(duration_of(config, field, default / 1000) * 1000 + 1e-6)

        interval = milliseconds("interval", 0)
        no_traffic_interval = milliseconds("no_traffic_interval", 60_000)
        unhealthy_interval = milliseconds("unhealthy_interval", interval)
        return cls(
            timeout=milliseconds("timeout", 0),
            interval=interval,
            unhealthy_threshold=config.unhealthy_threshold.value,
            healthy_threshold=config.healthy_threshold.value,
            reuse_connection=config.reuse_connection.value if config.HasField("reuse_connection") else True,
            no_traffic_interval=no_traffic_interval,
            no_traffic_healthy_interval=milliseconds("no_traffic_healthy_interval", no_traffic_interval),
            unhealthy_interval=unhealthy_interval,
            unhealthy_edge_interval=milliseconds("unhealthy_edge_interval", unhealthy_interval),
            healthy_edge_interval=milliseconds("healthy_edge_interval", interval),
            initial_jitter=milliseconds("initial_jitter", 0),
            interval_jitter=milliseconds("interval_jitter", 0),
            interval_jitter_percent=config.interval_jitter_percent,
            always_log_failures=config.always_log_health_check_failures,
            always_log_success=config.always_log_health_check_success,
        )


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


class CheckedHost(Protocol):
    """As much of a host as a session writes: the host itself, unless several checkers share it (`HostHealth`)."""

    health_flags: int


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


class ActiveHealthCheckSession:
    """One host under checks. Subclasses override `check`, `on_timeout` and `close`."""

    def __init__(self, checker: HealthChecker, host: Host) -> None:
        self.host = host
        self.stopped = False
        self._checker = checker
        self._state = state = checker.view_of(checker, host)
        self._first_check = True
        self._healthy_in_a_row = 0
        self._unhealthy_in_a_row = 0
        self._interval_timer = checker.dispatcher.create_timer(self._on_interval)
        self._timeout_timer = checker.dispatcher.create_timer(self._on_timeout)
        if not state.health_flags & HealthFlag.FAILED_ACTIVE_HC:
            checker.stats.healthy += 1
        if state.health_flags & HealthFlag.DEGRADED_ACTIVE_HC:
            checker.stats.degraded += 1

    # -- for subclasses

    def check(self) -> None:
        """Ask the host."""
        raise NotImplementedError

    def on_timeout(self) -> None:
        """It has not answered: give the question up."""

    def close(self) -> None:
        """Let go of the connection, without telling anything."""

    def handle_success(self, degraded: bool) -> None:
        checker, host, state = self._checker, self.host, self._state
        logger = checker.event_logger
        self._unhealthy_in_a_row = 0
        change = HealthTransition.UNCHANGED
        if state.health_flags & HealthFlag.FAILED_ACTIVE_HC:
            self._healthy_in_a_row += 1
            # The first answer that ever came is believed at once, which makes starting faster.
            if self._first_check or self._healthy_in_a_row == checker.settings.healthy_threshold:
                state.health_flags &= ~(
                    HealthFlag.FAILED_ACTIVE_HC
                    | HealthFlag.ACTIVE_HC_TIMEOUT
                    | HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL
                )
                checker.stats.healthy += 1
                change = HealthTransition.CHANGED
                first = "first check" if self._first_check else f"{self._healthy_in_a_row} successes in a row"
                checker.note(host, "healthy", first)
                if logger is not None:
                    logger.add_healthy(checker.checker_type, host, self._first_check)
            else:
                change = HealthTransition.CHANGE_PENDING
        if change is not HealthTransition.CHANGED and checker.settings.always_log_success and logger is not None:
            logger.successful(checker.checker_type, host)
        change = self._end_pending(change)
        if degraded != bool(state.health_flags & HealthFlag.DEGRADED_ACTIVE_HC):
            self._set_degraded(degraded)
            if change is HealthTransition.UNCHANGED:
                change = HealthTransition.CHANGED
        checker.stats.success += 1
        self._first_check = False
        checker.completed(host, change, True)
        if not self.stopped:
            self._timeout_timer.disable()
            self._interval_timer.enable(checker.next_interval(True, change))

    def handle_failure(self, kind: FailureType, retriable: bool = False, status: int = 0) -> None:
        """`status` is that of the answer, if there was one."""
        change = self.set_unhealthy(kind, retriable, status)
        if not self.stopped:  # the host may have left the cluster because of this
            self._timeout_timer.disable()
            self._interval_timer.enable(self._checker.next_interval(False, change))

    # -- from the checker

    def start(self) -> None:
        """The first check, or a while until it."""
        jitter = self._checker.settings.initial_jitter
        if jitter:
            self._interval_timer.enable(self._checker.with_jitter(0, jitter))
        else:
            self._on_interval()

    def begin(self) -> None:
        checker = self._checker
        self.check()
        if not self.stopped and not self._interval_timer.enabled:  # it may be answered already
            self._timeout_timer.enable(checker.settings.timeout / 1000)
        checker.stats.attempt += 1

    def stop(self) -> None:
        self.stopped = True
        self._interval_timer.disable()
        self._timeout_timer.disable()
        checker, host, state = self._checker, self.host, self._state
        healthy = not state.health_flags & HealthFlag.FAILED_ACTIVE_HC
        if healthy:
            checker.stats.healthy -= 1
        if state.health_flags & HealthFlag.DEGRADED_ACTIVE_HC:
            checker.stats.degraded -= 1
        self.close()
        if self._first_check:
            checker.completed(host, HealthTransition.UNCHANGED, healthy)

    def set_unhealthy(self, kind: FailureType, retriable: bool, status: int) -> HealthTransition:
        checker, host, state = self._checker, self.host, self._state
        logger = checker.event_logger
        network = kind in (FailureType.NETWORK, FailureType.NETWORK_TIMEOUT)
        self._healthy_in_a_row = 0
        change = HealthTransition.UNCHANGED
        if not state.health_flags & HealthFlag.FAILED_ACTIVE_HC:
            counts = network or retriable
            if counts:
                self._unhealthy_in_a_row += 1
            if not counts or self._unhealthy_in_a_row == checker.settings.unhealthy_threshold:
                state.health_flags |= HealthFlag.FAILED_ACTIVE_HC
                checker.stats.healthy -= 1
                change = HealthTransition.CHANGED
                checker.note(host, "failed_active_hc", f"{kind.name}{f' {status}' if status else ''}")
                if logger is not None:
                    logger.eject_unhealthy(checker.checker_type, host, kind.name, status)
            else:
                change = HealthTransition.CHANGE_PENDING
        if kind is FailureType.NETWORK_TIMEOUT and state.health_flags & HealthFlag.FAILED_ACTIVE_HC:
            state.health_flags |= HealthFlag.ACTIVE_HC_TIMEOUT
        else:
            state.health_flags &= ~HealthFlag.ACTIVE_HC_TIMEOUT
        change = self._end_pending(change)
        if (self._first_check or checker.settings.always_log_failures) and logger is not None:
            logger.unhealthy(checker.checker_type, host, kind.name, self._first_check, status)
        stats = checker.stats
        stats.failure += 1
        if network:
            stats.network_failure += 1
        elif kind is FailureType.PASSIVE:
            stats.passive_failure += 1
        self._first_check = False
        checker.completed(host, change, False)
        return change

    # -- inside

    def _set_degraded(self, degraded: bool) -> None:
        checker, host, state = self._checker, self.host, self._state
        logger = checker.event_logger
        if degraded:
            state.health_flags |= HealthFlag.DEGRADED_ACTIVE_HC
            checker.stats.degraded += 1
            checker.note(host, "degraded", "x-envoy-degraded")
            if logger is not None:
                logger.degraded(checker.checker_type, host)
        else:
            # Envoy leaves the gauge `degraded` as it is here.
            state.health_flags &= ~HealthFlag.DEGRADED_ACTIVE_HC
            checker.note(host, "no longer degraded", "no x-envoy-degraded")
            if logger is not None:
                logger.no_longer_degraded(checker.checker_type, host)

    def _end_pending(self, change: HealthTransition) -> HealthTransition:
        if self._state.health_flags & HealthFlag.PENDING_ACTIVE_HC:
            # Whatever came of the check, the host counts from now on.
            self._state.health_flags &= ~HealthFlag.PENDING_ACTIVE_HC
            return HealthTransition.CHANGED
        return change

    def _on_interval(self) -> None:
        self._checker.on_due(self)

    def _on_timeout(self) -> None:
        self.on_timeout()
        self.handle_failure(FailureType.NETWORK_TIMEOUT)


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
