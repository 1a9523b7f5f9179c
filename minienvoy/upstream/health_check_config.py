"""What a health check is told, and what it counts.

Envoy: `envoy.config.core.v3.HealthCheck`, `HealthCheckerStats`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..record import record
from ..stats.store import CounterValue, GaugeValue, StatsStruct
from .duration import duration_of
from .load_assignment import plain_struct


class HealthCheckerStats(StatsStruct):
    """`cluster.NAME.health_check.*`."""

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
    """What is common to every kind of check. Times are whole milliseconds, as in Envoy, whose jitter divides them.

    Attributes:
        alpn_protocols: what a connection that speaks TLS offers, instead of the cluster's; empty for that.
        transport_socket_criteria: what chooses the transport socket, instead of the host's metadata; None for that.
    """

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
    alpn_protocols: tuple[str, ...] = ()
    transport_socket_criteria: Mapping[str, Any] | None = None

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
            alpn_protocols=tuple(
                name for name in config.tls_options.alpn_protocols if 0 < len(name) < 256 and name.isascii()
            ),
            transport_socket_criteria=(
                plain_struct(config.transport_socket_match_criteria)
                if config.HasField("transport_socket_match_criteria")
                else None
            ),
        )
