"""What a health check is told, and what it counts.

Envoy: `envoy.config.core.v3.HealthCheck`, `HealthCheckerStats`.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from ..config.fields import honours
from ..record import record
from ..stats.store import CounterValue, GaugeValue, StatsStruct
from .duration import duration_of

honours(
    "envoy.config.core.v3.HealthCheck",
    "always_log_health_check_failures",
    "always_log_health_check_success",
    "custom_health_check",
    "event_log_path",
    "event_logger",
    "healthy_edge_interval",
    "healthy_threshold",
    "http_health_check",
    "initial_jitter",
    "interval",
    "interval_jitter",
    "interval_jitter_percent",
    "name",
    "no_traffic_healthy_interval",
    "no_traffic_interval",
    "reuse_connection",
    "tcp_health_check",
    "timeout",
    "unhealthy_edge_interval",
    "unhealthy_interval",
    "unhealthy_threshold",
    when={"grpc_health_check": lambda check: "gRPC needs HTTP/2, which does not exist here yet"},
    ignored={
        "alt_port": "Envoy does not use it either",
    },
)
honours("envoy.config.core.v3.HealthCheck.CustomHealthCheck", "name", "typed_config")
honours(
    "envoy.config.core.v3.HealthCheck.HttpHealthCheck",
    "expected_statuses",
    "host",
    "method",
    "path",
    "receive",
    "request_headers_to_add",
    "request_headers_to_remove",
    "response_buffer_size",
    "retriable_statuses",
    "send",
    "service_name_matcher",
    values={"codec_client_type": ("HTTP1",)},
)
honours("envoy.type.v3.Int64Range", "start", "end")
honours("envoy.config.core.v3.HealthCheck.TcpHealthCheck", "proxy_protocol_config", "receive", "send")
honours("envoy.config.core.v3.ProxyProtocolConfig", "version")
honours("envoy.config.core.v3.HealthCheck.Payload", "text", "binary")


class FailureType(Enum):
    """`envoy.data.core.v3.HealthCheckFailureType`."""

    ACTIVE = 0
    """A bad answer."""
    PASSIVE = 1
    """An answer to a request said so."""
    NETWORK = 2
    NETWORK_TIMEOUT = 3


class HealthTransition(Enum):
    UNCHANGED = 0
    CHANGED = 1
    CHANGE_PENDING = 2
    """It will change if the next checks end like this one."""


class HealthCheckerStats(StatsStruct):
    """`cluster.NAME.health_check.*`."""

    USED_WITH = {"degraded": "", "healthy": ""}

    attempt: CounterValue
    degraded: GaugeValue
    failure: CounterValue
    healthy: GaugeValue
    network_failure: CounterValue
    passive_failure: CounterValue
    success: CounterValue
    verify_cluster: CounterValue


@record
class HealthCheckSettings:
    """What is common to every kind of check. Times are whole milliseconds, as in Envoy, whose jitter divides them."""

    timeout: int
    interval: int
    unhealthy_threshold: int = 1
    healthy_threshold: int = 1
    reuse_connection: bool = True
    no_traffic_interval: int = 60_000
    no_traffic_healthy_interval: int = 60_000
    unhealthy_interval: int = 0
    unhealthy_edge_interval: int = 0
    healthy_edge_interval: int = 0
    initial_jitter: int = 0
    interval_jitter: int = 0
    interval_jitter_percent: int = 0
    always_log_failures: bool = False
    always_log_success: bool = False

    @classmethod
    def from_proto(cls, config: Any) -> HealthCheckSettings:
        """From `envoy.config.core.v3.HealthCheck`."""

        def milliseconds(field: str, default: int) -> int:
            return int(duration_of(config, field, default / 1000) * 1000 + 1e-6)

        interval = milliseconds("interval", 0)
        no_traffic_interval = milliseconds("no_traffic_interval", 60_000)
        unhealthy_interval = milliseconds("unhealthy_interval", interval)
        return cls(
            timeout=milliseconds("timeout", 0),
            interval=interval,
            unhealthy_threshold=config.unhealthy_threshold.value,
            healthy_threshold=config.healthy_threshold.value,
            reuse_connection=config.reuse_connection.value if config.HasField("reuse_connection") else True,
            no_traffic_interval=no_traffic_interval,
            no_traffic_healthy_interval=milliseconds("no_traffic_healthy_interval", no_traffic_interval),
            unhealthy_interval=unhealthy_interval,
            unhealthy_edge_interval=milliseconds("unhealthy_edge_interval", unhealthy_interval),
            healthy_edge_interval=milliseconds("healthy_edge_interval", interval),
            initial_jitter=milliseconds("initial_jitter", 0),
            interval_jitter=milliseconds("interval_jitter", 0),
            interval_jitter_percent=config.interval_jitter_percent,
            always_log_failures=config.always_log_health_check_failures,
            always_log_success=config.always_log_health_check_success,
        )
