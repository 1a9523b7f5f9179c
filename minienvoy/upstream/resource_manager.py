"""Circuit breakers: how much of a cluster may be in use at once.

Envoy: `Upstream::ResourceManagerImpl`; docs "Circuit breaking". A user of a resource asks `can_create`, counts it with
`current += 1` and gives it back with `current -= 1`; nothing else is done on the way of a request. The gauges are read
from the same numbers when somebody looks at them; the struct in `ClusterStats` stays zero and tells which are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..config.fields import honours

if TYPE_CHECKING:
    from ..stats.store import Scope

honours("envoy.config.cluster.v3.CircuitBreakers", "thresholds")
honours(
    "envoy.config.cluster.v3.CircuitBreakers.Thresholds",
    "max_connections",
    "max_pending_requests",
    "max_requests",
    "max_retries",
    "priority",
    "track_remaining",
)

DEFAULT, HIGH = 0, 1
"""`envoy.config.core.v3.RoutingPriority`."""
PRIORITY_NAMES = ("default", "high")
UNLIMITED = 2**64 - 1
"""What `max_connection_pools` is unless it is set."""


class Resource:
    """A number that may go up to a limit."""

    __slots__ = ("current", "max")

    def __init__(self, max: int) -> None:
        self.current = 0
        self.max = max

    @property
    def can_create(self) -> bool:
        """Whether one more is within the limit."""
        return self.current < self.max

    @property
    def open(self) -> bool:
        """Whether the breaker is open: the limit is reached."""
        return self.current >= self.max

    @property
    def remaining(self) -> int:
        return max(0, self.max - self.current)

    def __repr__(self) -> str:
        return f"{self.current} of {self.max}"


class ResourceManager:
    """The resources of one cluster for one routing priority.

    Attributes:
        connections: upstream connections, TCP and HTTP, connecting or connected.
        pending_requests: streams that wait for a connection.
        requests: streams that were given to a connection.
        retries: streams that are being retried.
        connection_pools: pools, one per host and set of options.
    """

    __slots__ = ("connection_pools", "connections", "pending_requests", "requests", "retries", "track_remaining")

    def __init__(
        self,
        max_connections: int = 1024,
        max_pending_requests: int = 1024,
        max_requests: int = 1024,
        max_retries: int = 3,
        max_connection_pools: int = UNLIMITED,
        track_remaining: bool = False,
    ) -> None:
        self.connections = Resource(max_connections)
        self.pending_requests = Resource(max_pending_requests)
        self.requests = Resource(max_requests)
        self.retries = Resource(max_retries)
        self.connection_pools = Resource(max_connection_pools)
        self.track_remaining = track_remaining

    @classmethod
    def from_proto(cls, thresholds: Any) -> ResourceManager:
        """From `envoy.config.cluster.v3.CircuitBreakers.Thresholds`."""

        def limit(field: str, default: int) -> int:
            return getattr(thresholds, field).value if thresholds.HasField(field) else default

        return cls(
            limit("max_connections", 1024),
            limit("max_pending_requests", 1024),
            limit("max_requests", 1024),
            limit("max_retries", 3),
            limit("max_connection_pools", UNLIMITED),
            thresholds.track_remaining,
        )

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


def resource_managers(circuit_breakers: Any, scope: Scope) -> tuple[ResourceManager, ResourceManager]:
    """One for each routing priority; where a priority is configured twice the first counts, as in Envoy."""
    managers = []
    for priority, name in enumerate(PRIORITY_NAMES):
        thresholds = next((each for each in circuit_breakers.thresholds if each.priority == priority), None)
        manager = ResourceManager() if thresholds is None else ResourceManager.from_proto(thresholds)
        scope.scope(f"circuit_breakers.{name}").provider(manager.gauges, gauges=True)
        managers.append(manager)
    return (managers[DEFAULT], managers[HIGH])
