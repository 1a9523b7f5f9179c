"""Subsets: a request names values of metadata, and only hosts that have them take it.

Envoy: `Upstream::SubsetLoadBalancer`, `envoy.load_balancing_policies.subset`; docs "Load balancer subsets". For every
selector each host is put into the subset of its values of the selector's keys; a subset has a balancer of its own. A
request whose criteria are exactly the keys of a subset that has hosts goes there; what happens to others the fallback
policies say.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from ...explain.explanation import NO_EXPLANATION
from ...upstream.host import Host, HostSet
from ...upstream.load_balancer import LOAD_BALANCERS, LoadBalancerContext, LoadBalancerFactory, LoadBalancerParams
from ...upstream.load_balancer_policy import child_policy
from .subset_config import (
    TYPE,
    FallbackPolicy,
    Selector,
    SelectorFallback,
    SubsetConfig,
    SubsetStats,
)
from .subset_hosts import Change, PrioritySubset, SingleHostSubset, Subset, Values, matches, values_of

THREADS = 2
"""Envoy's main thread and its worker have subsets each, and count them."""
FALLBACK_LIST = "fallback_list"
"""The criterion in which a route lists further criteria to try."""


class _Places(NamedTuple):
    """In which subsets a host with this metadata is, and by which selectors."""

    metadata: Mapping[str, Any]
    places: list[tuple[Selector, Values]]


class _Known:
    """What is known of one priority: of ten thousand hosts most are as they were.

    Attributes:
        host_set: as of the last update.
        places: of each host.
        members: the hosts of each subset, in their order. A subset of one host has the first; the others collide.
    """

    __slots__ = ("host_set", "members", "places")

    def __init__(self, host_set: HostSet) -> None:
        self.host_set = host_set
        self.places: dict[Host, _Places] = {}
        self.members: dict[Values, dict[Host, None]] = {}

    def collisions(self, subsets: Mapping[Values, Subset]) -> int:
        """Hosts beyond the first in subsets of one host."""
        single = (hosts for values, hosts in self.members.items() if isinstance(subsets[values], SingleHostSubset))
        return sum(len(hosts) - 1 for hosts in single)


