"""How the hosts of a cluster are known to be well: active checks, outlier detection, and what follows from either.

Envoy: `ClusterImplBase::setHealthChecker`, `setOutlierDetector`, `reloadHealthyHosts`, and the callbacks that
`ClusterManagerImpl` adds to both; docs "Cluster warming".

A cluster with checks is ready when each of its first hosts has been checked once. A host that fails loses its
connections: idle ones now, busy ones after their streams.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..config.fields import honours
from .health_transition import HealthTransition
from .host import HealthFlag, Host

if TYPE_CHECKING:
    from ..event.dispatcher import Timer
    from .cluster import Cluster, ClusterContext
    from .health_checker import HealthChecker
    from .health_checker_group import HealthCheckerGroup
    from .outlier_detection import OutlierDetector

# Declared here for what is imported only when a cluster asks for it: most have neither checks nor outlier detection.
honours(
    "envoy.config.core.v3.HealthCheck",
    "always_log_health_check_failures",
    "always_log_health_check_success",
    "custom_health_check",
    "event_log_path",
    "event_logger",
    "grpc_health_check",
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
    "tls_options",
    "unhealthy_edge_interval",
    "unhealthy_interval",
    "unhealthy_threshold",
    ignored={
        "alt_port": "Envoy does not use it either",
        "event_service": "Envoy does not use it either",
    },
    whole=("transport_socket_match_criteria",),
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
    "use_alpn_protocol",
    values={"codec_client_type": ("HTTP1", "HTTP2")},
)
honours("envoy.config.core.v3.HealthCheck.GrpcHealthCheck", "authority", "initial_metadata", "service_name")
honours("envoy.config.core.v3.HealthCheck.TlsOptions", "alpn_protocols")
honours("envoy.type.v3.Int64Range", "start", "end")
honours("envoy.config.core.v3.HealthCheck.TcpHealthCheck", "proxy_protocol_config", "receive", "send")
honours("envoy.config.core.v3.ProxyProtocolConfig", "version")
honours("envoy.config.core.v3.HealthCheck.Payload", "text", "binary")
honours(
    "envoy.config.cluster.v3.OutlierDetection",
    "always_eject_one_host",
    "base_ejection_time",
    "consecutive_5xx",
    "consecutive_gateway_failure",
    "consecutive_local_origin_failure",
    "detect_degraded_hosts",
    "enforcing_consecutive_5xx",
    "enforcing_consecutive_gateway_failure",
    "enforcing_consecutive_local_origin_failure",
    "enforcing_failure_percentage",
    "enforcing_failure_percentage_local_origin",
    "enforcing_local_origin_success_rate",
    "enforcing_success_rate",
    "failure_percentage_minimum_hosts",
    "failure_percentage_request_volume",
    "failure_percentage_threshold",
    "interval",
    "max_ejection_percent",
    "max_ejection_time",
    "max_ejection_time_jitter",
    "split_external_local_origin_errors",
    "success_rate_minimum_hosts",
    "success_rate_request_volume",
    "success_rate_stdev_factor",
    "successful_active_health_check_uneject_host",
    whole=("monitors",),
)

MANY_HOSTS: Final = 256
"""Above this many in a priority, changes of one tick are counted together: making a set takes its time."""


class ClusterHealth:
    """Attributes:
    checker: None if hosts are not checked.
    detector: None if nobody looks for outliers.
    initial_flags: what a host that is checked begins with.
    """

    __slots__ = (
        "_close_connections",
        "_cluster",
        "_on_initialized",
        "_refresh_timer",
        "_stale",
        "_unchecked",
        "checker",
        "detector",
        "initial_flags",
    )

    def __init__(self, cluster: Cluster, config: Any, context: ClusterContext) -> None:
        """Raises ConfigError: below `context.path`."""
        self._cluster = cluster
        self._close_connections: bool = config.close_connections_on_host_health_failure
        self._on_initialized: Callable[[], None] | None = None
        self._unchecked = 0
        self._stale: set[int] = set()
        self._refresh_timer: Timer | None = None
        self.initial_flags = 0
        self.checker = self._create_checker(config, context) if config.health_checks else None
        if self.checker is not None:
            self.initial_flags = HealthFlag.FAILED_ACTIVE_HC
            if config.common_lb_config.ignore_new_hosts_until_first_hc:
                self.initial_flags |= HealthFlag.PENDING_ACTIVE_HC
            self.checker.add_host_check_complete_callback(self._on_check_complete)
        self.detector: OutlierDetector | None = None
        if config.HasField("outlier_detection"):
            from .outlier_detection import create_outlier_detector

            self.detector = create_outlier_detector(config.outlier_detection, cluster, context)
        if self.detector is not None:
            self.detector.add_changed_state_callback(self._on_outlier_changed)
            if self.checker is not None:
                self.checker.add_host_check_complete_callback(self.detector.on_check_complete)
        if self.checker is not None:
            self.checker.add_host_check_complete_callback(self._on_host_failed)

    def _create_checker(self, config: Any, context: ClusterContext) -> HealthChecker | HealthCheckerGroup:
        from .health_checker import HealthCheckerContext, create_health_checkers

        cluster = self._cluster
        checkers = create_health_checkers(
            config.health_checks,
            HealthCheckerContext(
                cluster,
                context.dispatcher,
                context.random.stream(f"cluster.{cluster.name}.health_check"),
                context.runtime,
                journal=context.journal,
                path=f"{context.path}.health_checks",
            ),
            context.access_logs,
        )
        if len(checkers) == 1:
            return checkers[0]
        from .health_checker_group import HealthCheckerGroup

        return HealthCheckerGroup(checkers, cluster.priority_set, cluster.stats.scope)

    def start(self, on_initialized: Callable[[], None]) -> None:
        """The first hosts are known: check them; `on_initialized` is called when each has been checked once."""
        checker = self.checker
        if checker is None or checker.started:
            on_initialized()
            return
        self._unchecked = sum(not host.disable_active_health_check for host in self._cluster.priority_set.hosts())
        if self._unchecked:
            self._on_initialized = on_initialized
            checker.start()
        else:
            checker.start()
            on_initialized()

    def stop(self) -> None:
        self._on_initialized = None
        if self._refresh_timer is not None:
            self._refresh_timer.disable()
        if self.checker is not None:
            self.checker.stop()
        if self.detector is not None:
            self.detector.stop()

    def on_host_changed(self, host: Host) -> None:
        """Its flags are others now: who chooses hosts must know."""
        priority_set = self._cluster.priority_set
        if len(priority_set.host_sets[host.priority].hosts) <= MANY_HOSTS:
            priority_set.refresh_health(host.priority)
            return
        self._stale.add(host.priority)
        if self._refresh_timer is None:
            self._refresh_timer = self._cluster.dispatcher.create_timer(self._refresh_stale)
        if not self._refresh_timer.enabled:
            self._refresh_timer.enable(0.0)

    def on_immediate_failure(self, host: Host) -> None:
        """An answer to a request had `x-envoy-immediate-health-check-fail`."""
        if self.checker is not None:
            self.checker.set_unhealthy(host)

    # -- inside

    def _refresh_stale(self) -> None:
        stale, self._stale = self._stale, set()
        for priority in sorted(stale):
            self._cluster.priority_set.refresh_health(priority)

    def _on_check_complete(self, host: Host, change: HealthTransition, succeeded: bool) -> None:
        if change is HealthTransition.CHANGED:
            flags = host.health_flags
            if flags & HealthFlag.PENDING_DYNAMIC_REMOVAL and flags & HealthFlag.FAILED_ACTIVE_HC:
                self._cluster.remove_host(host)
            else:
                self.on_host_changed(host)
        if self._unchecked:
            self._unchecked -= 1
            if not self._unchecked:
                self._refresh_all()
                callback, self._on_initialized = self._on_initialized, None
                if callback is not None:
                    callback()

    def _refresh_all(self) -> None:
        """A host may have been excluded without a change of its health."""
        if self._refresh_timer is not None:
            self._refresh_timer.disable()
        self._stale.update(range(len(self._cluster.priority_set.host_sets)))
        self._refresh_stale()

    def _on_host_failed(self, host: Host, change: HealthTransition, succeeded: bool) -> None:
        if change is HealthTransition.CHANGED and host.health_flags & HealthFlag.FAILED_ACTIVE_HC:
            self._drain_connections(host)

    def _on_outlier_changed(self, host: Host) -> None:
        self.on_host_changed(host)
        if host.health_flags & HealthFlag.FAILED_OUTLIER_CHECK:
            self._drain_connections(host)

    def _drain_connections(self, host: Host) -> None:
        for pool in tuple(host.http_pools.values()):
            pool.drain_connections()
        if self._close_connections:
            for pool in tuple(host.tcp_pools.values()):
                pool.close()
