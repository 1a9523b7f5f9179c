"""A Kubernetes API server as the source of an EDS cluster.

No Envoy counterpart. Envoy's `ConfigSource` has no place for a source of another kind, but gRPC has: the scheme of the
`target_uri` says how a name is resolved, and `kubernetes:` is what gRPC's resolvers for Kubernetes call theirs. Its
free-form `config` takes the settings.

    type: EDS
    eds_cluster_config:
      service_name: shop/web:http
      eds_config:
        resource_api_version: V3
        api_config_source:
          api_type: GRPC
          transport_api_version: V3
          grpc_services:
          - google_grpc: {target_uri: "kubernetes:///", stat_prefix: kubernetes, config: {zone: eu-1a}}

A real Envoy reads the same file; with the `target_uri` of a control plane in its place it follows the same pods.
"""

from __future__ import annotations

from typing import Any, Final

from ...config.api import struct_to_dict
from ...discovery.kubernetes.settings import from_source
from ...errors import ConfigError
from ...upstream.cluster import Cluster, ClusterContext
from ...upstream.cluster_info import KUBERNETES
from ...upstream.duration import duration_of
from .kubernetes import KubernetesCluster

_READ: Final = {
    "envoy.config.cluster.v3.Cluster.EdsClusterConfig": ("eds_config", "service_name"),
    "envoy.config.core.v3.ConfigSource": ("api_config_source", "initial_fetch_timeout", "resource_api_version"),
    "envoy.config.core.v3.ApiConfigSource": (
        "api_type",
        "grpc_services",
        "set_node_on_first_message_only",
        "transport_api_version",
    ),
    "envoy.config.core.v3.GrpcService": ("google_grpc",),
    "envoy.config.core.v3.GrpcService.GoogleGrpc": ("config", "stat_prefix", "target_uri"),
}
"""What has a meaning where the source is Kubernetes; anything else that is set is refused."""
_GRPC: Final = (2, 5)
"""`GRPC` and `DELTA_GRPC`."""


def create_cluster_of_kubernetes(config: Any, context: ClusterContext) -> Cluster:
    """For an EDS cluster whose source is a Kubernetes API server (`is_kubernetes_source`)."""
    eds = config.eds_cluster_config
    path = f"{context.path}.eds_cluster_config"
    source = eds.eds_config
    api = source.api_config_source
    where = f"{path}.eds_config.api_config_source"
    if len(api.grpc_services) != 1:
        raise ConfigError("one API server is needed", f"{where}.grpc_services")
    if api.api_type not in _GRPC:
        raise ConfigError("the api_type of a Kubernetes source is GRPC or DELTA_GRPC", f"{where}.api_type")
    grpc = api.grpc_services[0].google_grpc
    service = f"{where}.grpc_services[0]"
    for message, place in (
        (eds, path),
        (source, f"{path}.eds_config"),
        (api, where),
        (api.grpc_services[0], service),
        (grpc, f"{service}.google_grpc"),
    ):
        _refuse_unread(message, place)
    if grpc.target_uri not in (KUBERNETES, f"{KUBERNETES}///"):
        raise ConfigError(
            f"'{grpc.target_uri}' says more than that the source is Kubernetes",
            f"{service}.google_grpc.target_uri",
            remedy="say kubernetes:/// here, and what to follow in service_name",
        )
    settings_path = f"{service}.google_grpc.config"
    settings = from_source(
        struct_to_dict(grpc.config),
        settings_path,
        eds.service_name or config.name,
        f"{path}.service_name" if eds.service_name else f"{context.path}.name",
        duration_of(source, "initial_fetch_timeout", 15.0),
    )
    return KubernetesCluster(config, settings, settings_path, context)


def _refuse_unread(message: Any, path: str) -> None:
    for field, _ in message.ListFields():
        if field.name not in _READ[message.DESCRIPTOR.full_name]:
            raise ConfigError("it has no meaning where the source is Kubernetes", f"{path}.{field.name}")
