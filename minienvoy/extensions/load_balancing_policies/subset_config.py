"""What subsets are told.

Envoy: `Upstream::LoadBalancerSubsetInfoImpl`, `SubsetSelector`, `envoy.extensions.load_balancing_policies.subset.v3`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from itertools import product
from typing import Any, Final

from ...config.fields import honours
from ...errors import ConfigError
from ...record import record
from ...stats.store import GaugeValue, StatsStruct
from ...upstream.load_assignment import plain_struct
from .subset_hosts import Values, hashable

TYPE: Final = "envoy.extensions.load_balancing_policies.subset.v3.Subset"
honours(
    TYPE,
    "fallback_policy",
    "subset_selectors",
    "allow_redundant_keys",
    "locality_weight_aware",
    "scale_locality_weight",
    "panic_mode_any",
    "list_as_any",
    "metadata_fallback_policy",
    "subset_lb_policy",
    whole=("default_subset",),
)
honours(
    f"{TYPE}.LbSubsetSelector",
    "keys",
    "single_host_per_subset",
    "fallback_policy",
    "fallback_keys_subset",
)


class SubsetStats(StatsStruct):
    """`cluster.NAME.*`, where there are subsets."""

    lb_subsets_single_host_per_subset_duplicate: GaugeValue


class FallbackPolicy(IntEnum):
    NO_FALLBACK = 0
    ANY_ENDPOINT = 1
    DEFAULT_SUBSET = 2


class SelectorFallback(IntEnum):
    NOT_DEFINED = 0
    NO_FALLBACK = 1
    ANY_ENDPOINT = 2
    DEFAULT_SUBSET = 3
    KEYS_SUBSET = 4


@record
class Selector:
    """`keys` are in the order of their names; each subset of a `single_host` selector has one host."""

    keys: tuple[str, ...]
    policy: SelectorFallback
    fallback_keys: frozenset[str]
    single_host: bool

    @classmethod
    def from_proto(cls, config: Any, path: str) -> Selector:
        """Raises ConfigError for settings that contradict each other."""
        keys = tuple(sorted(set(config.keys)))
        policy = SelectorFallback(config.fallback_policy)
        fallback_keys = frozenset(config.fallback_keys_subset)
        if policy is not SelectorFallback.KEYS_SUBSET:
            if fallback_keys:
                raise ConfigError(
                    "fallback_keys_subset can be set only for KEYS_SUBSET fallback_policy",
                    f"{path}.fallback_keys_subset",
                )
        elif not fallback_keys:
            raise ConfigError("fallback_keys_subset cannot be empty", f"{path}.fallback_keys_subset")
        elif not fallback_keys <= set(keys):
            raise ConfigError("fallback_keys_subset must be a subset of selector keys", f"{path}.fallback_keys_subset")
        elif len(fallback_keys) >= len(keys):
            raise ConfigError("fallback_keys_subset cannot be equal to keys", f"{path}.fallback_keys_subset")
        return cls(keys, policy, fallback_keys, config.single_host_per_subset)

    def values(self, labels: Mapping[str, Any], list_as_any: bool) -> list[Values]:
        """The subsets of a host with these labels: none if it lacks a key, several if a list stands for any of it."""
        choices = []
        for key in self.keys:
            if key not in labels:
                return []
            value = labels[key]
            choices.append(
                [(key, hashable(each)) for each in (value if list_as_any and isinstance(value, list) else [value])]
            )
        return list(dict.fromkeys(product(*choices)))


@record
class SubsetConfig:
    fallback_policy: FallbackPolicy
    default_subset: Mapping[str, Any]
    selectors: tuple[Selector, ...]
    locality_weight_aware: bool
    scale_locality_weight: bool
    panic_mode_any: bool
    list_as_any: bool
    allow_redundant_keys: bool
    metadata_fallback_list: bool

    @classmethod
    def from_proto(cls, config: Any, path: str) -> SubsetConfig:
        """From the policy's message."""
        selectors = [
            Selector.from_proto(each, f"{path}.subset_selectors[{index}]")
            for index, each in enumerate(config.subset_selectors)
        ]
        if config.allow_redundant_keys:
            # The selector that says most about a request is to be found first.
            selectors.sort(key=lambda selector: -len(selector.keys))
        return cls(
            FallbackPolicy(config.fallback_policy),
            plain_struct(config.default_subset),
            tuple(selectors),
            config.locality_weight_aware,
            config.scale_locality_weight,
            config.panic_mode_any,
            config.list_as_any,
            config.allow_redundant_keys,
            config.metadata_fallback_policy == 1,
        )
