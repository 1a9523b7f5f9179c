"""`lb_policy` and the fields that go with it, as the extension that does the same.

Envoy: `Upstream::LegacyLbPolicyConfigHelper`, `LoadBalancerConfigHelper`. A balancer has one configuration only: what
the older fields of a cluster say is put into the message of `envoy.extensions.load_balancing_policies`.
"""

from __future__ import annotations

from typing import Any, Final

from ..config.api import message_class
from ..config.fields import honours
from ..errors import ConfigError

_CLUSTER: Final = "envoy.config.cluster.v3.Cluster"
honours(f"{_CLUSTER}.RoundRobinLbConfig", "slow_start_config")
honours(f"{_CLUSTER}.SlowStartConfig", "slow_start_window", "aggression", "min_weight_percent")
honours(f"{_CLUSTER}.LeastRequestLbConfig", "choice_count", "active_request_bias", "slow_start_config")
honours(f"{_CLUSTER}.RingHashLbConfig", "minimum_ring_size", "maximum_ring_size", "hash_function")
honours(f"{_CLUSTER}.MaglevLbConfig", "table_size")
honours(f"{_CLUSTER}.CommonLbConfig.LocalityWeightedLbConfig")
honours(f"{_CLUSTER}.CommonLbConfig.ZoneAwareLbConfig", "routing_enabled", "min_cluster_size", "fail_traffic_on_panic")
honours(f"{_CLUSTER}.CommonLbConfig.ConsistentHashingLbConfig", "use_hostname_for_hashing", "hash_balance_factor")
honours(
    f"{_CLUSTER}.LbSubsetConfig",
    "fallback_policy",
    "subset_selectors",
    "locality_weight_aware",
    "scale_locality_weight",
    "panic_mode_any",
    "list_as_any",
    "metadata_fallback_policy",
    whole=("default_subset",),
)
honours(
    f"{_CLUSTER}.LbSubsetConfig.LbSubsetSelector",
    "keys",
    "single_host_per_subset",
    "fallback_policy",
    "fallback_keys_subset",
)

_POLICIES: Final = "envoy.extensions.load_balancing_policies"
_TYPES: Final = {
    "ROUND_ROBIN": f"{_POLICIES}.round_robin.v3.RoundRobin",
    "LEAST_REQUEST": f"{_POLICIES}.least_request.v3.LeastRequest",
    "RING_HASH": f"{_POLICIES}.ring_hash.v3.RingHash",
    "RANDOM": f"{_POLICIES}.random.v3.Random",
    "MAGLEV": f"{_POLICIES}.maglev.v3.Maglev",
    "CLUSTER_PROVIDED": f"{_POLICIES}.cluster_provided.v3.ClusterProvided",
}
_STRICT_DNS: Final = 1
_KINDS: Final = {
    0: "envoy.cluster.static",
    2: "envoy.cluster.logical_dns",
    3: "envoy.cluster.eds",
    4: "envoy.cluster.original_dst",
}
_SUBSET: Final = f"{_POLICIES}.subset.v3.Subset"


def legacy_lb_policy(config: Any, path: str) -> Any:
    """The message of an extension that stands for `lb_policy` of a `Cluster` and what goes with it.

    Raises:
        ConfigError: a value of `lb_policy` that needs `load_balancing_policy`.
    """
    enum = config.DESCRIPTOR.fields_by_name["lb_policy"].enum_type.values_by_number
    name = enum[config.lb_policy].name if config.lb_policy in enum else ""
    if name not in _TYPES:
        raise ConfigError("cluster: field load_balancing_policy need to be set", f"{path}.load_balancing_policy")
    common = config.common_lb_config
    if common.consistent_hashing_lb_config.use_hostname_for_hashing and config.type != _STRICT_DNS:
        kind = config.cluster_type.name or _KINDS.get(config.type, "")
        raise ConfigError(
            f"Cannot use hostname for consistent hashing loadbalancing for cluster of type: '{kind}'",
            f"{path}.common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing",
        )
    policy = message_class(_TYPES[name])()
    _FILL.get(name, _nothing)(policy, config)
    if not config.lb_subset_config.subset_selectors:
        return policy
    if name == "CLUSTER_PROVIDED":
        raise ConfigError(
            "cluster: LB policy CLUSTER_PROVIDED cannot be combined with lb_subset_config", f"{path}.lb_subset_config"
        )
    if config.lb_subset_config.locality_weight_aware and not common.HasField("locality_weighted_lb_config"):
        raise ConfigError(
            f"Locality weight aware subset LB requires that a locality_weighted_lb_config be set in {config.name}",
            f"{path}.lb_subset_config.locality_weight_aware",
        )
    subset = message_class(_SUBSET)()
    _copy(config.lb_subset_config, subset)
    packed = subset.subset_lb_policy.policies.add().typed_extension_config
    packed.name = name
    packed.typed_config.Pack(policy)
    return subset


