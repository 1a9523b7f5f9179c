"""What `cluster.NAME.*` counts.

Envoy: `envoy/upstream/upstream.h` (`ALL_CLUSTER_TRAFFIC_STATS`, `ALL_CLUSTER_LB_STATS`, `ALL_CLUSTER_ENDPOINT_STATS`,
`ALL_CLUSTER_CONFIG_UPDATE_STATS`, `ALL_CLUSTER_CIRCUIT_BREAKERS_STATS`), `ALL_CLUSTER_MANAGER_STATS`.

Counts by response code, and `upstream_rq_time`, are not here: `http.code_stats.CodeStats` makes them when they happen,
and adds what `upstream_rq_completed` shows; leave that one alone. The codec's stats (`cluster.NAME.http1.*`) are
`http.codec_stats`.
"""

from __future__ import annotations

from minienvoy.http.code_stats import CodeStats
from minienvoy.http.codec_stats import Http1CodecStats, Http2CodecStats
from minienvoy.stats.histogram import Histogram, MillisecondsHistogram
from minienvoy.stats.store import CounterValue, GaugeValue, Scope, StatsStruct


class ClusterTrafficStats(StatsStruct):
    """`cluster.NAME.*` about connections and requests."""

    USED_WITH = {
        "upstream_cx_active": "upstream_cx_total",
        "upstream_cx_rx_bytes_buffered": lambda traffic: traffic.upstream_cx_total > traffic.upstream_cx_connect_fail,
        "upstream_rq_active": "upstream_rq_total",
        "upstream_rq_pending_active": "upstream_rq_pending_total",
    }

    bind_errors: CounterValue
    original_dst_host_invalid: CounterValue
    retry_or_shadow_abandoned: CounterValue
    upstream_cx_active: GaugeValue
    upstream_cx_close_notify: CounterValue
    upstream_cx_connect_attempts_exceeded: CounterValue
    upstream_cx_connect_fail: CounterValue
    upstream_cx_connect_ms: MillisecondsHistogram
    upstream_cx_connect_timeout: CounterValue
    upstream_cx_connect_with_0_rtt: CounterValue
    upstream_cx_destroy: CounterValue
    upstream_cx_destroy_local: CounterValue
    upstream_cx_destroy_local_with_active_rq: CounterValue
    upstream_cx_destroy_remote: CounterValue
    upstream_cx_destroy_remote_with_active_rq: CounterValue
    upstream_cx_destroy_with_active_rq: CounterValue
    upstream_cx_http1_total: CounterValue
    upstream_cx_http2_total: CounterValue
    upstream_cx_http3_total: CounterValue
    upstream_cx_idle_timeout: CounterValue
    upstream_cx_length_ms: MillisecondsHistogram
    upstream_cx_max_duration_reached: CounterValue
    upstream_cx_max_requests: CounterValue
    upstream_cx_none_healthy: CounterValue
    upstream_cx_overflow: CounterValue
    upstream_cx_pool_overflow: CounterValue
    upstream_cx_preconnect_skipped: CounterValue
    upstream_cx_protocol_error: CounterValue
    upstream_cx_rx_bytes_buffered: GaugeValue
    upstream_cx_rx_bytes_total: CounterValue
    upstream_cx_total: CounterValue
    upstream_cx_tx_bytes_buffered: GaugeValue
    upstream_cx_tx_bytes_total: CounterValue
    upstream_flow_control_backed_up_total: CounterValue
    upstream_flow_control_drained_total: CounterValue
    upstream_flow_control_paused_reading_total: CounterValue
    upstream_flow_control_resumed_reading_total: CounterValue
    upstream_http3_broken: CounterValue
    upstream_internal_redirect_failed_total: CounterValue
    upstream_internal_redirect_succeeded_total: CounterValue
    upstream_queue_overloaded: GaugeValue
    upstream_rq_0rtt: CounterValue
    upstream_rq_active: GaugeValue
    upstream_rq_active_overflow: CounterValue
    upstream_rq_cancelled: CounterValue
    upstream_rq_completed: CounterValue
    upstream_rq_maintenance_mode: CounterValue
    upstream_rq_max_duration_reached: CounterValue
    upstream_rq_pending_active: GaugeValue
    upstream_rq_pending_failure_eject: CounterValue
    upstream_rq_pending_overflow: CounterValue
    upstream_rq_pending_total: CounterValue
    upstream_rq_per_cx: Histogram
    upstream_rq_per_try_idle_timeout: CounterValue
    upstream_rq_per_try_timeout: CounterValue
    upstream_rq_retry: CounterValue
    upstream_rq_retry_backoff_exponential: CounterValue
    upstream_rq_retry_backoff_ratelimited: CounterValue
    upstream_rq_retry_limit_exceeded: CounterValue
    upstream_rq_retry_overflow: CounterValue
    upstream_rq_retry_success: CounterValue
    upstream_rq_rx_reset: CounterValue
    upstream_rq_rx_reset_no_error: CounterValue
    upstream_rq_timeout: CounterValue
    upstream_rq_total: CounterValue
    upstream_rq_tx_reset: CounterValue


