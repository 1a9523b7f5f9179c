"""How a host is chosen.

Envoy: `envoy/upstream/load_balancer.h`; docs "Supported load balancers".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..explain.explanation import NO_EXPLANATION, Explanation
from ..record import record
from ..registry import Registry
from .host import Host, HostSet, Locality, PrioritySet

if TYPE_CHECKING:
    from ..config.runtime import Loader
    from ..event.dispatcher import Dispatcher
    from ..event.random import RandomStream
    from ..http.header_map import RequestHeaderMap
    from ..stats.store import Scope
    from ..stream_info import StreamInfo
    from .cluster_stats import ClusterLbStats, ClusterTrafficStats
    from .priority_load import PriorityLoad


class OverrideHost(NamedTuple):
    """The host that a request asks for by its address (`LoadBalancerContext::OverrideHost`).

    Attributes:
        strict: no other host will do.
        status: of the local reply if a strict one is not to be had.
    """

    address: str
    strict: bool = False
    status: int = 503


PriorityOf = Callable[[Host], "int | None"]
"""None if it is in none of the sets that are asked about (`RetryPriority::PriorityMappingFunc`)."""


class RetryPriority(Protocol):
    """Spreads the load of a retry over the priorities in another way (`Upstream::RetryPriority`)."""

    def determine_priority_load(
        self, host_sets: Sequence[HostSet], load: PriorityLoad, priority_of: PriorityOf
    ) -> PriorityLoad:
        """`priority_of` says which of `host_sets` a host that was tried is in."""


class LoadBalancerContext(Protocol):
    """What a request tells the balancer (`Upstream::LoadBalancerContext`): the router and the TCP proxy are such."""

    explain: Explanation
    host_selection_retries: int
    """How often another host is tried when `should_select_another_host` refuses one."""
    retry_priority: RetryPriority | None

    def compute_hash_key(self) -> int | None: ...
    def should_select_another_host(self, host: Host) -> bool: ...
    def metadata_match_criteria(self) -> Any:
        """Keys and values that hosts are to have in their metadata's `envoy.lb`; None or empty if nothing is asked."""

    def override_host(self) -> OverrideHost | None: ...
    def downstream_headers(self) -> RequestHeaderMap | None: ...
    def request_stream_info(self) -> StreamInfo | None: ...
    def add_set_cookie(self, value: bytes) -> None:
        """The client gets this `set-cookie` with the response."""


class LoadBalancerContextBase:
    """A context that wants nothing; others override what they know (`LoadBalancerContextBase`)."""

    __slots__ = ()

    explain: Explanation = NO_EXPLANATION
    host_selection_retries: int = 0
    retry_priority: RetryPriority | None = None

    def compute_hash_key(self) -> int | None:
        return None

    def should_select_another_host(self, host: Host) -> bool:
        return False

    def metadata_match_criteria(self) -> Any:
        return None

    def override_host(self) -> OverrideHost | None:
        return None

    def downstream_headers(self) -> RequestHeaderMap | None:
        return None

    def request_stream_info(self) -> StreamInfo | None:
        return None

    def add_set_cookie(self, value: bytes) -> None:
        pass


class LoadBalancer(Protocol):
    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        """The host to use now, or None if no host may be used."""


def stop_balancer(balancer: LoadBalancer) -> None:
    """Its cluster is gone. Those that have timers, or hear of other clusters, have a `stop`."""
    stop = getattr(balancer, "stop", None)
    if stop is not None:
        stop()


@record
class LoadBalancerParams:
    """What a balancer works on (`Upstream::LoadBalancerParams` and the settings common to all policies).

    Attributes:
        priority_set: the hosts; the balancer listens to its changes.
        random: the sequence this balancer draws from, `cluster.<name>.lb`.
        healthy_panic_threshold: percent; a priority with fewer healthy hosts is balanced over all its hosts; 0: never.
        local_priority_set: the hosts of the cluster that this server is a member of, for zone aware routing.
        local_locality: where this server is; None if that is not told.
        scope: `cluster.<name>`, for statistics of a policy's own.
        traffic: the cluster's; bounded load asks for its active requests.
    """

    priority_set: PrioritySet
    stats: ClusterLbStats
    random: RandomStream
    healthy_panic_threshold: int = 50
    dispatcher: Dispatcher | None = None
    runtime: Loader | None = None
    local_priority_set: PrioritySet | None = None
    local_locality: Locality | None = None
    scope: Scope | None = None
    traffic: ClusterTrafficStats | None = None

    @property
    def panic_threshold(self) -> int:
        """As it is now: the runtime may say otherwise."""
        if self.runtime is None:
            return self.healthy_panic_threshold
        return min(
            100,
            self.runtime.snapshot.get_integer("upstream.healthy_panic_threshold", self.healthy_panic_threshold),
        )


LoadBalancerFactory = Callable[[LoadBalancerParams], LoadBalancer]
LOAD_BALANCERS: Registry[Callable[[Any, Any], LoadBalancerFactory]] = Registry("envoy.load_balancing_policies")
"""(configuration message, `ClusterContext`) -> LoadBalancerFactory"""
