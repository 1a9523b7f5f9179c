"""Circuit breakers: how much of a cluster may be in use at once.

Envoy: `Upstream::ResourceManagerImpl`; docs "Circuit breaking". A user of a resource asks `can_create`, counts it with
`current += 1` and gives it back with `current -= 1`; nothing else is done on the way of a request. The gauges are read
from the same numbers when somebody looks at them; the struct in `ClusterStats` stays zero and tells which are used.

The runtime may override every limit (`circuit_breakers.<cluster>.<priority>.max_connections` and so on): it is looked
at when it changes, not when somebody asks.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..config.fields import forbids, honours
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..config.runtime import Loader, Snapshot
    from ..stats.store import Scope

honours("envoy.config.cluster.v3.CircuitBreakers", "thresholds", "per_host_thresholds")
honours(
    "envoy.config.cluster.v3.CircuitBreakers.Thresholds",
    "max_connection_pools",
    "max_connections",
    "max_pending_requests",
    "max_requests",
    "max_retries",
    "priority",
    "retry_budget",
    "track_remaining",
)
honours(
    "envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget",
    "budget_interval",
    "budget_percent",
    "min_retry_concurrency",
)


@forbids("envoy.config.cluster.v3.CircuitBreakers")
def check_circuit_breakers(config: Any, path: str) -> None:
    """Connections are all that can be limited by host."""
    for at, thresholds in enumerate(config.per_host_thresholds):
        if any(field.name not in ("max_connections", "priority") for field, _ in thresholds.ListFields()):
            raise ConfigError("Unsupported field in per_host_thresholds", f"{path}.per_host_thresholds[{at}]")


DEFAULT, HIGH = 0, 1
"""`envoy.config.core.v3.RoutingPriority`."""
PRIORITY_NAMES = ("default", "high")
UNLIMITED = 2**64 - 1
"""What `max_connection_pools` is unless it is set."""
DEFAULT_BUDGET_PERCENT: Final = 20.0
DEFAULT_MIN_CONCURRENCY: Final = 3


class Resource:
    """A number that may go up to a limit.

    Attributes:
        touched: it has been counted in spite of a limit of zero, so that the breaker shows.
    """

    __slots__ = ("current", "max", "touched")

    def __init__(self, max: int) -> None:
        self.current = 0
        self.max = max
        self.touched = False

    @property
    def can_create(self) -> bool:
        """Whether one more is within the limit."""
        return self.current < self.max

    @property
    def open(self) -> bool:
        """Whether the breaker is open: the limit is reached, by counting."""
        return self.current >= self.max and bool(self.max or self.current or self.touched)

    @property
    def remaining(self) -> int:
        return max(0, self.max - self.current)

    def __repr__(self) -> str:
        return f"{self.current} of {self.max}"


class RecentResource(Resource):
    """One that remembers, to a hundredth of `interval` (seconds), how often it was counted within that time."""

    __slots__ = ("_buckets", "_current", "_now", "_width", "interval")

    def __init__(self, max: int, interval: float, now: Callable[[], float]) -> None:
        self._current = 0
        self._now = now
        self._buckets: deque[list[float]] = deque()
        self._width = interval / 100
        self.interval = interval
        super().__init__(max)

    @property
    def current(self) -> int:
        return self._current

    @current.setter
    def current(self, value: int) -> None:
        if value > self._current:
            now = self._now()
            self._forget(now)
            if self._buckets and now - self._buckets[-1][0] < self._width:
                self._buckets[-1][1] += value - self._current
            else:
                self._buckets.append([now, value - self._current])
        self._current = value

    @property
    def recent(self) -> int:
        """How often, as of now."""
        self._forget(self._now())
        return int(sum(count for _, count in self._buckets))

    def _forget(self, now: float) -> None:
        buckets = self._buckets
        while buckets and now - buckets[0][0] > self.interval:
            buckets.popleft()


class Retries(Resource):
    """Retries under way: up to a number, or to a part of the requests (`RetryBudgetImpl`).

    Attributes:
        budget_percent: of active and pending requests, None if there is no budget; of those that have begun within
            the budget's interval, if it has one.
        min_retry_concurrency: however few requests there are.
    """

    __slots__ = ("_active", "_pending", "budget_percent", "min_retry_concurrency")

    def __init__(self, max: int, active: Resource, pending: Resource) -> None:
        super().__init__(max)
        self._active = active
        self._pending = pending
        self.budget_percent: float | None = None
        self.min_retry_concurrency = DEFAULT_MIN_CONCURRENCY

    @property
    def limit(self) -> int:
        """As of now."""
        if self.budget_percent is None:
            return self.max
        active = self._active
        if isinstance(active, RecentResource):
            return max(int(self.budget_percent / 100 * active.recent), self.min_retry_concurrency)
        return max(
            int(self.budget_percent / 100 * (active.current + self._pending.current)), self.min_retry_concurrency
        )

    @property
    def counts_active(self) -> bool:
        """The budget depends on which requests are under way."""
        return self.budget_percent is not None and not isinstance(self._active, RecentResource)

    @property
    def can_create(self) -> bool:
        return self.current < (self.max if self.budget_percent is None else self.limit)

    @property
    def remaining(self) -> int:
        # What a budget leaves depends on requests to come: the gauge stays as it was made.
        return super().remaining if self.budget_percent is None else self.max

    def __repr__(self) -> str:
        return f"{self.current} of {self.limit}"


class ResourceManager:
    """The resources of one cluster for one routing priority.

    Attributes:
        connections: upstream connections, TCP and HTTP, connecting or connected.
        pending_requests: streams that wait for a connection.
        requests: streams that were given to a connection.
        retries: streams that are being retried.
        connection_pools: pools, one per host and set of options.
        max_connections_per_host: how many connections any host may have.
    """

    __slots__ = (
        "__weakref__",
        "_configured",
        "connection_pools",
        "connections",
        "max_connections_per_host",
        "pending_requests",
        "requests",
        "retries",
        "track_remaining",
    )

    def __init__(
        self,
        max_connections: int = 1024,
        max_pending_requests: int = 1024,
        max_requests: int = 1024,
        max_retries: int = 3,
        max_connection_pools: int = UNLIMITED,
        track_remaining: bool = False,
        max_connections_per_host: int = UNLIMITED,
        requests: Resource | None = None,
    ) -> None:
        self.connections = Resource(max_connections)
        self.pending_requests = Resource(max_pending_requests)
        self.requests = requests or Resource(max_requests)
        self.retries = Retries(max_retries, self.requests, self.pending_requests)
        self.connection_pools = Resource(max_connection_pools)
        self.track_remaining = track_remaining
        self.max_connections_per_host = max_connections_per_host
        self._configured: dict[str, float | None] = {
            "max_connections": max_connections,
            "max_pending_requests": max_pending_requests,
            "max_requests": max_requests,
            "max_retries": max_retries,
            "max_connection_pools": max_connection_pools,
            "retry_budget.budget_percent": None,
            "retry_budget.min_retry_concurrency": DEFAULT_MIN_CONCURRENCY,
        }

    @classmethod
    def from_proto(
        cls, thresholds: Any, per_host: Any = None, now: Callable[[], float] | None = None
    ) -> ResourceManager:
        """From one or two `envoy.config.cluster.v3.CircuitBreakers.Thresholds`; `now` is a clock in seconds."""

        def limit(field: str, default: int) -> int:
            return getattr(thresholds, field).value if thresholds.HasField(field) else default

        max_requests = limit("max_requests", 1024)
        interval = _interval(thresholds.retry_budget)
        made = cls(
            limit("max_connections", 1024),
            limit("max_pending_requests", 1024),
            max_requests,
            limit("max_retries", 3),
            limit("max_connection_pools", UNLIMITED),
            thresholds.track_remaining,
            requests=RecentResource(max_requests, interval, now) if interval and now is not None else None,
        )
        if per_host is not None and per_host.HasField("max_connections"):
            made.max_connections_per_host = per_host.max_connections.value
        if thresholds.HasField("retry_budget"):
            budget = thresholds.retry_budget
            percent = budget.budget_percent.value if budget.HasField("budget_percent") else DEFAULT_BUDGET_PERCENT
            made._configured["retry_budget.budget_percent"] = made.retries.budget_percent = percent
            if budget.HasField("min_retry_concurrency"):
                least = budget.min_retry_concurrency.value
                made._configured["retry_budget.min_retry_concurrency"] = made.retries.min_retry_concurrency = least
        return made

    def take_runtime(self, snapshot: Snapshot, prefix: str) -> None:
        """Limits that the runtime has under `prefix` replace those of the configuration."""

        def limit(key: str) -> int:
            return snapshot.get_integer(f"{prefix}.{key}", int(self._configured[key] or 0))

        self.connections.max = limit("max_connections")
        self.pending_requests.max = limit("max_pending_requests")
        self.requests.max = limit("max_requests")
        self.retries.max = limit("max_retries")
        self.connection_pools.max = limit("max_connection_pools")
        self.retries.min_retry_concurrency = limit("retry_budget.min_retry_concurrency")
        percent = self._configured["retry_budget.budget_percent"]
        if percent is None and any(
            snapshot.get_string(f"{prefix}.retry_budget.{key}") for key in ("budget_percent", "min_retry_concurrency")
        ):
            percent = DEFAULT_BUDGET_PERCENT
        if percent is not None:
            percent = snapshot.get_double(f"{prefix}.retry_budget.budget_percent", percent)
        self.retries.budget_percent = percent

    def gauges(self) -> list[tuple[str, int]]:
        """Envoy's gauges below `cluster.<name>.circuit_breakers.<priority>.`"""
        found = [
            ("cx_open", int(self.connections.open)),
            ("cx_pool_open", int(self.connection_pools.open)),
            ("rq_open", int(self.requests.open)),
            ("rq_pending_open", int(self.pending_requests.open)),
            ("rq_retry_open", int(self.retries.open)),
        ]
        if self.track_remaining:
            found += [
                ("remaining_cx", self.connections.remaining),
                ("remaining_cx_pools", self.connection_pools.remaining),
                ("remaining_pending", self.pending_requests.remaining),
                ("remaining_retries", self.retries.remaining),
                ("remaining_rq", self.requests.remaining),
            ]
        return found

    def __repr__(self) -> str:
        return (
            f"connections {self.connections}, pending requests {self.pending_requests}, requests {self.requests}, "
            f"retries {self.retries}"
        )


