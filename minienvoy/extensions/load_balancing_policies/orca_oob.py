"""Load reports that a host streams beside the requests (ORCA, out of band).

Envoy: `OrcaOobManager`, `OobSession` (`source/extensions/load_balancing_policies/common/orca_oob_manager.cc`),
`xds.service.orca.v3.OpenRcaService/StreamCoreMetrics`; gRFC A51.

Every host of the cluster has a session: an HTTP/2 connection of its own with one call on it. The first begins at some
time in the first reporting period, so that not all begin at once. Whatever ends the call, or three periods without a
report, is a failure, and the host is asked again after a back-off; a host that does not implement the service is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.duration_pb2 import Duration

from ...config.fields import honours
from ...errors import CodecProtocolError
from ...http.codec import Metadata, StreamResetReason
from ...http.grpc import http_to_grpc_status, is_grpc
from ...http.header_map import HeaderMap, ResponseHeaderMap
from ...http.http2.fields import Http2RequestHeaderMap
from ...http.http2.frames import NO_ERROR
from ...network.address import Address
from ...network.connection import ConnectionCallbacks, ConnectionCloseType, ConnectionEvent
from ...network.filter import FilterStatus, ReadFilter
from ...record import record
from ...stats.store import CounterValue, GaugeValue, StatsStruct
from ...upstream.backoff_strategy import JitteredExponentialBackOffStrategy
from ...upstream.duration import duration_of
from ...upstream.grpc_client import UNKNOWN, GrpcDecoder, grpc_frame, status_of
from ...upstream.host import Host
from ...upstream.host_connection import create_own_connection
from ...upstream.http2_codec_client import create_http2_codec
from ...upstream.load_assignment import plain_struct
from ...upstream.orca import OrcaLoadReport, read_report

if TYPE_CHECKING:
    from ...event.dispatcher import Dispatcher
    from ...event.random import RandomStream
    from ...http.http2.client_connection import ClientConnection as Http2Codec
    from ...network.client_connection import ClientConnection
    from ...stats.store import Scope

honours(
    "envoy.extensions.load_balancing_policies.common.v3.OrcaOobReportingConfig",
    "authority",
    "port_value",
    whole=("transport_socket_match_criteria",),
)

UNIMPLEMENTED: Final = 12
MAX_BACK_OFF: Final = 30.0
MAX_MESSAGE: Final = 1024 * 1024
PERIODS_OF_PATIENCE: Final = 3

TakeReport = Callable[[Host, OrcaLoadReport], bool]
"""(the host, what it tells): whether that was of use"""


class OobStats(StatsStruct):
    """`cluster.NAME.lb_orca_oob.*`."""

    USED_WITH = {"active_sessions": ""}

    active_sessions: GaugeValue
    report_errors: CounterValue
    reports_received: CounterValue
    stream_failures: CounterValue
    stream_terminated: CounterValue


@record
class OobReportingConfig:
    """Attributes:
    period: seconds between two reports.
    port: where the service is; 0 for where requests go.
    authority: what a call says; empty for the host's name or address.
    transport_socket_criteria: what chooses the transport socket, instead of the host's metadata; None for that.
    """

    period: float
    port: int = 0
    authority: str = ""
    transport_socket_criteria: Mapping[str, Any] | None = None

    @classmethod
    def from_proto(cls, config: Any) -> OobReportingConfig:
        """From the message of the policy."""
        own = config.oob_reporting_config
        criteria = own.transport_socket_match_criteria if own.HasField("transport_socket_match_criteria") else None
        return cls(
            duration_of(config, "oob_reporting_period", 10.0),
            own.port_value,
            own.authority,
            plain_struct(criteria) if criteria is not None else None,
        )

    def address_of(self, host: Host) -> Address:
        return host.address if not self.port or host.address.path else Address(host.address.host, self.port)

    def request(self) -> bytes:
        """An `OrcaLoadReportRequest`: its field 1 is the interval."""
        interval = Duration()
        interval.FromNanoseconds(round(self.period * 1e9))
        message = interval.SerializeToString()
        return b"\n" + bytes((len(message),)) + message


class OrcaOobManager:
    """The sessions of the hosts of one balancer."""

    def __init__(
        self, config: OobReportingConfig, dispatcher: Dispatcher, random: RandomStream, scope: Scope, take: TakeReport
    ) -> None:
        """`scope` is the cluster's."""
        self.config = config
        self.dispatcher = dispatcher
        self.random = random
        self.take = take
        self.stats = scope.scope("lb_orca_oob").struct(OobStats)
        self.question = grpc_frame(config.request())
        self._sessions: dict[Host, OobSession] = {}

    def update(self, hosts: Iterable[Host]) -> None:
        """These are the hosts now."""
        known = set(hosts)
        for host in [each for each in self._sessions if each not in known]:
            self._sessions.pop(host).stop()
        for host in known:
            if host not in self._sessions:
                self._sessions[host] = OobSession(self, host)

    def stop(self) -> None:
        self.update(())


