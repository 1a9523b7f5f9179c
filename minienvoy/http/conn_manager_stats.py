"""What an HTTP connection manager and its router count: `http.PREFIX.*` and `listener.ADDRESS.http.PREFIX.*`.

Envoy: `source/common/http/conn_manager_config.h` (`ALL_HTTP_CONN_MAN_STATS`, `CONN_MAN_TRACING_STATS`,
`CONN_MAN_LISTENER_STATS`), `source/common/router/router.h` (`ALL_ROUTER_STATS`).
"""

from __future__ import annotations

from minienvoy.stats.histogram import MillisecondsHistogram
from minienvoy.stats.store import CounterValue, GaugeValue, StatsStruct


class ConnectionManagerStats(StatsStruct):
    """`http.PREFIX.*`; also `http.admin.*`."""

    USED_WITH = {
        "downstream_cx_active": "downstream_cx_total",
        "downstream_cx_http1_active": "downstream_cx_http1_total",
        "downstream_cx_http2_active": "downstream_cx_http2_total",
        "downstream_cx_http3_active": "downstream_cx_http3_total",
        "downstream_cx_rx_bytes_buffered": "downstream_cx_total",
        "downstream_cx_ssl_active": "downstream_cx_ssl_total",
        "downstream_cx_upgrades_active": "downstream_cx_upgrades_total",
        "downstream_rq_active": "downstream_rq_total",
    }

    downstream_cx_active: GaugeValue
    downstream_cx_delayed_close_timeout: CounterValue
    downstream_cx_destroy: CounterValue
    downstream_cx_destroy_active_rq: CounterValue
    downstream_cx_destroy_local: CounterValue
    downstream_cx_destroy_local_active_rq: CounterValue
    downstream_cx_destroy_remote: CounterValue
    downstream_cx_destroy_remote_active_rq: CounterValue
    downstream_cx_drain_close: CounterValue
    downstream_cx_http1_active: GaugeValue
    downstream_cx_http1_soft_drain: GaugeValue
    downstream_cx_http1_total: CounterValue
    downstream_cx_http2_active: GaugeValue
    downstream_cx_http2_total: CounterValue
    downstream_cx_http3_active: GaugeValue
    downstream_cx_http3_total: CounterValue
    downstream_cx_idle_timeout: CounterValue
    downstream_cx_length_ms: MillisecondsHistogram
    downstream_cx_max_duration_reached: CounterValue
    downstream_cx_max_requests_reached: CounterValue
    downstream_cx_overload_disable_keepalive: CounterValue
    downstream_cx_protocol_error: CounterValue
    downstream_cx_rx_bytes_buffered: GaugeValue
    downstream_cx_rx_bytes_total: CounterValue
    downstream_cx_ssl_active: GaugeValue
    downstream_cx_ssl_total: CounterValue
    downstream_cx_total: CounterValue
    downstream_cx_tx_bytes_buffered: GaugeValue
    downstream_cx_tx_bytes_total: CounterValue
    downstream_cx_upgrades_active: GaugeValue
    downstream_cx_upgrades_total: CounterValue
    downstream_flow_control_paused_reading_total: CounterValue
    downstream_flow_control_resumed_reading_total: CounterValue
    downstream_rq_1xx: CounterValue
    downstream_rq_2xx: CounterValue
    downstream_rq_3xx: CounterValue
    downstream_rq_4xx: CounterValue
    downstream_rq_5xx: CounterValue
    downstream_rq_active: GaugeValue
    downstream_rq_completed: CounterValue
    downstream_rq_failed_path_normalization: CounterValue
    downstream_rq_header_timeout: CounterValue
    downstream_rq_http1_total: CounterValue
    downstream_rq_http2_total: CounterValue
    downstream_rq_http3_total: CounterValue
    downstream_rq_idle_timeout: CounterValue
    downstream_rq_max_duration_reached: CounterValue
    downstream_rq_non_relative_path: CounterValue
    downstream_rq_overload_close: CounterValue
    downstream_rq_redirected_with_normalized_path: CounterValue
    downstream_rq_rejected_via_ip_detection: CounterValue
    downstream_rq_response_before_rq_complete: CounterValue
    downstream_rq_rx_reset: CounterValue
    downstream_rq_time: MillisecondsHistogram
    downstream_rq_timeout: CounterValue
    downstream_rq_too_large: CounterValue
    downstream_rq_too_many_premature_resets: CounterValue
    downstream_rq_total: CounterValue
    downstream_rq_tx_reset: CounterValue
    downstream_rq_ws_on_non_ws_route: CounterValue
    rs_too_large: CounterValue


class ConnectionManagerTracingStats(StatsStruct):
    """`http.PREFIX.tracing.*`."""

    client_enabled: CounterValue
    health_check: CounterValue
    not_traceable: CounterValue
    random_sampling: CounterValue
    service_forced: CounterValue


class ConnectionManagerListenerStats(StatsStruct):
    """`listener.ADDRESS.http.PREFIX.*`."""

    downstream_rq_1xx: CounterValue
    downstream_rq_2xx: CounterValue
    downstream_rq_3xx: CounterValue
    downstream_rq_4xx: CounterValue
    downstream_rq_5xx: CounterValue
    downstream_rq_completed: CounterValue


class RouterStats(StatsStruct):
    """`http.PREFIX.*` of the router filter; `http.async-client.*` for requests Envoy makes itself."""

    no_cluster: CounterValue
    no_route: CounterValue
    passthrough_internal_redirect_bad_location: CounterValue
    passthrough_internal_redirect_no_route: CounterValue
    passthrough_internal_redirect_predicate: CounterValue
    passthrough_internal_redirect_too_many_redirects: CounterValue
    passthrough_internal_redirect_unsafe_scheme: CounterValue
    rq_direct_response: CounterValue
    rq_overload_local_reply: CounterValue
    rq_redirect: CounterValue
    rq_reset_after_downstream_response_started: CounterValue
    rq_total: CounterValue