def _interval(budget: Any) -> float:
    """Seconds, in whole milliseconds; 0 if a budget goes by what is under way."""
    milliseconds: int = budget.budget_interval.seconds * 1000 + budget.budget_interval.nanos // 1_000_000
    return milliseconds / 1000


def resource_managers(
    circuit_breakers: Any,
    scope: Scope,
    runtime: Loader | None = None,
    cluster_name: str = "",
    now: Callable[[], float] | None = None,
) -> tuple[ResourceManager, ResourceManager]:
    """One for each routing priority; where a priority is configured twice the first counts, as in Envoy."""
    managers = []
    for priority, name in enumerate(PRIORITY_NAMES):
        thresholds = _first(circuit_breakers.thresholds, priority)
        per_host = _first(circuit_breakers.per_host_thresholds, priority)
        if thresholds is None and per_host is not None:
            thresholds = type(per_host)()
        manager = ResourceManager() if thresholds is None else ResourceManager.from_proto(thresholds, per_host, now)
        if runtime is not None:
            _follow_runtime(manager, runtime, f"circuit_breakers.{cluster_name}.{name}")
        scope.scope(f"circuit_breakers.{name}").provider(manager.gauges, gauges=True)
        managers.append(manager)
    return (managers[DEFAULT], managers[HIGH])


def _first(thresholds: Any, priority: int) -> Any:
    return next((each for each in thresholds if each.priority == priority), None)


def _follow_runtime(manager: ResourceManager, runtime: Loader, prefix: str) -> None:
    reference = weakref.ref(manager, lambda gone: runtime.forget(take))

    def take(snapshot: Snapshot) -> None:
        found = reference()
        if found is not None:
            found.take_runtime(snapshot, prefix)

    manager.take_runtime(runtime.snapshot, prefix)
    runtime.on_change(take)
