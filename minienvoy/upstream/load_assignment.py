"""The endpoints of a cluster as its configuration, or EDS, tells them.

Envoy: `envoy.config.endpoint.v3.ClusterLoadAssignment`, `Upstream::PriorityStateManager`; docs "Endpoints".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ..config.fields import honours
from ..config.runtime import FractionalPercent
from ..errors import ConfigError
from ..network.address import Address
from ..record import record
from .host import NO_LOCALITY, HealthFlag, Host, HostSet, Locality, PrioritySet

if TYPE_CHECKING:
    from ..event.random import RandomStream

honours(
    "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "cluster_name",
    "endpoints",
    "policy",
    ignored={"named_endpoints": "Envoy reads it nowhere"},
)
honours(
    "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy",
    "drop_overloads",
    "overprovisioning_factor",
    "weighted_priority_health",
    ignored={"endpoint_stale_after": "only endpoints that came by EDS can become stale"},
)
honours("envoy.config.endpoint.v3.ClusterLoadAssignment.Policy.DropOverload", "category", "drop_percentage")
honours(
    "envoy.config.endpoint.v3.LocalityLbEndpoints",
    "lb_endpoints",
    "load_balancing_weight",
    "locality",
    "priority",
    ignored={
        "metadata": "nothing looks at the metadata of a locality",
        "proximity": "Envoy does not use it either",
        "load_balancer_endpoints": "Envoy does not use it either",
    },
)
honours("envoy.config.core.v3.Locality", "region", "sub_zone", "zone")
honours(
    "envoy.config.endpoint.v3.LbEndpoint", "endpoint", "health_status", "load_balancing_weight", whole=("metadata",)
)
honours("envoy.config.endpoint.v3.Endpoint.AdditionalAddress", "address")
honours(
    "envoy.config.endpoint.v3.Endpoint",
    "additional_addresses",
    "address",
    "health_check_config",
    "hostname",
    "observability_name",
)
honours(
    "envoy.config.endpoint.v3.Endpoint.HealthCheckConfig",
    "address",
    "disable_active_health_check",
    "hostname",
    "port_value",
)
honours("envoy.config.core.v3.Address", "pipe", "socket_address", "envoy_internal_address")
honours("envoy.config.core.v3.EnvoyInternalAddress", "server_listener_name", "endpoint_id")
honours("envoy.config.core.v3.Pipe", "path")

HEALTH_FLAGS: Final = {
    0: 0,  # UNKNOWN
    1: 0,  # HEALTHY
    2: HealthFlag.FAILED_EDS_HEALTH,  # UNHEALTHY
    3: HealthFlag.EDS_STATUS_DRAINING,  # DRAINING
    4: HealthFlag.FAILED_EDS_HEALTH,  # TIMEOUT
    5: HealthFlag.DEGRADED_EDS_HEALTH,  # DEGRADED
}
"""`envoy.config.core.v3.HealthStatus` to the flags of a host."""


@record
class EndpointSettings:
    """One `LbEndpoint`.

    Attributes:
        target: an IP address or a DNS name; empty for a unix socket.
        path: of a unix socket, else empty.
        additional_targets: further (target, port) of the same endpoint.
        health_check_address: where health checks go if not to the endpoint; None if they do.
        health_check_port: instead of that address's, or of the endpoint's; 0 for no other.
        health_check_hostname: the `host` of HTTP health checks; empty for the check's own.
        config_path: of the address, for errors.
        observability_name: for statistics; empty for the address.
    """

    target: str
    port: int
    path: str
    hostname: str
    weight: int
    health_flags: int
    metadata: Mapping[str, Mapping[str, Any]]
    additional_targets: tuple[tuple[str, int], ...] = ()
    health_check_address: Address | None = None
    health_check_port: int = 0
    health_check_hostname: str = ""
    disable_active_health_check: bool = False
    config_path: str = ""
    observability_name: str = ""

    def host_at(
        self,
        addresses: tuple[Address, ...],
        hostname: str,
        priority: int,
        locality: Locality,
        health_flags: int = 0,
    ) -> Host:
        """A `Host` for this endpoint, now that it is known where it is; the first address is the main one.

        `health_flags` is what a host begins with that is checked actively (`Cluster.initial_health_flags`).
        """
        checked = self.health_check_address or addresses[0]
        if self.health_check_port:
            checked = Address(checked.host, self.health_check_port)
        return Host(
            addresses[0],
            hostname,
            weight=self.weight,
            priority=priority,
            locality=locality,
            metadata=self.metadata,
            health_flags=self.health_flags | (0 if self.disable_active_health_check else health_flags),
            health_check_address=checked,
            health_check_hostname=self.health_check_hostname,
            disable_active_health_check=self.disable_active_health_check,
            addresses=addresses,
            observability_name=self.observability_name,
        )


@record
class LocalityEndpoints:
    """One `LocalityLbEndpoints`; `weight` is 0 where none is configured."""

    locality: Locality
    priority: int
    weight: int
    endpoints: tuple[EndpointSettings, ...]


@record
class DropOverload:
    """Some requests are answered 503 before a host is chosen (`Cluster::dropOverload`)."""

    category: str
    fraction: FractionalPercent
    random: RandomStream

    @property
    def always(self) -> bool:
        """Every request is dropped."""
        return self.fraction.numerator >= self.fraction.denominator

    def drops(self) -> bool:
        """Whether the request that asks is one of them."""
        return self.fraction.enabled(self.random.getrandbits(64))


@record
class LoadAssignment:
    """`overprovisioning_factor` is percent."""

    localities: tuple[LocalityEndpoints, ...] = ()
    overprovisioning_factor: float = 140.0
    weighted_priority_health: bool = False
    drop_category: str = ""
    drop_fraction: FractionalPercent | None = None

    @classmethod
    def from_proto(cls, config: Any, path: str) -> LoadAssignment:
        """From `envoy.config.endpoint.v3.ClusterLoadAssignment`; `path` leads errors to it."""
        policy = config.policy
        category, fraction = _drop_overload(policy, f"{path}.policy.drop_overloads")
        return cls(
            tuple(
                _locality_endpoints(locality, f"{path}.endpoints[{index}]")
                for index, locality in enumerate(config.endpoints)
            ),
            float(policy.overprovisioning_factor.value) if policy.HasField("overprovisioning_factor") else 140.0,
            policy.weighted_priority_health,
            category,
            fraction,
        )

    def drop_overload(self, random: RandomStream) -> DropOverload | None:
        """What decides which requests are dropped; None if none are."""
        fraction = self.drop_fraction
        if fraction is None or not fraction.numerator:
            return None
        return DropOverload(self.drop_category, fraction, random)

    def host_set(self, priority: int, hosts: tuple[Host, ...]) -> HostSet:
        """A set with the settings of this assignment."""
        weights = {
            locality.locality: locality.weight
            for locality in self.localities
            if locality.priority == priority and locality.weight
        }
        return HostSet(
            priority,
            hosts,
            overprovisioning_factor=self.overprovisioning_factor,
            weighted_priority_health=self.weighted_priority_health,
            locality_weights=weights,
        )

    def update(self, priority_set: PrioritySet, hosts: Mapping[int, tuple[Host, ...]]) -> None:
        """Give `priority_set` the hosts of each priority; priorities that are not mentioned lose theirs."""
        for priority in range(max([len(priority_set.host_sets) - 1, *hosts]) + 1):
            priority_set.update_hosts(self.host_set(priority, hosts.get(priority, ())))


def _drop_overload(policy: Any, path: str) -> tuple[str, FractionalPercent | None]:
    if not policy.drop_overloads:
        return "", None
    if len(policy.drop_overloads) > 1:
        raise ConfigError(
            f"Cluster drop_overloads config has {len(policy.drop_overloads)} categories. Envoy only support one.", path
        )
    drop = policy.drop_overloads[0]
    fraction = FractionalPercent.from_proto(drop.drop_percentage)
    if fraction.numerator > fraction.denominator:
        raise ConfigError(
            "Cluster drop_overloads config is invalid. drop_ratio="
            f"{fraction.numerator / fraction.denominator}(Numerator {fraction.numerator} / Denominator "
            f"{fraction.denominator}). The valid range is 0~1.",
            path,
        )
    return drop.category, fraction


def _locality_endpoints(config: Any, path: str) -> LocalityEndpoints:
    locality = config.locality
    named = Locality(locality.region, locality.zone, locality.sub_zone)
    return LocalityEndpoints(
        NO_LOCALITY if named == NO_LOCALITY else named,
        config.priority,
        config.load_balancing_weight.value if config.HasField("load_balancing_weight") else 0,
        tuple(
            _endpoint_settings(endpoint, f"{path}.lb_endpoints[{index}]")
            for index, endpoint in enumerate(config.lb_endpoints)
        ),
    )


def _endpoint_settings(config: Any, path: str) -> EndpointSettings:
    endpoint = config.endpoint
    path = f"{path}.endpoint.address"
    target, port, pipe = _target(endpoint.address, path)
    additional = []
    for index, each in enumerate(endpoint.additional_addresses):
        more, more_port, _ = _target(each.address, f"{path}.additional_addresses[{index}]")
        additional.append((more, more_port))
    check = endpoint.health_check_config
    checked = None
    if check.HasField("address"):
        where = f"{path.removesuffix('.address')}.health_check_config.address"
        checked = resolve_address(*_target(check.address, where), where)
    if check.port_value and (checked.path if checked is not None else pipe):
        raise ConfigError(
            "Invalid host configuration: non-zero port for non-IP address",
            f"{path.removesuffix('.address')}.health_check_config.port_value",
        )
    return EndpointSettings(
        target,
        port,
        pipe,
        endpoint.hostname,
        config.load_balancing_weight.value if config.HasField("load_balancing_weight") else 1,
        HEALTH_FLAGS.get(config.health_status, 0),
        plain_metadata(config.metadata) if config.HasField("metadata") else {},
        tuple(additional),
        checked,
        check.port_value,
        check.hostname,
        check.disable_active_health_check,
        path,
        endpoint.observability_name,
    )


def _target(address: Any, path: str) -> tuple[str, int, str]:
    kind = address.WhichOneof("address")
    if kind == "pipe":
        return ("", 0, address.pipe.path)
    if kind == "envoy_internal_address":
        inside = address.envoy_internal_address
        return ("", 0, Address.internal(inside.server_listener_name, inside.endpoint_id).path)
    if kind == "socket_address":
        return (address.socket_address.address, address.socket_address.port_value, "")
    raise ConfigError("an endpoint needs an address", path)


def resolve_address(target: str, port: int, path: str, config_path: str) -> Address:
    """An endpoint's address where DNS is not asked.

    Raises:
        ConfigError: `target` is a name.
    """
    if path:
        return Address.pipe(path)
    try:
        return Address.ip(target, port)
    except ValueError:
        raise ConfigError(
            f"malformed IP address: {target}. Consider setting resolver_name or setting cluster type to 'STRICT_DNS' "
            "or 'LOGICAL_DNS'",
            config_path,
        ) from None


def plain_metadata(metadata: Any) -> dict[str, dict[str, Any]]:
    """`envoy.config.core.v3.Metadata.filter_metadata` as plain values."""
    return {name: plain_struct(struct) for name, struct in metadata.filter_metadata.items()}


def plain_struct(struct: Any) -> dict[str, Any]:
    """A `google.protobuf.Struct` as plain values."""
    return {name: _plain_value(value) for name, value in struct.fields.items()}


def _plain_value(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return plain_struct(value.struct_value)
    if kind == "list_value":
        return [_plain_value(each) for each in value.list_value.values]
    return None if kind in (None, "null_value") else getattr(value, kind)
