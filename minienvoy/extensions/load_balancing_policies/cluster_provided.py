"""CLUSTER_PROVIDED: the cluster's own kind brings a balancer.

Envoy: `envoy.load_balancing_policies.cluster_provided`. Kinds that do (ORIGINAL_DST, aggregate, dynamic forward proxy)
never ask for this factory; the others have nothing to bring.
"""

from __future__ import annotations

from typing import Any

from ...config.fields import honours
from ...errors import ConfigError
from ...upstream.load_balancer import LOAD_BALANCERS, LoadBalancerFactory

TYPE = "envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided"
honours(TYPE)


@LOAD_BALANCERS.register("envoy.load_balancing_policies.cluster_provided", TYPE)
def create_cluster_provided(config: Any, context: Any) -> LoadBalancerFactory:
    raise ConfigError(
        f"cluster manager: cluster provided LB specified but cluster '{context.cluster_name}' did not provide one. "
        "Check cluster documentation.",
        f"{context.path}.lb_policy",
    )