class OobSession(ReadFilter, ConnectionCallbacks):
    """One host; it is also the decoder of the call."""

    def __init__(self, manager: OrcaOobManager, host: Host) -> None:
        self._manager = manager
        self._host = host
        self._client: ClientConnection | None = None
        self._codec: Http2Codec | None = None
        self._leaving = False
        """The host takes no new calls on this connection."""
        self._decoder = GrpcDecoder(MAX_MESSAGE)
        self._back_off = JitteredExponentialBackOffStrategy(1.0, MAX_BACK_OFF, manager.random)
        self._over = False
        self._start_timer = manager.dispatcher.create_timer(self._connect)
        self._inactivity_timer = manager.dispatcher.create_timer(self._fail)
        manager.stats.active_sessions += 1
        self._start_timer.enable(manager.random.random() * manager.config.period)

    def stop(self) -> None:
        if not self._over:
            self._over = True
            self._manager.stats.active_sessions -= 1
            self._start_timer.disable()
            self._disconnect()

    # -- from the connection

    def on_event(self, event: ConnectionEvent) -> None:
        if self._client is None:
            return
        if event is ConnectionEvent.CONNECTED:
            self._codec = create_http2_codec(self._host.cluster, self._client, self)
            self._ask(self._codec)
        else:
            self._fail()

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        if self._codec is not None:
            try:
                self._codec.dispatch(data)
            except CodecProtocolError:
                self._host.cluster.stats.traffic.upstream_cx_protocol_error += 1
                self._fail()
        return FilterStatus.STOP_ITERATION

    # -- from the codec

    def on_request_refused(self, name: str) -> None:
        self._fail()

    def decode_metadata(self, metadata: Metadata) -> None:
        """Nobody here wants to know it."""

    def decode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        """Not the answer yet."""

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        if end_stream and headers.has(b"grpc-status"):
            self._complete(status_of(headers)[0])
        elif headers.status != 200 or not is_grpc(headers.get(b"content-type")):
            self._complete(http_to_grpc_status(headers.status))
        elif end_stream:
            self._complete(UNKNOWN)

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        manager = self._manager
        try:
            reports = [read_report(message) for message in self._decoder.feed(data) if message]
        except ValueError:
            self._fail()
            return
        for report in reports:
            manager.stats.reports_received += 1
            if not manager.take(self._host, report):
                manager.stats.report_errors += 1
            self._back_off.reset()
            self._inactivity_timer.enable(PERIODS_OF_PATIENCE * manager.config.period)
        if end_stream:
            self._complete(UNKNOWN)

    def decode_trailers(self, trailers: HeaderMap) -> None:
        self._complete(status_of(trailers)[0])

    def on_reset_stream(self, reason: StreamResetReason, details: str) -> None:
        self._fail()

    def on_go_away(self) -> None:
        if self._codec is not None and self._codec.goaway_code != NO_ERROR:
            self._fail()
        else:
            self._leaving = True

    def on_max_streams_changed(self, maximum: int) -> None:
        """There is one."""

    def on_stream_closed(self) -> None:
        """What it was about is known already."""

    def on_stream_broken(self) -> None:
        """`on_reset_stream` tells as much."""

    # -- inside

    def _connect(self) -> None:
        manager = self._manager
        config, cluster = manager.config, self._host.cluster
        self._leaving = False
        self._decoder = GrpcDecoder(MAX_MESSAGE)
        cluster.stats.http2().nghttp2_upstream_connections += 1
        connection = create_own_connection(
            cluster, self._host, config.address_of(self._host), config.transport_socket_criteria, ("h2",)
        )
        self._client = connection
        connection.add_callbacks(self)
        connection.add_read_filter(self)
        self._inactivity_timer.enable(PERIODS_OF_PATIENCE * config.period)
        connection.connect()

    def _ask(self, codec: Http2Codec) -> None:
        config, client = self._manager.config, self._client
        assert client is not None
        secure = client.transport_socket is not None and client.transport_socket.secure
        headers = Http2RequestHeaderMap(
            b"POST",
            b"/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics",
            (config.authority or self._host.hostname or config.address_of(self._host).text).encode(),
            scheme=b"https" if secure else b"http",
        )
        headers.pseudo_order = (b":method", b":path", b":authority", b":scheme")
        headers.add(b"te", b"trailers")
        headers.add(b"content-type", b"application/grpc")
        encoder = codec.new_stream(self)
        encoder.encode_headers(headers, False)
        encoder.encode_data(self._manager.question, True)

    def _complete(self, status: int) -> None:
        """The call has come to its end, or to something that is none."""
        if status == UNIMPLEMENTED and not self._leaving and self._client is not None:
            self._manager.stats.stream_terminated += 1
            self.stop()
        else:
            self._fail()

    def _fail(self) -> None:
        if self._client is None:
            return
        self._manager.stats.stream_failures += 1
        self._disconnect()
        self._start_timer.enable(self._back_off.next_back_off())

    def _disconnect(self) -> None:
        self._inactivity_timer.disable()
        client, self._client = self._client, None
        codec, self._codec = self._codec, None
        if codec is not None:
            codec.on_connection_closed()
        if client is not None:
            client.close(ConnectionCloseType.NO_FLUSH)
