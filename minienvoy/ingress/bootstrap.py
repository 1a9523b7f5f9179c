"""A model as the configuration of a proxy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .certificates import Certificate
from .model import EVERY_HOST, Backend, Model, Port

_HCM: Final = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER: Final = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_TLS: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_STRUCT: Final = "type.googleapis.com/xds.type.v3.TypedStruct"
_CLUSTER: Final = "type.googleapis.com/minienvoy.clusters.Kubernetes"
_PROTOCOLS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def bootstrap(model: Model, address: str, admin: str, kubernetes: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of an `envoy.config.bootstrap.v3.Bootstrap`.

    `address`: where every port listens. `admin`: `host:port` of the admin interface, or empty. `kubernetes`: settings
    of the clusters.
    """
    backends: dict[str, Backend] = {}
    for port in model.ports.values():
        for routes in port.hosts.values():
            for route in routes:
                backends.update((each.cluster, each) for each in route.backends)
    resources = {
        "listeners": [
            _listener(number, port, address)
            for number, port in sorted(model.ports.items())
            if port.certificates or not port.secure
        ],
        "clusters": [_cluster(each, kubernetes) for _, each in sorted(backends.items())],
    }
    values: dict[str, Any] = {"static_resources": resources}
    if admin:
        host, _, number = admin.rpartition(":")
        values["admin"] = {"address": {"socket_address": {"address": host, "port_value": int(number)}}}
    return values


def _listener(number: int, port: Port, address: str) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": f"{'https' if port.secure else 'http'}-{number}",
        "address": {"socket_address": {"address": address, "port_value": number}},
    }
    manager = {"name": "http", "typed_config": _manager(number, port)}
    if not port.secure:
        return {**values, "filter_chains": [{"filters": [manager]}]}
    chains = [_chain(host, each, manager) for host, (each, _) in sorted(port.certificates.items())]
    inspector = {
        "name": "envoy.filters.listener.tls_inspector",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
        },
    }
    return {**values, "listener_filters": [inspector], "filter_chains": chains}


def _chain(host: str, certificate: Certificate, manager: dict[str, Any]) -> dict[str, Any]:
    shown = {
        "certificate_chain": {"inline_string": certificate.chain},
        "private_key": {"inline_string": certificate.key},
    }
    context = {"tls_certificates": [shown], "alpn_protocols": ["h2", "http/1.1"]}
    chain: dict[str, Any] = {
        "name": host,
        "filters": [manager],
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {"@type": _TLS, "common_tls_context": context},
        },
    }
    if host != EVERY_HOST:
        chain["filter_chain_match"] = {"server_names": [host]}
    return chain


def _manager(number: int, port: Port) -> dict[str, Any]:
    hosts = [
        {
            "name": host,
            "domains": [host],
            "routes": [each.values for each in sorted(routes, key=lambda each: each.precedence)],
        }
        for host, routes in sorted(port.hosts.items())
    ]
    return {
        "@type": _HCM,
        "stat_prefix": f"port_{number}",
        "normalize_path": True,
        "merge_slashes": True,
        # Names of hosts are told with and without a port.
        "strip_any_host_port": True,
        "use_remote_address": True,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        # A share of the requests may be for a backend that does not exist.
        "route_config": {"name": f"port_{number}", "virtual_hosts": hosts, "validate_clusters": False},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
    }


def _cluster(backend: Backend, kubernetes: Mapping[str, Any]) -> dict[str, Any]:
    value = {**kubernetes, "service": str(backend.service), "port": backend.port}
    values: dict[str, Any] = {
        "name": backend.cluster,
        "connect_timeout": "5s",
        "lb_policy": "LEAST_REQUEST",
        "cluster_type": {
            "name": "minienvoy.clusters.kubernetes",
            "typed_config": {"@type": _STRUCT, "type_url": _CLUSTER, "value": value},
        },
    }
    if backend.http2:
        options = {
            "@type": f"type.googleapis.com/{_PROTOCOLS}",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
        values["typed_extension_protocol_options"] = {_PROTOCOLS: options}
    return values