class SubsetLoadBalancer:
    """`any_subset` and `default_subset` exist if some fallback may need them."""

    __slots__ = (
        "_any",
        "_child",
        "_config",
        "_default",
        "_fallback",
        "_fallbacks",
        "_known",
        "_params",
        "_stats",
        "_subset_stats",
        "_subsets",
    )

    def __init__(self, params: LoadBalancerParams, config: SubsetConfig, child: LoadBalancerFactory) -> None:
        self._params = params
        self._config = config
        self._child = child
        self._stats = params.stats
        self._subset_stats = SubsetStats() if params.scope is None else params.scope.struct(SubsetStats)
        self._subsets: dict[Values, Subset] = {}
        self._known: dict[int, _Known] = {}
        """By priority."""
        self._any: PrioritySubset | None = None
        self._default: PrioritySubset | None = None
        self._fallback: PrioritySubset | None = None
        if config.fallback_policy is FallbackPolicy.ANY_ENDPOINT:
            self._fallback = self._any_subset()
        elif config.fallback_policy is FallbackPolicy.DEFAULT_SUBSET:
            self._fallback = self._default_subset()
        if config.panic_mode_any:
            self._any_subset()
        self._fallbacks = self._selector_fallbacks()
        for host_set in params.priority_set.host_sets:
            self._update(host_set)
        params.priority_set.add_member_update_callback(self._on_member_update)

    def stop(self) -> None:
        for subset in (*self._subsets.values(), self._any, self._default):
            if subset is not None:
                subset.stop()

    # -- for requests

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        criteria: Mapping[str, Any] = (context.metadata_match_criteria() if context is not None else None) or {}
        if self._config.metadata_fallback_list and FALLBACK_LIST in criteria:
            further = criteria[FALLBACK_LIST]
            criteria = {name: value for name, value in criteria.items() if name != FALLBACK_LIST}
            if further and isinstance(further, list):
                for override in further:
                    merged = {**criteria, **override} if isinstance(override, dict) else criteria
                    host = self._choose(context, merged)
                    if host is not None:
                        return host
                return None
        return self._choose(context, criteria)

    def _choose(self, context: LoadBalancerContext | None, criteria: Mapping[str, Any]) -> Host | None:
        if context is not None and criteria:
            if self._config.allow_redundant_keys:
                criteria = self._reduced(criteria)
            subset = self._subsets.get(values_of(criteria))
            if subset is not None and subset.active:
                self._stats.lb_subsets_selected += 1
                return self._from(subset, context, criteria)
            fallback = self._fallbacks.get(tuple(sorted(criteria)))
            if fallback is not None and fallback.policy is not SelectorFallback.NOT_DEFINED:
                return self._by_selector(fallback, context, criteria)
        if self._fallback is None:
            return None
        host = self._from(self._fallback, context, None)
        if host is not None:
            self._stats.lb_subsets_fallback += 1
            return host
        if self._config.panic_mode_any and self._any is not None:
            host = self._from(self._any, context, None)
            if host is not None:
                self._stats.lb_subsets_fallback_panic += 1
        return host

    def _by_selector(
        self, fallback: Selector, context: LoadBalancerContext, criteria: Mapping[str, Any]
    ) -> Host | None:
        if fallback.policy is SelectorFallback.ANY_ENDPOINT and self._any is not None:
            return self._from(self._any, context, None)
        if fallback.policy is SelectorFallback.DEFAULT_SUBSET and self._default is not None:
            return self._from(self._default, context, None)
        if fallback.policy is SelectorFallback.KEYS_SUBSET:
            kept = {name: value for name, value in criteria.items() if name in fallback.fallback_keys}
            return self._choose(context, kept)
        return None

    def _from(
        self, subset: Subset, context: LoadBalancerContext | None, criteria: Mapping[str, Any] | None
    ) -> Host | None:
        if context is not None and context.explain is not NO_EXPLANATION:
            words = ", ".join(f"{name}={value}" for name, value in sorted((criteria or {}).items()))
            context.explain.decided("subset", words or subset.name, "criteria of the request" if words else "fallback")
        return subset.choose_host(context)

    def _reduced(self, criteria: Mapping[str, Any]) -> Mapping[str, Any]:
        """The criteria that the first selector whose keys are all there is about."""
        for selector in self._config.selectors:
            if all(key in criteria for key in selector.keys):
                return {key: criteria[key] for key in selector.keys}
        return criteria

    # -- when hosts change

    def _on_member_update(self, host_set: HostSet, added: tuple[Host, ...], removed: tuple[Host, ...]) -> None:
        touched = self._follow(host_set, added, removed, self._params.priority_set.altered)
        if touched is None:
            self._update(host_set, (added, removed))
        for values in tuple(self._subsets) if touched is None else touched:
            subset = self._subsets[values]
            if not subset.active:
                del self._subsets[values]
                subset.stop()
                self._stats.lb_subsets_active -= THREADS
                self._stats.lb_subsets_removed += THREADS

    def _update(self, host_set: HostSet, change: Change = None) -> None:
        config = self._config
        if self._any is not None:
            self._any.update(host_set, host_set.hosts, change)
        if self._default is not None:
            wanted = [host for host in host_set.hosts if matches(host, config.default_subset, config.list_as_any)]
            self._default.update(host_set, tuple(wanted))
        before = self._known.get(host_set.priority)
        places = {} if before is None else before.places
        known = self._known[host_set.priority] = _Known(host_set)
        for host in host_set.hosts:
            found = places.get(host)
            if found is None or found.metadata is not host.metadata:
                found = self._places_of(host)
            self._put(known, host, found)
        self._subset_stats.lb_subsets_single_host_per_subset_duplicate = known.collisions(self._subsets)
        for values, subset in self._subsets.items():
            subset.update(host_set, tuple(known.members.get(values, ())))

    def _put(self, known: _Known, host: Host, found: _Places) -> None:
        known.places[host] = found
        for selector, values in found.places:
            here = known.members.get(values)
            if here is None:
                here = known.members[values] = {}
                if values not in self._subsets:
                    self._subsets[values] = self._new_subset(selector)
            here[host] = None

    def _follow(
        self,
        host_set: HostSet,
        added: tuple[Host, ...],
        removed: tuple[Host, ...],
        altered: Sequence[Host] | None,
    ) -> Collection[Values] | None:
        """Bring up to date those subsets that an update is about; None, and nothing has been done, if it is not known
        which these are."""
        known = self._known.get(host_set.priority)
        if known is None or altered is None or self._default is not None or not self._same_terms(known, host_set):
            return None
        for host in altered:
            # One whose labels are others would come to stand at the end of its new subset.
            if known.places[host].metadata != host.metadata:
                return None
        touched: dict[Values, None] = {}
        for host in removed:
            for _, values in known.places.pop(host).places:
                known.members[values].pop(host)
                touched[values] = None
        for host in altered:
            touched.update(dict.fromkeys(values for _, values in known.places[host].places))
        for host in added:
            found = self._places_of(host)
            self._put(known, host, found)
            touched.update(dict.fromkeys(values for _, values in found.places))
        known.host_set = host_set
        if self._any is not None:
            self._any.update(host_set, host_set.hosts, (added, removed), altered)
        for values in touched:
            self._subsets[values].update(host_set, tuple(known.members[values]))
            if not known.members[values]:
                del known.members[values]
        self._subset_stats.lb_subsets_single_host_per_subset_duplicate = known.collisions(self._subsets)
        return touched

    def _same_terms(self, known: _Known, host_set: HostSet) -> bool:
        """What a subset takes over from the whole set, besides its hosts, is what it was."""
        before = known.host_set
        return (
            before.overprovisioning_factor == host_set.overprovisioning_factor
            and before.weighted_priority_health == host_set.weighted_priority_health
            and not (self._config.locality_weight_aware and host_set.locality_weights)
        )

    def _places_of(self, host: Host) -> _Places:
        labels = host.metadata.get("envoy.lb", {})
        list_as_any = self._config.list_as_any
        return _Places(
            host.metadata,
            [
                (selector, values)
                for selector in self._config.selectors
                for values in selector.values(labels, list_as_any)
            ],
        )

    def _new_subset(self, selector: Selector) -> Subset:
        self._stats.lb_subsets_active += THREADS
        self._stats.lb_subsets_created += THREADS
        return SingleHostSubset("subset") if selector.single_host else self._priority_subset("subset")

    def _priority_subset(self, name: str) -> PrioritySubset:
        return PrioritySubset(name, self._params, self._child, self._config)

    def _any_subset(self) -> PrioritySubset:
        if self._any is None:
            self._any = self._priority_subset("any endpoint")
        return self._any

    def _default_subset(self) -> PrioritySubset:
        if self._default is None:
            self._default = self._priority_subset("default subset")
        return self._default

    def _selector_fallbacks(self) -> dict[tuple[str, ...], Selector]:
        """By keys. Keys that begin another selector's, which stands before, have no fallback of their own."""
        found: dict[tuple[str, ...], Selector] = {}
        seen: set[tuple[str, ...]] = set()
        for selector in self._config.selectors:
            for length in range(1, len(selector.keys) + 1):
                keys = selector.keys[:length]
                if keys in seen:
                    continue
                seen.add(keys)
                if length == len(selector.keys):
                    found[keys] = selector
                    if selector.policy is SelectorFallback.ANY_ENDPOINT:
                        self._any_subset()
                    elif selector.policy is SelectorFallback.DEFAULT_SUBSET:
                        self._default_subset()
        return found


class SubsetFactory:
    """Makes the balancer; what the policy within asks of endpoints holds here too."""

    def __init__(self, config: SubsetConfig, child: LoadBalancerFactory) -> None:
        self._config = config
        self._child = child
        self.validate_endpoints = getattr(child, "validate_endpoints", None)

    def __call__(self, params: LoadBalancerParams) -> SubsetLoadBalancer:
        return SubsetLoadBalancer(params, self._config, self._child)


@LOAD_BALANCERS.register("envoy.load_balancing_policies.subset", TYPE)
def create_subset(config: Any, context: Any) -> LoadBalancerFactory:
    settings = SubsetConfig.from_proto(config, context.path)
    child = child_policy(
        config.subset_lb_policy,
        context,
        "cluster: didn't find a registered load balancer factory implementation for subset lb with names from [{}]",
    )
    return SubsetFactory(settings, child)
