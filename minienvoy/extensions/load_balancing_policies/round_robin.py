"""ROUND_ROBIN: one host after the other, more often those of greater weight.

Envoy: `Upstream::RoundRobinLoadBalancer`, `envoy.load_balancing_policies.round_robin`; docs "Weighted round robin".

Where all weights are equal it is an index that starts at a random place, and goes on across updates. Otherwise hosts
are picked by an earliest-deadline-first schedule, which starts at a random place too.
"""

from __future__ import annotations

from typing import Any, cast

from ...config.fields import honours
from ...explain.explanation import NO_EXPLANATION
from ...upstream.edf_scheduler import EdfScheduler
from ...upstream.host import Host
from ...upstream.load_balancer import LOAD_BALANCERS, LoadBalancerContext, LoadBalancerFactory, LoadBalancerParams
from ...upstream.load_balancer_base import HostAvailability, HostsSource, LoadBalancerBase

honours("envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin")


def _weight(host: Host) -> float:
    return host.weight


class RoundRobinLoadBalancer(LoadBalancerBase):
    __slots__ = ("_seed",)

    policy = "round robin"

    def __init__(self, params: LoadBalancerParams) -> None:
        self._seed = params.random.getrandbits(64)
        super().__init__(params)

    def new_source(self, priority: int, availability: HostAvailability) -> HostsSource:
        return HostsSource(priority, availability, self._seed)

    def refresh(self, source: HostsSource) -> None:
        hosts = source.hosts
        if len({host.weight for host in hosts}) > 1:
            # Envoy's pick count has 32 bits.
            source.scheduler = EdfScheduler.with_picks(hosts, _weight, self._seed & 0xFFFFFFFF)
        else:
            source.scheduler = None

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        # The usual case is answered here: one priority, nobody in panic, equal weights, no wish to be told.
        source = self._only
        if source is not None and source.scheduler is None and (context is None or context.explain is NO_EXPLANATION):
            hosts = source.hosts
            index = source.index
            source.index = index + 1
            host = hosts[index % len(hosts)]
            if context is None or not context.host_selection_retries:
                return host
            source.index = index
        return super().choose_host(context)

    def pick(self, source: HostsSource, context: LoadBalancerContext | None) -> Host | None:
        if source.scheduler is not None:
            return cast("EdfScheduler[Host]", source.scheduler).pick_and_add()
        hosts = source.hosts
        if not hosts:
            return None
        index = source.index
        source.index = index + 1
        return hosts[index % len(hosts)]


@LOAD_BALANCERS.register(
    "envoy.load_balancing_policies.round_robin",
    "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin",
)
def create_round_robin(config: Any, context: Any) -> LoadBalancerFactory:
    return RoundRobinLoadBalancer
