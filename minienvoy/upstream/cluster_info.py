"""What a cluster's configuration says about its connections, compiled.

Envoy: `Upstream::ClusterInfoImpl`, `createOptions`. Here stand, too, which fields of a cluster are honoured: those that
`Cluster` reads, and what is made of them.
"""

from __future__ import annotations

import socket
from typing import Any, Final

from ..config.api import type_of, unpack
from ..config.fields import declared_in, honours
from ..record import record
from .http_protocol_options import PROTOCOL_OPTIONS, UpstreamHttpProtocolOptions, UpstreamProtocol

EDS: Final = 3
KUBERNETES: Final = "kubernetes:"
"""How the `target_uri` of an EDS source begins that is a Kubernetes API server."""


def is_kubernetes_source(source: Any) -> bool:
    """Whether a `ConfigSource` is a Kubernetes API server and no control plane (`extensions/clusters/eds.py`)."""
    return any(each.google_grpc.target_uri.startswith(KUBERNETES) for each in source.api_config_source.grpc_services)


_USUAL_POOLS: Final = (
    "envoy.extensions.upstreams.http.generic.v3.GenericConnectionPoolProto",
    "envoy.extensions.upstreams.http.http.v3.HttpConnectionPoolProto",
)


def _is_usual_pool(extension: Any) -> str | None:
    """Requests go out as HTTP, but for those that the route ends here (`connect_config`)."""
    kind = extension.typed_config.type_url.rpartition("/")[2]
    return None if kind in _USUAL_POOLS else f"only {' and '.join(_USUAL_POOLS)}"


honours(
    "envoy.config.cluster.v3.Cluster",
    "alt_stat_name",
    "circuit_breakers",
    "close_connections_on_host_health_failure",
    "cleanup_interval",
    "cluster_type",
    "common_http_protocol_options",
    "common_lb_config",
    "connect_timeout",
    "dns_failure_refresh_rate",
    "dns_jitter",
    "dns_lookup_family",
    "dns_refresh_rate",
    "dns_resolution_config",
    "dns_resolvers",
    "eds_cluster_config",
    "health_checks",
    "http2_protocol_options",
    "http_protocol_options",
    "lb_policy",
    "lb_subset_config",
    "least_request_lb_config",
    "ignore_health_on_host_removal",
    "load_assignment",
    "load_balancing_policy",
    "maglev_lb_config",
    "max_requests_per_connection",
    "name",
    "outlier_detection",
    "original_dst_lb_config",
    "per_connection_buffer_limit_bytes",
    "respect_dns_ttl",
    "track_cluster_stats",
    "ring_hash_lb_config",
    "round_robin_lb_config",
    "transport_socket",
    "transport_socket_matches",
    "typed_dns_resolver_config",
    "typed_extension_protocol_options",
    "connection_pool_per_downstream_connection",
    "preconnect_policy",
    "protocol_selection",
    "upstream_bind_config",
    "upstream_connection_options",
    "upstream_http_protocol_options",
    "use_tcp_for_dns_lookups",
    "wait_for_warm_on_init",
    values={
        "type": ("STATIC", "STRICT_DNS", "LOGICAL_DNS", "EDS", "ORIGINAL_DST"),
    },
    when={
        "upstream_config": lambda config: _is_usual_pool(config.upstream_config),
    },
    # Who reads a source that is Kubernetes looks at all of it; a pool has no settings.
    skips={
        "eds_cluster_config": lambda config: is_kubernetes_source(config.eds_cluster_config.eds_config),
        "upstream_config": lambda config: True,
    },
    whole=("metadata",),
)
declared_in("minienvoy.extensions.clusters.eds", "envoy.config.cluster.v3.Cluster.EdsClusterConfig")
declared_in("minienvoy.upstream.transport_socket_matcher", "envoy.config.cluster.v3.Cluster.TransportSocketMatch")
honours("envoy.config.cluster.v3.Cluster.CustomClusterType", "name", "typed_config")
honours(
    "envoy.config.cluster.v3.Cluster.CommonLbConfig",
    "close_connections_on_host_set_change",
    "consistent_hashing_lb_config",
    "healthy_panic_threshold",
    "ignore_new_hosts_until_first_hc",
    "locality_weighted_lb_config",
    "override_host_status",
    "update_merge_window",
    "zone_aware_lb_config",
)
honours("envoy.config.core.v3.HealthStatusSet", "statuses")
honours(
    "envoy.config.cluster.v3.Cluster.OriginalDstLbConfig",
    "use_http_header",
    "http_header_name",
    "upstream_port_override",
    "metadata_key",
)
honours("envoy.type.v3.Percent", "value")
honours("envoy.config.cluster.v3.Cluster.RefreshRate", "base_interval", "max_interval")
honours(
    "envoy.config.cluster.v3.UpstreamConnectionOptions",
    "happy_eyeballs_config",
    "tcp_keepalive",
    ignored={"set_local_interface_name_on_upstream_connections": "nobody here asks for the name of an interface"},
)
honours(
    "envoy.config.cluster.v3.Cluster.PreconnectPolicy",
    "per_upstream_preconnect_ratio",
    "predictive_preconnect_ratio",
    "preconnect_enabled_metadata",
)
honours("envoy.config.core.v3.TcpKeepalive", "keepalive_interval", "keepalive_probes", "keepalive_time")
honours(
    "envoy.config.cluster.v3.UpstreamConnectionOptions.HappyEyeballsConfig",
    "first_address_family_version",
    "first_address_family_count",
)
honours("envoy.config.core.v3.SocketAddress", "address", "port_value", values={"protocol": ("TCP",)})

