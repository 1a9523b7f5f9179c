"""One host under checks.

Envoy: `HealthCheckerImplBase::ActiveHealthCheckSession`.

A session asks (`check`), and within the timeout one of `handle_success` and `handle_failure` is called; then the next
question waits for an interval that depends on how the host is and on whether the cluster has had traffic at all:

    a host is new          FAILED_ACTIVE_HC; the first success makes it healthy at once
    healthy, fails         a bad answer makes it unhealthy at once; a broken connection, a timeout or a retriable
                           answer only after `unhealthy_threshold` of them in a row
    unhealthy, succeeds    healthy after `healthy_threshold` successes in a row
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .health_transition import FailureType, HealthTransition
from .host import HealthFlag, Host

if TYPE_CHECKING:
    from .health_checker import HealthChecker


class CheckedHost(Protocol):
    """As much of a host as a session writes: the host itself, unless several checkers share it (`HostHealth`)."""

    health_flags: int


class SessionClient(Protocol):
    """A connection to a host, that questions go over."""

    def ask(self) -> None:
        """Ask now, or as soon as the connection is established."""

    def close(self) -> None:
        """End the connection; the session hears nothing any more."""


class ActiveHealthCheckSession:
    """One host under checks. Subclasses make its connection (`new_client`) and say what its end means."""

    def __init__(self, checker: HealthChecker, host: Host) -> None:
        self.host = host
        self.stopped = False
        self._client: SessionClient | None = None
        """The connection, if there is one: it is kept from check to check."""
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
        if self._client is None:
            self._client = self.new_client()
        self._client.ask()

    def new_client(self) -> SessionClient:
        """A connection to the host; it may have failed already when this returns."""
        raise NotImplementedError

    def on_timeout(self) -> None:
        """The host has not answered: give the question up."""
        self.close()

    def close(self) -> None:
        """Let go of the connection, without telling anything."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def on_closed(self) -> None:
        """The connection has ended between two checks: the next one opens another."""
        self._client = None

    def on_failed(self) -> None:
        """The connection has ended, and the question with it."""
        self._client = None
        self.handle_failure(FailureType.NETWORK)

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