class ClusterLbStats(StatsStruct):
    """`cluster.NAME.lb_*`."""

    lb_healthy_panic: CounterValue
    lb_local_cluster_not_ok: CounterValue
    lb_recalculate_zone_structures: CounterValue
    lb_subsets_active: GaugeValue
    lb_subsets_created: CounterValue
    lb_subsets_fallback: CounterValue
    lb_subsets_fallback_panic: CounterValue
    lb_subsets_removed: CounterValue
    lb_subsets_selected: CounterValue
    lb_zone_cluster_too_small: CounterValue
    lb_zone_no_capacity_left: CounterValue
    lb_zone_routing_all_directly: CounterValue
    lb_zone_routing_cross_zone: CounterValue
    lb_zone_routing_sampled: CounterValue


class ClusterEndpointStats(StatsStruct):
    """`cluster.NAME.membership_*`."""

    USED_WITH = {
        "membership_degraded": "membership_change",
        "membership_excluded": "membership_change",
        "membership_healthy": "membership_change",
        "membership_total": "membership_change",
    }

    max_host_weight: GaugeValue
    membership_change: CounterValue
    membership_degraded: GaugeValue
    membership_excluded: GaugeValue
    membership_healthy: GaugeValue
    membership_total: GaugeValue


class ClusterConfigUpdateStats(StatsStruct):
    """`cluster.NAME.update_*` and what else is told of discovery."""

    USED_WITH = {
        "warming_state": "",
    }

    assignment_stale: CounterValue
    assignment_timeout_received: CounterValue
    assignment_use_cached: CounterValue
    update_attempt: CounterValue
    update_empty: CounterValue
    update_failure: CounterValue
    update_no_rebuild: CounterValue
    update_success: CounterValue
    version: GaugeValue
    warming_state: GaugeValue


class TransportSocketMatchStats(StatsStruct):
    """`cluster.NAME.default.*`: how often the cluster's own transport socket was chosen for a host."""

    total_match_count: CounterValue


def _had_http_pools(traffic: ClusterTrafficStats) -> bool:
    return bool(traffic.upstream_cx_http1_total or traffic.upstream_cx_http2_total)


class ClusterCircuitBreakersStats(StatsStruct):
    """`cluster.NAME.circuit_breakers.{default,high}.*`: 1 while the limit is reached.

    Taken with `used_with=` the cluster's traffic stats.
    """

    USED_WITH = {
        "cx_open": "upstream_cx_total",
        "cx_pool_open": _had_http_pools,
        "rq_open": "upstream_rq_total",
        "rq_pending_open": "upstream_cx_total",
        "rq_retry_open": "upstream_rq_retry",
    }

    cx_open: GaugeValue
    cx_pool_open: GaugeValue
    rq_open: GaugeValue
    rq_pending_open: GaugeValue
    rq_retry_open: GaugeValue


class HighPriorityCircuitBreakersStats(ClusterCircuitBreakersStats):
    """`cluster.NAME.circuit_breakers.high.*`: the pools of a host are taken down for both priorities together."""

    USED_WITH = {
        "cx_pool_open": lambda traffic: (
            traffic.upstream_cx_destroy > 0 and not traffic.upstream_cx_active and _had_http_pools(traffic)
        )
    }


