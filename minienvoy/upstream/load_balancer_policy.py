"""From a `load_balancing_policy` to the factory of a balancer.

Envoy: `ClusterInfoImpl::configureLbPolicies`, `envoy.config.cluster.v3.LoadBalancingPolicy`; docs "Load balancing
policies". Policies that have a policy within (subsets, locality weights, overrides) come here too.
"""

from __future__ import annotations

from typing import Any

from ..config.api import type_of, unpack
from ..config.fields import honours
from ..errors import ConfigError
from ..registry import Entry
from .legacy_lb_policy import legacy_lb_policy
from .load_balancer import LOAD_BALANCERS, LoadBalancerFactory

honours("envoy.config.cluster.v3.LoadBalancingPolicy", "policies")
honours("envoy.config.cluster.v3.LoadBalancingPolicy.Policy", "typed_extension_config")


_PARTIAL = ("zone_aware_lb_config", "locality_weighted_lb_config", "consistent_hashing_lb_config")


def child_policy(policy: Any, context: Any, none_is_known: str) -> LoadBalancerFactory:
    """The first policy of a `LoadBalancingPolicy` that is known.

    Raises:
        ConfigError: none is: `none_is_known`, with their names in place of `{}`.
    """
    entry, message = find_policy(policy, context.path, none_is_known)
    factory: LoadBalancerFactory = entry.factory(message, context)
    return factory


def find_policy(policy: Any, path: str, none_is_known: str) -> tuple[Entry[Any], Any]:
    names = []
    for each in policy.policies:
        packed = each.typed_extension_config.typed_config
        names.append(each.typed_extension_config.name)
        try:
            entry = LOAD_BALANCERS.find(type_of(packed, path))
        except ConfigError:
            continue
        # Envoy checks the constraints of a policy's message in few policies; those do it themselves.
        return entry, unpack(packed, path)
    raise ConfigError(none_is_known.format(", ".join(names)), path)


def cluster_policy(config: Any, context: Any) -> tuple[str, LoadBalancerFactory]:
    """What a `Cluster` says, in the newer way or in the older: the name of the extension, and its factory."""
    path = f"{context.path}.load_balancing_policy.policies"
    if not config.HasField("load_balancing_policy"):
        message = legacy_lb_policy(config, context.path)
        entry = LOAD_BALANCERS.find(message.DESCRIPTOR.full_name, f"{context.path}.lb_policy")
        return entry.name, entry.factory(message, context)
    common = config.common_lb_config
    if any(map(common.HasField, _PARTIAL)):
        raise ConfigError(
            f"cluster: load_balancing_policy cannot be combined with partial fields ({', '.join(_PARTIAL)}) of "
            "common_lb_config",
            f"{context.path}.common_lb_config",
        )
    if config.HasField("lb_subset_config"):
        raise ConfigError(
            "cluster: load_balancing_policy cannot be combined with lb_subset_config",
            f"{context.path}.lb_subset_config",
        )
    entry, message = find_policy(
        config.load_balancing_policy,
        path,
        "cluster: didn't find a registered load balancer factory implementation for cluster: "
        f"'{config.name}' with names from [{{}}]",
    )
    return entry.name, entry.factory(message, context)
