"""What is told of a stream: to the access logs, and to formats that ask while it goes on.

Envoy: `ConnectionManagerImpl::ActiveStream::log`, and the many places that fill `StreamInfo` in. Here most is found out
when somebody asks, which for most requests is once, at their end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..stream_info import AccessLogType, ResponseFlag
from .filter_manager import FilterManager

if TYPE_CHECKING:
    from .byte_meter import ByteMeter
    from .conn_manager_config import ConnectionManagerConfig


class LoggedStream(FilterManager):
    """A stream that has access logs."""

    config: ConnectionManagerConfig

    def describe(self) -> None:
        if self.request_headers is not None and not self.request_id:
            self.request_id = (self.request_headers.get(b"x-request-id") or b"").decode("latin-1")
        route = self._route
        if route is not None:
            self.route_name = route.name
            self.virtual_host_name = route.virtual_host_name
            self.route_metadata = route.metadata
            self.virtual_host_metadata = route.virtual_host_metadata
            found = not self.response_flags & ResponseFlag.NO_CLUSTER_FOUND
            self.upstream_cluster_name = (found and route.cluster_name) or None
        elif self._route_known and self.upstream_cluster_name:
            # There was one until a filter had it found again.
            self.forget_route()
        if self.upstream_host is not None and not self.attempt_count:
            self.attempt_count = 1
        client = self.upstream_client
        if client is not None:
            connection = client.connection
            self.upstream_connection = connection.info
            self.upstream_connection_pool_ready_time = self.first_upstream_tx_byte_time
            self.upstream_protocol = client.codec.protocol
            if client.pool.cluster.name == self.upstream_cluster_name:
                self.cluster_metadata = client.pool.cluster.metadata
            if not self.attempted_hosts:
                self.attempted_hosts = (client.pool.host,)
                self.attempted_connection_ids = (connection.info.id,)
            if self.upstream_request_create_time is None:
                self.upstream_request_create_time = self.first_upstream_tx_byte_time
            self.upstream_connect_start_time = connection.connect_start_time
            self.upstream_connect_complete_time = connection.connect_complete_time
        if self.encoder.meter is not None or self.upstream_meter is not None:
            self._read_meters(self.encoder.meter, self.upstream_meter)

    def _read_meters(self, meter: ByteMeter | None, upstream: ByteMeter | None) -> None:
        if meter is not None:
            self.downstream_wire_bytes_received = meter.wire_received
            self.downstream_wire_bytes_sent = meter.wire_sent
            self.downstream_header_bytes_received = meter.header_received
            self.downstream_header_bytes_sent = meter.header_sent
            self.downstream_decompressed_header_bytes_received = meter.decompressed_header_received
            sent = meter.decompressed_header_sent
            self.downstream_decompressed_header_bytes_sent = meter.header_sent if sent is None else sent
        if upstream is not None:
            self.upstream_wire_bytes_received = upstream.wire_received
            self.upstream_wire_bytes_sent = upstream.wire_sent
            self.upstream_header_bytes_received = upstream.header_received
            self.upstream_header_bytes_sent = upstream.header_sent
            self.upstream_decompressed_header_bytes_received = upstream.decompressed_header_received
            sent = upstream.decompressed_header_sent
            self.upstream_decompressed_header_bytes_sent = upstream.header_sent if sent is None else sent
            self.first_upstream_rx_body_byte_time = upstream.first_body_byte_time

    def fill_in(self) -> None:
        """What only filters and formats of logs ask for."""
        config = self.config
        if self.request_headers is not None:
            self.request_id = (self.request_headers.get(b"x-request-id") or b"").decode("latin-1")
        self.describe()
        self.listener_name = config.listener_name
        self.traffic_direction = config.traffic_direction
        self.filter_chain_name = self.downstream_connection.filter_chain_name

    def _log_start(self) -> None:
        # The line tells the route.
        self.route()
        self._log(AccessLogType.DOWNSTREAM_START)

    def _log(self, access_log_type: str) -> None:
        self.fill_in()
        for log in self.config.access_logs:
            log.log(
                self.request_headers,
                self.response_headers,
                self.response_trailers,
                self,
                access_log_type,
            )
