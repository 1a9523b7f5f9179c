"""How a host is chosen.

Envoy: `envoy/upstream/load_balancer.h`; docs "Supported load balancers".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ..registry import Registry
from .host import Host, PrioritySet

if TYPE_CHECKING:
    from ..explain.explanation import Explanation


class LoadBalancerContext(Protocol):
    """What a request tells the balancer (`Upstream::LoadBalancerContext`): the router and the TCP proxy are such."""

    explain: Explanation

    def compute_hash_key(self) -> int | None: ...
    def should_select_another_host(self, host: Host) -> bool: ...
    def host_selection_retry_count(self) -> int: ...
    def metadata_match_criteria(self) -> Any: ...


class LoadBalancer(Protocol):
    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        """The host to use now, or None if no host may be used."""


LoadBalancerFactory = Callable[[PrioritySet], LoadBalancer]
LOAD_BALANCERS: Registry[Callable[[Any, Any], LoadBalancerFactory]] = Registry("envoy.load_balancing_policies")
"""(configuration message, `ClusterContext`) -> LoadBalancerFactory"""
