"""RANDOM: any host; weights do not count.

Envoy: `Upstream::RandomLoadBalancer`, `envoy.load_balancing_policies.random`; docs "Random". One number is drawn for
the priority and for the host.
"""

from __future__ import annotations

from typing import Any

from ...config.fields import honours
from ...upstream.host import Host
from ...upstream.load_balancer import LOAD_BALANCERS, LoadBalancerContext, LoadBalancerFactory
from ...upstream.locality_lb_config import LocalityLbConfig
from ...upstream.zone_aware_load_balancer import HostsSource, ZoneAwareLoadBalancerBase

TYPE = "envoy.extensions.load_balancing_policies.random.v3.Random"
honours(TYPE, "locality_lb_config")


class RandomLoadBalancer(ZoneAwareLoadBalancerBase):
    __slots__ = ()
    peekable = True  # it can say whom it will choose next

    policy = "random"

    def pick(self, source: HostsSource, context: LoadBalancerContext | None, drawn: int) -> Host | None:
        hosts = source.hosts
        return hosts[drawn % len(hosts)] if drawn else hosts[int(self.random.random() * len(hosts))]


@LOAD_BALANCERS.register("envoy.load_balancing_policies.random", TYPE)
def create_random(config: Any, context: Any) -> LoadBalancerFactory:
    locality = LocalityLbConfig.from_proto(config.locality_lb_config)
    return lambda params: RandomLoadBalancer(params, locality)
