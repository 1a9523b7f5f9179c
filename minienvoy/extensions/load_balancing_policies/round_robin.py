"""ROUND_ROBIN: one host after the other, more often those of greater weight.

Envoy: `Upstream::RoundRobinLoadBalancer`, `envoy.load_balancing_policies.round_robin`; docs "Weighted round robin".

Where all weights are equal it is an index that starts at a random place, and goes on across updates. Otherwise hosts
are picked by an earliest-deadline-first schedule, which starts at a random place too.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from ...config.fields import honours
from ...explain.explanation import NO_EXPLANATION
from ...upstream.edf_load_balancer import EdfLoadBalancerBase
from ...upstream.host import Host
from ...upstream.load_balancer import LOAD_BALANCERS, LoadBalancerContext, LoadBalancerFactory, LoadBalancerParams
from ...upstream.locality_lb_config import LocalityLbConfig
from ...upstream.slow_start import SlowStartConfig
from ...upstream.zone_aware_load_balancer import HostsSource

TYPE = "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin"
honours(TYPE, "slow_start_config", "locality_lb_config")


_weight: Callable[[Host], float] = attrgetter("weight")


class RoundRobinLoadBalancer(EdfLoadBalancerBase):
    __slots__ = ()
    peekable = True  # it can say whom it will choose next

    policy = "round robin"

    def __init__(
        self,
        params: LoadBalancerParams,
        locality_config: LocalityLbConfig = LocalityLbConfig(),  # noqa: B008 (it is frozen)
        slow_start: SlowStartConfig = SlowStartConfig(),  # noqa: B008
    ) -> None:
        super().__init__(params, locality_config, slow_start)

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        # The usual case is answered here: one list, no wish to be told, no second thoughts.
        source = self._only
        if (
            source is not None
            and source.hosts
            and (
                context is None
                or (
                    context.explain is NO_EXPLANATION
                    and not context.host_selection_retries
                    and context.retry_priority is None
                )
            )
        ):
            scheduler = source.scheduler
            if scheduler is not None:
                return scheduler.pick_and_add()
            hosts = source.hosts
            index = source.index
            source.index = index + 1
            return hosts[index % len(hosts)]
        return super().choose_host(context)

    def weight_function(self) -> Callable[[Host], float]:
        return self.host_weight if self._slow_start.window else _weight

    def unweighted_pick(self, source: HostsSource) -> Host:
        hosts = source.hosts
        index = source.index
        source.index = index + 1
        return hosts[index % len(hosts)]


@LOAD_BALANCERS.register("envoy.load_balancing_policies.round_robin", TYPE)
def create_round_robin(config: Any, context: Any) -> LoadBalancerFactory:
    locality = LocalityLbConfig.from_proto(config.locality_lb_config)
    slow_start = SlowStartConfig.from_proto(config.slow_start_config)
    return lambda params: RoundRobinLoadBalancer(params, locality, slow_start)