def _nothing(policy: Any, config: Any) -> None:
    pass


def _round_robin(policy: Any, config: Any) -> None:
    if config.HasField("round_robin_lb_config"):
        _copy(config.round_robin_lb_config, policy)
    _locality(policy, config)


def _least_request(policy: Any, config: Any) -> None:
    if config.HasField("least_request_lb_config"):
        _copy(config.least_request_lb_config, policy)
    _locality(policy, config)


def _ring_hash(policy: Any, config: Any) -> None:
    ring = config.ring_hash_lb_config
    for field in ("minimum_ring_size", "maximum_ring_size"):
        if ring.HasField(field):
            getattr(policy, field).CopyFrom(getattr(ring, field))
    policy.hash_function = ring.hash_function + 1  # the extension's enum has a DEFAULT_HASH before them
    _hashing(policy, config)


def _maglev(policy: Any, config: Any) -> None:
    if config.maglev_lb_config.HasField("table_size"):
        policy.table_size.CopyFrom(config.maglev_lb_config.table_size)
    _hashing(policy, config)


def _hashing(policy: Any, config: Any) -> None:
    common = config.common_lb_config
    if common.HasField("consistent_hashing_lb_config"):
        policy.consistent_hashing_lb_config.SetInParent()
        _copy(common.consistent_hashing_lb_config, policy.consistent_hashing_lb_config)
    if common.HasField("locality_weighted_lb_config"):
        policy.locality_weighted_lb_config.SetInParent()


def locality_lb_config(common: Any, target: Any) -> None:
    """Put what a `CommonLbConfig` says of localities into the `LocalityLbConfig` `target`."""
    if common.HasField("locality_weighted_lb_config"):
        target.locality_weighted_lb_config.SetInParent()
    elif common.HasField("zone_aware_lb_config"):
        target.zone_aware_lb_config.SetInParent()
        _copy(common.zone_aware_lb_config, target.zone_aware_lb_config)


def _locality(policy: Any, config: Any) -> None:
    locality_lb_config(config.common_lb_config, policy.locality_lb_config)


def _copy(source: Any, target: Any) -> None:
    """Field by field, by name: the older message and the extension's have the same ones."""
    target.MergeFrom(_renumbered(source, target))


def _renumbered(source: Any, target: Any) -> Any:
    made = type(target)()
    for field, value in source.ListFields():
        if field.message_type is None:
            if hasattr(value, "extend") or hasattr(value, "append"):
                getattr(made, field.name).extend(value)
            else:
                setattr(made, field.name, value)
        elif hasattr(value, "add"):
            for each in value:
                into = getattr(made, field.name).add()
                into.CopyFrom(_renumbered(each, into))
        else:
            into = getattr(made, field.name)
            into.SetInParent()
            if into.DESCRIPTOR.full_name == value.DESCRIPTOR.full_name:
                into.CopyFrom(value)
            else:
                into.CopyFrom(_renumbered(value, into))
    return made


_FILL: Final = {
    "ROUND_ROBIN": _round_robin,
    "LEAST_REQUEST": _least_request,
    "RANDOM": _locality,
    "RING_HASH": _ring_hash,
    "MAGLEV": _maglev,
}
