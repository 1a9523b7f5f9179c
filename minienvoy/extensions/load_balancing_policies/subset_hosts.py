"""The hosts of one subset, and the balancer over them.

Envoy: `SubsetLoadBalancer::PrioritySubsetImpl`, `HostSubsetImpl`, `SingleHostLbSubset`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...record import replace
from ...upstream.host import Host, HostSet, Locality, PrioritySet
from ...upstream.load_balancer import LoadBalancerContext, LoadBalancerFactory, LoadBalancerParams, stop_balancer

if TYPE_CHECKING:
    from .subset_config import SubsetConfig

Values = tuple[tuple[str, Any], ...]
"""Keys and values, in the order of the keys, that can be looked up."""
Change = tuple[tuple[Host, ...], tuple[Host, ...]] | None
"""Hosts that are new, and hosts that are gone, if that is known."""


def hashable(value: Any) -> Any:
    """A value of metadata as something that can be looked up; `true`, `1` and `"1"` differ."""
    if type(value) is str:
        return ("str", value)
    if isinstance(value, list):
        return ("list", *map(hashable, value))
    if isinstance(value, dict):
        return ("struct", *sorted((name, hashable(each)) for name, each in value.items()))
    return (type(value).__name__ if not isinstance(value, int) or isinstance(value, bool) else "float", value)


def values_of(criteria: Mapping[str, Any]) -> Values:
    if len(criteria) == 1:
        ((name, value),) = criteria.items()
        return ((name, hashable(value)),)
    return tuple((name, hashable(criteria[name])) for name in sorted(criteria))


def matches(host: Host, labels: Mapping[str, Any], list_as_any: bool) -> bool:
    """Whether a host has these values (`metadataLabelMatch`)."""
    own = host.metadata.get("envoy.lb", {})
    for name, value in labels.items():
        if name not in own:
            return False
        has = own[name]
        choices = has if list_as_any and isinstance(has, list) else [has]
        if hashable(value) not in map(hashable, choices):
            return False
    return True


class Subset:
    """Attributes:
    name: for explanations.
    active: it has hosts, in whatever health.
    """

    __slots__ = ("active", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.active = False

    def update(
        self,
        host_set: HostSet,
        members: tuple[Host, ...],
        change: Change = None,
        altered: Sequence[Host] | None = None,
    ) -> None:
        """Of the hosts of `host_set` these, in their order, belong here now; see `PrioritySet.update_hosts`."""
        raise NotImplementedError

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        raise NotImplementedError

    def stop(self) -> None:
        """Nobody chooses here any more."""


class SingleHostSubset(Subset):
    """One host, whatever its health; that of the first priority which has one."""

    __slots__ = ("_hosts",)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._hosts: dict[int, Host] = {}

    def update(
        self,
        host_set: HostSet,
        members: tuple[Host, ...],
        change: Change = None,
        altered: Sequence[Host] | None = None,
    ) -> None:
        self._hosts.pop(host_set.priority, None)
        if members:
            self._hosts[host_set.priority] = members[0]
        self.active = bool(self._hosts)

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        return self._hosts[min(self._hosts)] if self._hosts else None


class PrioritySubset(Subset):
    """Hosts of any number of priorities, with a balancer of their own."""

    __slots__ = ("_balancer", "_config", "_priority_set")

    def __init__(
        self, name: str, params: LoadBalancerParams, create: LoadBalancerFactory, config: SubsetConfig
    ) -> None:
        super().__init__(name)
        self._config = config
        self._priority_set = PrioritySet()
        self._priority_set.update_hosts(self._filtered(params.priority_set.host_sets[0], ()))
        self._balancer = create(replace(params, priority_set=self._priority_set))

    def update(
        self,
        host_set: HostSet,
        members: tuple[Host, ...],
        change: Change = None,
        altered: Sequence[Host] | None = None,
    ) -> None:
        known = self._priority_set.host_sets
        if not members and (len(known) <= host_set.priority or not known[host_set.priority].hosts):
            return
        self._priority_set.update_hosts(self._filtered(host_set, members), change, altered)
        self.active = any(host_set.hosts for host_set in self._priority_set.host_sets)

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        return self._balancer.choose_host(context)

    def stop(self) -> None:
        stop_balancer(self._balancer)

    def _filtered(self, host_set: HostSet, hosts: tuple[Host, ...]) -> HostSet:
        weights = self._locality_weights(host_set, hosts)
        if hosts is host_set.hosts and weights == host_set.locality_weights:
            return host_set
        return HostSet(
            host_set.priority,
            hosts,
            overprovisioning_factor=host_set.overprovisioning_factor,
            weighted_priority_health=host_set.weighted_priority_health,
            locality_weights=weights,
        )

    def _locality_weights(self, host_set: HostSet, hosts: tuple[Host, ...]) -> Mapping[Locality, int] | None:
        if not self._config.locality_weight_aware or host_set.locality_weights is None:
            return None
        if not self._config.scale_locality_weight:
            return host_set.locality_weights
        all_of, here = _counts(host_set.hosts), _counts(hosts)
        return {
            locality: int(weight * here.get(locality, 0) / all_of[locality] + 0.5)
            for locality, weight in host_set.locality_weights.items()
            if all_of.get(locality)
        }


def _counts(hosts: Collection[Host]) -> dict[Locality, int]:
    counts: dict[Locality, int] = {}
    for host in hosts:
        counts[host.locality] = counts.get(host.locality, 0) + 1
    return counts