USE_DOWNSTREAM_PROTOCOL: Final = 1
"""`Cluster.ClusterProtocolSelection`."""

_FAMILIES: Final = {1: socket.AF_INET, 2: socket.AF_INET6}
"""`FirstAddressFamilyVersion` to the family."""


@record
class TcpKeepalive:
    """`envoy.config.core.v3.TcpKeepalive`; None leaves a setting to the kernel. Times are seconds."""

    probes: int | None = None
    time: int | None = None
    interval: int | None = None


def http_options(config: Any, path: str) -> UpstreamHttpProtocolOptions:
    max_requests: int = config.max_requests_per_connection.value
    protocol = UpstreamProtocol.HTTP2 if config.HasField("http2_protocol_options") else UpstreamProtocol.HTTP1
    if config.protocol_selection == USE_DOWNSTREAM_PROTOCOL:
        protocol = UpstreamProtocol.DOWNSTREAM
    options = UpstreamHttpProtocolOptions.from_proto(
        config.common_http_protocol_options,
        config.http_protocol_options,
        config.http2_protocol_options,
        protocol,
        max_requests,
        may_speak_http2=config.HasField("http2_protocol_options"),
    ).naming_server(config.upstream_http_protocol_options)
    for name in sorted(config.typed_extension_protocol_options):
        packed = config.typed_extension_protocol_options[name]
        where = f'{path}.typed_extension_protocol_options["{name}"]'
        options = PROTOCOL_OPTIONS.find(type_of(packed, where), where).factory(
            unpack(packed, where, validate=True), max_requests
        )
    return options


def tcp_keepalive(options: Any) -> TcpKeepalive | None:
    if not options.HasField("tcp_keepalive"):
        return None
    keepalive = options.tcp_keepalive
    return TcpKeepalive(
        *(
            getattr(keepalive, field).value if keepalive.HasField(field) else None
            for field in ("keepalive_probes", "keepalive_time", "keepalive_interval")
        )
    )


def happy_eyeballs(options: Any) -> tuple[int | None, int]:
    """(the family that is tried first, None for that of the first address; how many of it before one of the other)"""
    settings = options.happy_eyeballs_config
    count = settings.first_address_family_count.value if settings.HasField("first_address_family_count") else 1
    return _FAMILIES.get(settings.first_address_family_version), count


def healthy_panic_threshold(common: Any) -> int:
    """Percent; Envoy rounds to whole ones."""
    if not common.HasField("healthy_panic_threshold"):
        return 50
    return min(100, int(common.healthy_panic_threshold.value + 0.5))
