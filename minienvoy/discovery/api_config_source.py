"""Where a control plane is, and how it is asked: `envoy.config.core.v3.ApiConfigSource`, compiled.

Envoy: `Config::Utility` (`source/common/config/utility.cc`): `checkApiConfigSourceSubscriptionBackingCluster`,
`checkTransportVersion`, `parseRateLimitSettings`, `prepareJitteredExponentialBackOffStrategy`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..config.fields import declared_in, honours
from ..errors import ConfigError
from ..upstream.backoff_strategy import JitteredExponentialBackOffStrategy
from ..upstream.cluster_manager import ClusterManager, is_primary
from ..upstream.duration import duration_of

REST: Final = 1
GRPC: Final = 2
DELTA_GRPC: Final = 3
AGGREGATED_GRPC: Final = 5
AGGREGATED_DELTA_GRPC: Final = 6
_GRPC_TYPES: Final = (GRPC, DELTA_GRPC, AGGREGATED_GRPC, AGGREGATED_DELTA_GRPC)
_REST_LEGACY: Final = 0
_V2: Final = 1
_NAME: Final = "envoy.config.core.v3.ApiConfigSource"
INITIAL_DELAY: Final = 0.5
MAXIMUM_DELAY: Final = 30.0

honours(
    "envoy.config.core.v3.ApiConfigSource",
    "api_type",
    "transport_api_version",
    "grpc_services",
    "cluster_names",
    "refresh_delay",
    "rate_limit_settings",
    "set_node_on_first_message_only",
    ignored={"request_timeout": "it is of REST"},
)
honours("envoy.config.core.v3.RateLimitSettings", "max_tokens", "fill_rate")
honours("envoy.config.core.v3.AggregatedConfigSource")
declared_in(
    "minienvoy.server.async_services",
    "envoy.config.core.v3.GrpcService",
    "envoy.config.core.v3.RetryPolicy",
    "envoy.config.core.v3.BackoffStrategy",
)


def check_transport_version(source: Any, path: str) -> None:
    """Raises ConfigError: a version that is over is asked for."""
    if source.transport_api_version == _V2:
        raise ConfigError(
            f"V2 xDS transport protocol version is deprecated in {_shown(source)}. The v2 xDS major version has been "
            "removed and is no longer supported.",
            f"{path}.transport_api_version",
        )


def backing_cluster(source: Any, path: str) -> str:
    """The cluster that is asked.

    Raises:
        ConfigError: there is none, there are several, or it is not told as the type wants it.
    """
    grpc = source.api_type in _GRPC_TYPES
    problem = ""
    if not source.cluster_names and not source.grpc_services:
        problem = "API configs must have either a gRPC service or a cluster name defined"
    elif grpc and source.cluster_names:
        problem = f"{_NAME}::(AGGREGATED_)(DELTA_)GRPC must not have a cluster name specified"
    elif grpc and len(source.grpc_services) > 1:
        problem = f"{_NAME}::(AGGREGATED_)(DELTA_)GRPC must have no more than 1 gRPC services specified"
    elif not grpc and source.grpc_services:
        problem = f"{_NAME}, if not a gRPC type, must not have a gRPC service specified"
    elif not grpc and len(source.cluster_names) != 1:
        problem = f"{_NAME} must have a singleton cluster name specified"
    if problem:
        raise ConfigError(f"{problem}: {_shown(source)}", path)
    if not grpc:
        return str(source.cluster_names[0])
    service = source.grpc_services[0]
    if not service.HasField("envoy_grpc"):
        raise ConfigError("only envoy_grpc is supported: a cluster that speaks HTTP/2", f"{path}.grpc_services[0]")
    return str(service.envoy_grpc.cluster_name)


def check_ads(source: Any, path: str) -> None:
    """Whether `ads_config` can be one, apart from its cluster.

    Raises:
        ConfigError: it can not.
    """
    backing_cluster(source, path)
    check_transport_version(source, path)
    if source.api_type not in (GRPC, DELTA_GRPC):
        raise ConfigError(f"{_NAME} type must be of non-aggregated gRPC: {_shown(source)}", f"{path}.api_type")


def check_api(source: Any, path: str, manager: ClusterManager) -> None:
    """Whether there can be a stream of its own to a control plane.

    Raises:
        ConfigError: there can not.
    """
    name = backing_cluster(source, path)
    if not is_backing_cluster(name, manager):
        raise ConfigError(
            f"{_NAME} must have a statically defined non-EDS cluster: '{name}' does not exist, was added via api, or "
            "is an EDS cluster",
            path,
        )
    check_transport_version(source, path)
    kind = source.DESCRIPTOR.fields_by_name["api_type"].enum_type.values_by_number[source.api_type].name
    if source.api_type == _REST_LEGACY:
        raise ConfigError(
            "REST_LEGACY no longer a supported ApiConfigSource. Please specify an explicit supported api_type in the "
            f"following config: {_shown(source)}",
            path,
        )
    if source.api_type == REST and not source.HasField("refresh_delay"):
        raise ConfigError("refresh_delay is required for REST API configuration sources", path)
    if source.api_type in (AGGREGATED_GRPC, AGGREGATED_DELTA_GRPC):
        raise ConfigError(f"Unsupported config source {kind}", f"{path}.api_type")


def is_backing_cluster(name: str, manager: ClusterManager) -> bool:
    """The cluster is there from the start and does not need a control plane itself."""
    cluster = manager.get(name)
    return cluster is not None and not cluster.added_via_api and is_primary(cluster.config)


def rate_limit_of(source: Any) -> tuple[float, float] | None:
    """(requests at once, requests a second), or None for no limit."""
    if not source.HasField("rate_limit_settings"):
        return None
    settings = source.rate_limit_settings
    at_once = settings.max_tokens.value if settings.HasField("max_tokens") else 100
    return float(at_once), settings.fill_rate.value if settings.HasField("fill_rate") else 10.0


def back_off_of(source: Any, path: str, random: Any) -> JitteredExponentialBackOffStrategy:
    """How long to wait before a stream is opened again.

    Raises:
        ConfigError: the longest time is shorter than the first.
    """
    if not source.grpc_services:
        return JitteredExponentialBackOffStrategy(INITIAL_DELAY, MAXIMUM_DELAY, random)
    policy = source.grpc_services[0].envoy_grpc.retry_policy
    if not policy.HasField("retry_back_off"):
        return JitteredExponentialBackOffStrategy(INITIAL_DELAY, MAXIMUM_DELAY, random)
    base = duration_of(policy.retry_back_off, "base_interval", INITIAL_DELAY)
    maximum = duration_of(policy.retry_back_off, "max_interval", base * 10)
    if maximum < base:
        raise ConfigError("max_interval must be greater than or equal to the base_interval", path)
    return JitteredExponentialBackOffStrategy(base, maximum, random)


def _shown(source: Any) -> str:
    from google.protobuf.text_format import MessageToString

    return str(MessageToString(source, as_one_line=True)).strip()


MakeGrpcClient = Callable[[Any, str, int], Any]
"""(`GrpcService`, its path, the bytes that a message may have at most) -> `GrpcClient`"""
