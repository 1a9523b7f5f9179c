"""What a policy is told about localities.

Envoy: `envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig`; docs "Zone aware routing", "Locality
weighted load balancing".
"""

from __future__ import annotations

from typing import Any, Final

from ..config.fields import honours
from ..record import record

_COMMON: Final = "envoy.extensions.load_balancing_policies.common.v3"
honours(f"{_COMMON}.LocalityLbConfig", "zone_aware_lb_config", "locality_weighted_lb_config")
honours(f"{_COMMON}.LocalityLbConfig.LocalityWeightedLbConfig")
honours(
    f"{_COMMON}.LocalityLbConfig.ZoneAwareLbConfig",
    "routing_enabled",
    "min_cluster_size",
    "fail_traffic_on_panic",
    "force_locality_direct_routing",
    "force_local_zone",
    "locality_basis",
)
honours(f"{_COMMON}.LocalityLbConfig.ZoneAwareLbConfig.ForceLocalZone", "min_size")


@record
class LocalityLbConfig:
    """The defaults hold where nothing is configured: with a local cluster, routing is zone aware.

    Attributes:
        weighted: localities get load by their weights.
        routing_enabled: percent of requests that are routed zone aware.
        min_cluster_size: healthy hosts below which there is no zone aware routing.
        fail_traffic_on_panic: in panic no host is chosen, in place of any.
        force_local_min_size: with so many hosts in the own zone all requests stay there; None if that is not wanted.
        by_weight: a locality is as large as the weights of its hosts, not as their number.
    """

    weighted: bool = False
    routing_enabled: int = 100
    min_cluster_size: int = 6
    fail_traffic_on_panic: bool = False
    force_local_min_size: int | None = None
    by_weight: bool = False

    @classmethod
    def from_proto(cls, config: Any) -> LocalityLbConfig:
        """From a `LocalityLbConfig` message."""
        zone = config.zone_aware_lb_config
        force: int | None = 1 if zone.force_locality_direct_routing else None
        if zone.force_local_zone.HasField("min_size"):
            force = zone.force_local_zone.min_size.value
        return cls(
            config.HasField("locality_weighted_lb_config"),
            min(100, int(zone.routing_enabled.value + 0.5)) if zone.HasField("routing_enabled") else 100,
            zone.min_cluster_size.value if zone.HasField("min_cluster_size") else 6,
            zone.fail_traffic_on_panic,
            force,
            zone.locality_basis == 1,
        )
