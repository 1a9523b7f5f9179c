"""How a host is chosen.

Envoy: `envoy/upstream/load_balancer.h`; docs "Supported load balancers".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ..record import record
from ..registry import Registry
from .host import Host, PrioritySet

if TYPE_CHECKING:
    from ..event.random import RandomStream
    from ..explain.explanation import Explanation
    from .cluster_stats import ClusterLbStats


class LoadBalancerContext(Protocol):
    """What a request tells the balancer (`Upstream::LoadBalancerContext`): the router and the TCP proxy are such."""

    explain: Explanation
    host_selection_retries: int
    """How often another host is tried when `should_select_another_host` refuses one."""

    def compute_hash_key(self) -> int | None: ...
    def should_select_another_host(self, host: Host) -> bool: ...
    def metadata_match_criteria(self) -> Any: ...


class LoadBalancer(Protocol):
    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        """The host to use now, or None if no host may be used."""


@record
class LoadBalancerParams:
    """What a balancer works on (`Upstream::LoadBalancerParams` and the settings common to all policies).

    Attributes:
        priority_set: the hosts; the balancer listens to its changes.
        random: the sequence this balancer draws from, `cluster.<name>.lb`.
        healthy_panic_threshold: percent; a priority with fewer healthy hosts is balanced over all its hosts; 0: never.
    """

    priority_set: PrioritySet
    stats: ClusterLbStats
    random: RandomStream
    healthy_panic_threshold: int = 50


LoadBalancerFactory = Callable[[LoadBalancerParams], LoadBalancer]
LOAD_BALANCERS: Registry[Callable[[Any, Any], LoadBalancerFactory]] = Registry("envoy.load_balancing_policies")
"""(configuration message, `ClusterContext`) -> LoadBalancerFactory"""