class ClusterManagerStats(StatsStruct):
    """`cluster_manager.*`."""

    USED_WITH = {
        "active_clusters": "",
        "warming_clusters": "",
    }

    active_clusters: GaugeValue
    cluster_added: CounterValue
    cluster_modified: CounterValue
    cluster_removed: CounterValue
    cluster_updated: CounterValue
    cluster_updated_via_merge: CounterValue
    update_merge_cancelled: CounterValue
    update_out_of_merge_window: CounterValue
    warming_clusters: GaugeValue


class ThreadLocalClusterManagerStats(StatsStruct):
    """`thread_local_cluster_manager.{main_thread,worker_N}.*`."""

    USED_WITH = {
        "clusters_inflated": "",
    }

    clusters_inflated: GaugeValue


class RequestResponseSizeStats(StatsStruct):
    """`cluster.NAME.*`, if `track_cluster_stats.request_response_sizes` is set; bytes."""

    upstream_rq_body_size: Histogram
    upstream_rq_headers_count: Histogram
    upstream_rq_headers_size: Histogram
    upstream_rs_body_size: Histogram
    upstream_rs_headers_count: Histogram
    upstream_rs_headers_size: Histogram


class TimeoutBudgetStats(StatsStruct):
    """`cluster.NAME.*`, if `track_cluster_stats.timeout_budgets` is set; percent."""

    upstream_rq_timeout_budget_per_try_percent_used: Histogram
    upstream_rq_timeout_budget_percent_used: Histogram


class UdpClusterStats(StatsStruct):
    """`cluster.NAME.udp.*`, of a cluster that a UDP proxy sends to."""

    sess_rx_datagrams: CounterValue
    sess_rx_datagrams_dropped: CounterValue
    sess_rx_errors: CounterValue
    sess_tunnel_buffer_overflow: CounterValue
    sess_tunnel_failure: CounterValue
    sess_tunnel_success: CounterValue
    sess_tx_datagrams: CounterValue
    sess_tx_errors: CounterValue


class ClusterStats:
    """What every cluster takes under `cluster.NAME.`."""

    __slots__ = (
        "_alternative_codes",
        "_http1",
        "_http2",
        "_udp",
        "circuit_breakers",
        "codes",
        "config_update",
        "endpoint",
        "lb",
        "scope",
        "traffic",
        "transport_socket",
    )

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.traffic = scope.struct(ClusterTrafficStats)
        self.lb = scope.struct(ClusterLbStats)
        self.endpoint = scope.struct(ClusterEndpointStats)
        self.config_update = scope.struct(ClusterConfigUpdateStats)
        self.transport_socket = scope.scope("default").struct(TransportSocketMatchStats)
        self.circuit_breakers: tuple[ClusterCircuitBreakersStats, ClusterCircuitBreakersStats] = (
            scope.scope("circuit_breakers.default").struct(ClusterCircuitBreakersStats, used_with=self.traffic),
            scope.scope("circuit_breakers.high").struct(HighPriorityCircuitBreakersStats, used_with=self.traffic),
        )
        """By priority: default, high."""
        self.codes = CodeStats(scope)
        self._alternative_codes: dict[str, CodeStats] = {}
        self._http1: Http1CodecStats | None = None
        self._http2: Http2CodecStats | None = None
        self._udp: UdpClusterStats | None = None

    def alternative_codes(self, name: str) -> CodeStats:
        """A second set, which requests may name."""
        codes = self._alternative_codes.get(name)
        if codes is None:
            codes = self._alternative_codes[name] = CodeStats(self.scope.scope(name))
        return codes

    def http1(self) -> Http1CodecStats:
        """Of the cluster's HTTP/1 connections; they exist from the first call on."""
        if self._http1 is None:
            self._http1 = self.scope.scope("http1").struct(Http1CodecStats)
        return self._http1

    def http2(self) -> Http2CodecStats:
        """Of the cluster's HTTP/2 connections; they exist from the first call on."""
        if self._http2 is None:
            self._http2 = self.scope.scope("http2").struct(Http2CodecStats)
        return self._http2

    def udp(self) -> UdpClusterStats:
        """Of the sessions of UDP proxies with the cluster; they exist from the first call on."""
        if self._udp is None:
            self._udp = self.scope.scope("udp").struct(UdpClusterStats)
        return self._udp
