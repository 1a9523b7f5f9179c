"""For kinds of clusters that bring their own balancer.

Envoy: `ClusterFactoryImplBase::create`, and what `ClusterManagerImpl::loadCluster` says of balancers.
"""

from __future__ import annotations

from typing import Any, Final

from ...errors import ConfigError
from ...upstream.cluster import ClusterContext

_CLUSTER_PROVIDED: Final = "envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided"


def require_cluster_provided(config: Any, context: ClusterContext, kind: str) -> None:
    """The cluster has to say `lb_policy: CLUSTER_PROVIDED`, or the extension of that name.

    Raises:
        ConfigError: it says something else.
    """
    enum = config.DESCRIPTOR.fields_by_name["lb_policy"].enum_type.values_by_number
    if config.HasField("load_balancing_policy"):
        policies = config.load_balancing_policy.policies
        if any(each.typed_extension_config.typed_config.type_url.endswith(_CLUSTER_PROVIDED) for each in policies):
            return
    elif enum[config.lb_policy].name == "CLUSTER_PROVIDED":
        return
    raise ConfigError(
        f"cluster manager: cluster provided LB not specified but cluster '{config.name}' provided one. "
        "Check cluster documentation.",
        f"{context.path}.lb_policy",
    )
