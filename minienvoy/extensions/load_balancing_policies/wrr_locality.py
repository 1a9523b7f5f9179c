"""Localities by their weights, and in each a policy of its own.

Envoy: `Upstream::WrrLocalityLoadBalancer`, `envoy.load_balancing_policies.wrr_locality`. Envoy takes only one policy
within: client-side weighted round robin.
"""

from __future__ import annotations

from typing import Any, Final

from ...config.fields import honours
from ...errors import ConfigError
from ...upstream.load_balancer import LOAD_BALANCERS, LoadBalancerFactory
from ...upstream.load_balancer_policy import find_policy
from ...upstream.locality_lb_config import LocalityLbConfig
from .client_side_weighted_round_robin import TYPE as WEIGHTED_ROUND_ROBIN
from .client_side_weighted_round_robin import weighted_round_robin

TYPE: Final = "envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality"
honours(TYPE, "endpoint_picking_policy")


@LOAD_BALANCERS.register("envoy.load_balancing_policies.wrr_locality", TYPE)
def create_wrr_locality(config: Any, context: Any) -> LoadBalancerFactory:
    entry, message = find_policy(config.endpoint_picking_policy, context.path, "No supported endpoint picking policy.")
    if entry.config_type != WEIGHTED_ROUND_ROBIN:
        raise ConfigError(
            "Currently WrrLocalityLoadBalancer only supports ClientSideWeightedRoundRobinLoadBalancer as its endpoint "
            "picking policy.",
            context.path,
        )
    return weighted_round_robin(message, LocalityLbConfig(weighted=True))
