"""Connects a client to a host of a cluster and passes bytes both ways.

Envoy: `TcpProxy::Filter`, `TcpProxy::UpstreamDrainManager`; docs "TCP proxy".

    connecting   the client is not read; each failed attempt is followed by the next, up to `max_connect_attempts`
    connected    what one side sends goes to the other; a FIN ends one direction, two end both connections; a reset
                 of one side resets the other; who can not take more stops the reading of the other side
    flushing     the client is gone: what it had sent still goes upstream

Not implemented: `on_demand`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ....explain.explanation import NO_EXPLANATION, Explanation
from ....network.connection import (
    Connection,
    ConnectionCallbacks,
    ConnectionCloseType,
    ConnectionEvent,
    DetectedCloseType,
)
from ....network.filter import NETWORK_FILTERS, FilterStatus, NetworkFilterFactory, ReadFilter
from ....stream_info import AccessLogType, ConnectionInfo, ResponseFlag, StreamInfo
from ....upstream.conn_pool import PoolFailureReason
from ....upstream.host import Host
from ....upstream.tcp_conn_pool import PendingConnection, tcp_conn_pool
from .tcp_proxy_config import TYPE, TcpProxyConfig, TcpRoute
from .tcp_proxy_upstream import BULK_CHUNK, Upstream

if TYPE_CHECKING:
    from ....event.dispatcher import LazyTimer, Timer
    from ....http.header_map import RequestHeaderMap
    from ....server.factory_context import FactoryContext
    from ....upstream.cluster import Cluster
    from ....upstream.load_balancer import OverrideHost, RetryPriority
    from .tcp_proxy_tunnel import HttpUpstream

# `TcpProxy::UpstreamFailureReason`, as it stands in %DOWNSTREAM_LOCAL_CLOSE_REASON%, with Envoy's spelling.
CONNECT_FAILED, NO_HEALTHY_UPSTREAM, RESOURCE_LIMIT_EXCEEDED, NO_ROUTE = range(4)


PER_CONNECTION_CLUSTER: Final = "envoy.tcp_proxy.cluster"
"""In the filter state of a connection: the cluster that a filter before this one has chosen."""

DISABLE_TUNNELING: Final = "envoy.tcp_proxy.disable_tunneling"
"""Likewise: true for a connection that is to have no tunnel."""


class TcpProxyFilter(ReadFilter, ConnectionCallbacks):
    """The downstream side; it is also what the load balancer asks (`LoadBalancerContext`)."""

    explain: Explanation = NO_EXPLANATION
    _upstream: Upstream | HttpUpstream | None = None
    _connecting: PendingConnection | HttpUpstream | None = None
    _cluster: Cluster | None = None
    _idle_timer: LazyTimer | None = None
    _max_duration_timer: Timer | None = None
    _flush_timer: Timer | None = None
    _retry_timer: Timer | None = None
    _attempts = 0
    _early_data: bytes | None = None
    _early_end_stream = False
    _early_reading = True
    _splices_up = True
    """Bulk from the client need not pass through here."""

    def __init__(self, config: TcpProxyConfig) -> None:
        self._config = config
        self._stats = config.stats
        self._route = config.pick_route()

    # -- the client's side

    def initialize_read_filter_callbacks(self) -> None:
        config, connection = self._config, self.connection
        self._stats.downstream_cx_total += 1
        self.explain = connection.explain
        self._stream_info = self._describe(connection.stream_info)
        connection.half_close = True
        # Envoy flushes for as long as the client likes; here a client that takes nothing for that long is given up.
        connection.delayed_close_timeout = config.idle_timeout
        connection.add_callbacks(self)

    def on_new_connection(self) -> FilterStatus:
        config, connection = self._config, self.connection
        if config.max_duration:
            jitter = config.random.random() * config.max_duration_jitter / 100.0
            self._max_duration_timer = self._timer(self._on_max_duration, config.max_duration * (1.0 + jitter))
        if config.flush_interval and config.access_logs:
            self._flush_timer = self._timer(self._on_flush_interval, config.flush_interval)
        if config.idle_timeout:
            self._idle_timer = connection.dispatcher.create_lazy_timer(self._on_idle_timeout)
            self._idle_timer.enable(config.idle_timeout)
        if config.flush_on_start:
            self._log(AccessLogType.TCP_CONNECTION_START)
        if config.connect_on_data:
            self._early_data = b""
        else:
            connection.read_disable(True)
            self._establish_upstream_connection()
        return FilterStatus.STOP_ITERATION

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        upstream = self._upstream
        if upstream is None:
            self._on_early_data(data, end_stream)
            return FilterStatus.STOP_ITERATION
        size = len(data)
        self._stats.downstream_cx_rx_bytes_total += size
        upstream.stats.upstream_cx_tx_bytes_total += size
        upstream.write(data)
        if end_stream:
            upstream.connection.write_half_close()
        elif size >= BULK_CHUNK and self._splices_up:
            upstream.on_bulk_up(size)
        if self._idle_timer is not None:
            self._idle_timer.enable(self._config.idle_timeout)
        return FilterStatus.STOP_ITERATION

    def on_event(self, event: ConnectionEvent) -> None:
        if event is ConnectionEvent.CONNECTED:
            return
        for timer in (self._max_duration_timer, self._flush_timer, self._retry_timer):
            if timer is not None:
                timer.disable()
        if self._idle_timer is not None:
            self._idle_timer.close()
            self._idle_timer = None
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        if self.connection.bytes_kept_back:
            self._stats.downstream_cx_rx_bytes_total += self.connection.bytes_kept_back
        if self._upstream is not None:
            self._upstream.on_downstream_closed(event)
        self._tell_of_connection()
        self._stream_info.request_complete_time = self.connection.dispatcher.monotonic_time()
        if self._config.access_logs:
            # The listener's log comes first.
            self.connection.dispatcher.post(self._log_end)
        self._upstream = None
        explanations = self._config.context.server.explanations
        if explanations is not None:
            explanations.append(self.explain)

    def on_above_write_buffer_high_watermark(self) -> None:
        if self._upstream is not None:
            self._upstream.stats.upstream_flow_control_paused_reading_total += 1
            self._upstream.connection.read_disable(True)

    def on_below_write_buffer_low_watermark(self) -> None:
        if self._upstream is not None:
            self._upstream.stats.upstream_flow_control_resumed_reading_total += 1
            self._upstream.connection.read_disable(False)

    # -- finding an upstream connection

    def _establish_upstream_connection(self) -> None:
        named = self._stream_info.state(PER_CONNECTION_CLUSTER)
        if named is not None:
            self._route = TcpRoute(named, {})
        route = self._route
        cluster = self._cluster = self._config.context.server.cluster_manager.get(route.cluster_name)
        if cluster is None:
            self.explain.decided("cluster", route.cluster_name, "cluster_not_found")
            self._stats.downstream_cx_no_route += 1
            self._give_up(NO_ROUTE, ResponseFlag.NO_CLUSTER_FOUND)
            return
        stats = cluster.stats.traffic
        self._stream_info.upstream_cluster_name = cluster.name
        if cluster.observability_name != cluster.name:
            self._stream_info.upstream_cluster_alt_stat_name = cluster.observability_name
        self._stream_info.cluster_metadata = cluster.metadata
        if not self._attempts:
            self.explain.decided("cluster", cluster.name, "tcp_proxy")
            if self.explain is not NO_EXPLANATION:
                cluster.explain_endpoints(self.explain)
        if not cluster.resource_manager.connections.can_create:
            stats.upstream_cx_overflow += 1
            self._give_up(RESOURCE_LIMIT_EXCEEDED, ResponseFlag.UPSTREAM_OVERFLOW)
        elif self._attempts >= self._config.max_connect_attempts:
            stats.upstream_cx_connect_attempts_exceeded += 1
            self._give_up(CONNECT_FAILED, ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED)
        else:
            host = cluster.load_balancer.choose_host(self)
            if host is None:
                # Envoy's TCP proxy does not wait for a name to be looked up either; whoever comes next may find it.
                pending = cluster.await_host(self, lambda failure: None) if cluster.await_host is not None else None
                if callable(pending):
                    pending()
                else:
                    stats.upstream_cx_none_healthy += 1
                self._give_up(NO_HEALTHY_UPSTREAM, ResponseFlag.NO_HEALTHY_UPSTREAM)
                return
            if self._config.proxy_tlvs is not None and not self._attempts:
                self._config.proxy_tlvs.add_to(self.connection.info, self._stream_info)
            self._attempts += 1
            self._stream_info.attempt_count = self._attempts
            self._stream_info.attempted_hosts += (host,)
            now = self.connection.dispatcher.monotonic_time()
            self._stream_info.upstream_connect_start_time = self._stream_info.upstream_request_create_time = now
            tunneling = self._config.tunneling
            if tunneling is not None and not self._stream_info.state(DISABLE_TUNNELING):
                from .tcp_proxy_tunnel import HttpUpstream

                tunnel = HttpUpstream(self, tunneling, cluster, host)
                if tunnel.start():
                    self._connecting = tunnel
                return
            client = tcp_conn_pool(cluster, host).new_connection(self)
            if client is not None:
                self._connecting = client

    def on_pool_failure(self, reason: PoolFailureReason, failure_reason: str, host: Host) -> None:
        self._connecting = None
        info = self._stream_info
        info.upstream_connection_pool_ready_time = self.connection.dispatcher.monotonic_time()
        if reason is not PoolFailureReason.OVERFLOW:
            if host.outlier is not None:
                if reason is PoolFailureReason.TIMEOUT:
                    host.outlier.put_timeout()
                else:
                    host.outlier.put_connect_failure()
            info.upstream_host = host
            info.upstream_transport_failure_reason = failure_reason
        if reason in (PoolFailureReason.REMOTE_CONNECTION_FAILURE, PoolFailureReason.TIMEOUT):
            info.set_response_flag(ResponseFlag.UPSTREAM_CONNECTION_FAILURE)
        if self.explain is not NO_EXPLANATION:
            self.explain.decided("connection", host, failure_reason or reason.name.lower())
        backoff = self._config.backoff
        if backoff is None or self._attempts >= self._config.max_connect_attempts:
            self._establish_upstream_connection()
            return
        ceiling = min(backoff[0] * 2.0 ** (self._attempts - 1), backoff[1])
        self._retry_timer = self._timer(self._establish_upstream_connection, self._config.random.random() * ceiling)

    def on_pool_ready(self, connection: Connection, host: Host) -> None:
        assert self._cluster is not None
        self._on_connected(connection.info, host)
        upstream = Upstream(self, connection, host.cluster or self._cluster, self._config, self._idle_timer)
        self._upstream = upstream
        # What its transport socket has sent before anything of ours.
        upstream.stats.upstream_cx_tx_bytes_total += connection.bytes_sent
        connection.add_callbacks(upstream)
        connection.add_read_filter(upstream)
        self._begin(upstream)

    def on_tunnel_ready(self, tunnel: HttpUpstream, host: Host) -> None:
        """The upstream has granted it."""
        self._on_connected(tunnel.info, host)
        self._upstream = tunnel
        self._begin(tunnel)

    def _on_connected(self, connection: ConnectionInfo, host: Host) -> None:
        self._connecting = None
        info = self._stream_info
        if self.explain is not NO_EXPLANATION:
            self.explain.decided("connection", host, "new")
        if host.outlier is not None:
            host.outlier.put_connected_finally()
        info.upstream_host = host
        info.attempted_connection_ids += (connection.id,)
        info.upstream_connection = connection
        ssl, now = connection.ssl, self.connection.dispatcher.monotonic_time()
        info.upstream_connect_complete_time = now if ssl is None else ssl.connected_time
        info.upstream_connection_pool_ready_time = now
        if self._idle_timer is not None:
            self._idle_timer.enable(self._config.idle_timeout)

    def _begin(self, upstream: Upstream | HttpUpstream) -> None:
        """Pass on what the client has to say."""
        early, self._early_data = self._early_data, None
        if early is None:
            self.connection.read_disable(False)
        else:
            self._release_early_data(upstream, early)
        if self._config.flush_on_connected:
            self._log(AccessLogType.TCP_UPSTREAM_CONNECTED)

    def on_upstream_closed(self, connection: Connection) -> None:
        """The upstream connection has ended, not because the client's did."""
        if self._idle_timer is not None:
            self._idle_timer.close()
            self._idle_timer = None
        if connection.detected_close_type is DetectedCloseType.REMOTE_RESET:
            self._stream_info.set_response_flag(ResponseFlag.UPSTREAM_REMOTE_RESET)
            self.connection.close(ConnectionCloseType.ABORT_RESET)
        else:
            self.connection.close(ConnectionCloseType.FLUSH_WRITE)

    # -- from a tunnel

    def on_tunnel_data(self, data: bytes) -> None:
        self._stats.downstream_cx_tx_bytes_total += len(data)
        self.connection.write(data)
        if self._idle_timer is not None:
            self._idle_timer.enable(self._config.idle_timeout)

    def on_tunnel_closed(self, reset: bool) -> None:
        """It has ended, not because the client's connection did."""
        if self._idle_timer is not None:
            self._idle_timer.close()
            self._idle_timer = None
        if reset:
            self._stream_info.set_response_flag(ResponseFlag.UPSTREAM_REMOTE_RESET)
        self.connection.close(ConnectionCloseType.ABORT_RESET if reset else ConnectionCloseType.FLUSH_WRITE)

    # -- what a load balancer asks

    host_selection_retries = 0
    retry_priority: RetryPriority | None = None

    def compute_hash_key(self) -> int | None:
        hash_ = self._config.hash_method
        return None if hash_ is None else hash_(self._stream_info)

    def should_select_another_host(self, host: Host) -> bool:
        return False

    def metadata_match_criteria(self) -> Any:
        return self._route.metadata_match.get("envoy.lb")

    def override_host(self) -> OverrideHost | None:
        return None

    def downstream_headers(self) -> RequestHeaderMap | None:
        return None

    def request_stream_info(self) -> StreamInfo | None:
        return self._stream_info

    def add_set_cookie(self, value: bytes) -> None:
        """A TCP connection has no cookies."""

    # -- inside

    def _on_early_data(self, data: bytes, end_stream: bool) -> None:
        """Bytes of the client while there is no upstream connection (`upstream_connect_mode`)."""
        if self._early_data is None or self.connection.closed:
            return
        self._stats.downstream_cx_rx_bytes_total += len(data)
        if data or not self._early_data:
            self._stats.early_data_received_count_total += 1
        first = bool(data) and not self._early_data  # a FIN alone is nothing to connect for
        self._early_data += data
        self._early_end_stream = self._early_end_stream or end_stream
        if len(self._early_data) > self._config.max_early_data and self._early_reading:
            self._early_reading = False
            self.connection.read_disable(True)
        if first:
            self._establish_upstream_connection()

    def _release_early_data(self, upstream: Upstream | HttpUpstream, early: bytes) -> None:
        upstream.stats.upstream_cx_tx_bytes_total += len(early)
        upstream.write(early)
        if self._early_end_stream:
            upstream.connection.write_half_close()
        if not self._early_reading:
            self.connection.read_disable(False)

    def _describe(self, info: StreamInfo) -> StreamInfo:
        context, dispatcher = self._config.context, self.connection.dispatcher
        info.start_time = dispatcher.wall_time()
        info.start_monotonic = dispatcher.monotonic_time()
        info.listener_name = context.listener_name
        info.traffic_direction = context.traffic_direction
        info.filter_chain_name = self.connection.filter_chain_name
        info.upstream_detected_close_type = DetectedCloseType.NORMAL.value
        return info

    def _timer(self, callback: Callable[[], None], delay: float) -> Timer:
        timer = self.connection.dispatcher.create_timer(callback)
        timer.enable(delay)
        return timer

    def _give_up(self, reason: int, flag: int) -> None:
        self._stream_info.set_response_flag(flag)
        self.connection.close(ConnectionCloseType.NO_FLUSH, f"tcp_initializion_failure:{reason}")

    def _on_idle_timeout(self) -> None:
        self._stats.idle_timeout += 1
        self.connection.close(ConnectionCloseType.NO_FLUSH, "tcp_session_idle_timeout")

    def _on_max_duration(self) -> None:
        self._stats.max_downstream_connection_duration += 1
        self._stream_info.set_response_flag(ResponseFlag.DURATION_TIMEOUT)
        self.connection.close(ConnectionCloseType.NO_FLUSH, "max_connection_duration_reached")

    def _on_flush_interval(self) -> None:
        self._log(AccessLogType.TCP_PERIODIC)
        if self._flush_timer is not None:
            self._flush_timer.enable(self._config.flush_interval)

    def _log(self, kind: str) -> None:
        if self._config.access_logs:
            self._tell_of_connection()
            self._write(kind)

    def _log_end(self) -> None:
        self._write(AccessLogType.TCP_CONNECTION_END)

    def _write(self, kind: str) -> None:
        for access_log in self._config.access_logs:
            access_log.log(None, None, None, self._stream_info, kind)

    def _tell_of_connection(self) -> None:
        info, connection = self._stream_info, self.connection
        info.bytes_received = info.downstream_wire_bytes_received = connection.bytes_received
        info.bytes_sent = info.downstream_wire_bytes_sent = connection.bytes_sent
        info.downstream_local_close_reason = connection.local_close_reason
        info.downstream_detected_close_type = connection.detected_close_type.value
        if self._upstream is not None:
            self._upstream.describe(info)


@NETWORK_FILTERS.register("envoy.filters.network.tcp_proxy", TYPE)
def create_tcp_proxy_filter(config: Any, context: FactoryContext) -> NetworkFilterFactory:
    settings = TcpProxyConfig.from_proto(config, context)
    overload = context.overload
    if overload is None:
        return lambda: TcpProxyFilter(settings)
    from .tcp_proxy_shedding import SheddingTcpProxyFilter

    return lambda: SheddingTcpProxyFilter(settings, overload)
