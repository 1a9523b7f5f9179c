"""`envoy.filters.network.ext_authz`: asks a gRPC service whether a connection may be used.

Envoy: `Extensions::NetworkFilters::ExtAuthz::Filter`; docs "External Authorization" of network filters. It asks when
the first bytes come, or the end. Until the service has answered what the client sends is held back, and beyond the
connection's buffer limit the client is read no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ....config.fields import honours
from ....matchers.value import MetadataMatcher
from ....network.connection import ConnectionCallbacks, ConnectionCloseType, ConnectionEvent
from ....network.filter import NETWORK_FILTERS, FilterStatus, NetworkFilterFactory, ReadFilter
from ....record import record
from ....stats.store import CounterValue, GaugeValue, StatsStruct
from ....stream_info import ResponseFlag
from ..common.ext_authz.check_request import CheckRequests, PeerSettings, fill_metadata
from ..common.ext_authz.grpc_client import GrpcAuthorizationClient, refuse_old_api
from ..common.ext_authz.response import CheckStatus, Response
from ..common.ext_authz.shadow_decision import shadow_decision

if TYPE_CHECKING:
    from ....server.factory_context import FactoryContext
    from ..common.ext_authz.response import Call

NAME: Final = "envoy.filters.network.ext_authz"
TYPE: Final = "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz"
CLOSE_REASON: Final = "ext_authz_close"

honours(
    TYPE,
    "stat_prefix",
    "grpc_service",
    "failure_mode_allow",
    "include_peer_certificate",
    "filter_enabled_metadata",
    "bootstrap_metadata_labels_key",
    "include_tls_session",
    "metadata_context_namespaces",
    "shadow_mode",
    "transport_api_version",
    values={"send_tls_alert_on_denial": (False,)},
)


class InstanceStats(StatsStruct):
    """`ext_authz.<stat_prefix>.`"""

    cx_closed: CounterValue
    denied: CounterValue
    error: CounterValue
    failure_mode_allowed: CounterValue
    ok: CounterValue
    total: CounterValue
    disabled: CounterValue
    active: GaugeValue


@record
class ExtAuthzConfig:
    """Shared by the connections of a filter chain."""

    stats: InstanceStats
    client: GrpcAuthorizationClient
    requests: CheckRequests
    failure_mode_allow: bool
    enabled_metadata: MetadataMatcher | None
    metadata_namespaces: tuple[str, ...]
    shadow_mode: bool

    @classmethod
    def from_proto(cls, proto: Any, context: FactoryContext) -> ExtAuthzConfig:
        """Raises ConfigError."""
        server, enabled = context.server, None
        refuse_old_api(proto)
        if proto.HasField("filter_enabled_metadata"):
            enabled = MetadataMatcher.from_proto(proto.filter_enabled_metadata, "filter_enabled_metadata")
        return cls(
            context.scope.scope(f"ext_authz.{proto.stat_prefix}").struct(InstanceStats),
            GrpcAuthorizationClient(proto.grpc_service, "grpc_service", server),
            CheckRequests(PeerSettings.from_proto(proto, server.node)),
            proto.failure_mode_allow,
            enabled,
            tuple(proto.metadata_context_namespaces),
            proto.shadow_mode,
        )


class ExtAuthzFilter(ReadFilter, ConnectionCallbacks):
    """One connection."""

    def __init__(self, config: ExtAuthzConfig) -> None:
        self._config = config
        self._call: Call | None = None
        self._asked = self._asking = self._passes = self._starting = False
        self._held = b""
        self._end_seen = self._paused = False
        self._asked_at = 0.0

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        if self._passes:
            return FilterStatus.CONTINUE
        connection, config = self.connection, self._config
        if not self._asked:
            if config.enabled_metadata is not None and not config.enabled_metadata.matches(
                connection.stream_info.dynamic_metadata
            ):
                config.stats.disabled += 1
                return FilterStatus.CONTINUE
            self._ask()
            if self._passes:
                return FilterStatus.CONTINUE
        # Envoy sees all that is held each time something comes, and counts it each time.
        connection.bytes_received += len(self._held)
        connection.bytes_kept_back += len(data)
        self._held += data
        self._end_seen = self._end_seen or end_stream
        if not self._paused and not connection.closed and len(self._held) > connection.buffer_limit > 0:
            self._paused = True
            connection.read_disable(True)
        return FilterStatus.STOP_ITERATION

    def on_event(self, event: ConnectionEvent) -> None:
        if event is ConnectionEvent.CONNECTED:
            return
        call, self._call = self._call, None
        if self._asking:
            self._asking = False
            self._config.stats.active -= 1
            if call is not None:
                call.reset()

    def _ask(self) -> None:
        connection, config = self.connection, self._config
        request = config.requests.of_connection(connection.info)
        request.attributes.metadata_context.SetInParent()
        sources = (connection.stream_info.dynamic_metadata, connection.info.dynamic_metadata)
        fill_metadata(request.attributes.metadata_context, sources, config.metadata_namespaces)
        config.stats.active += 1
        config.stats.total += 1
        connection.add_callbacks(self)
        self._asked = self._asking = self._starting = True
        self._asked_at = connection.dispatcher.monotonic_time()
        call = config.client.check(self, request, connection.stream_info)
        self._starting = False
        if self._asking:
            self._call = call

    def on_complete(self, response: Response) -> None:
        connection, config = self.connection, self._config
        self._asking, self._call = False, None
        config.stats.active -= 1
        connection.explain.decided("ext_authz", response.status.name.lower(), NAME)
        if response.dynamic_metadata:
            self._take_metadata(response)
        status = response.status
        if status is CheckStatus.OK:
            config.stats.ok += 1
        elif status is CheckStatus.ERROR:
            config.stats.error += 1
        else:
            config.stats.denied += 1
        if config.shadow_mode:
            told = 0 if status is CheckStatus.OK else response.status_code
            connection.stream_info.filter_state[NAME] = shadow_decision(status.name, told)
        elif status is CheckStatus.DENIED or (status is CheckStatus.ERROR and not config.failure_mode_allow):
            config.stats.cx_closed += 1
            stream = connection.stream_info
            stream.set_response_flag(ResponseFlag.UNAUTHORIZED_EXTERNAL_SERVICE)
            stream.response_code_details = f"ext_authz_{'denied' if status is CheckStatus.DENIED else 'error'}"
            connection.close(ConnectionCloseType.NO_FLUSH, CLOSE_REASON)
            return
        elif status is CheckStatus.ERROR:
            config.stats.failure_mode_allowed += 1
        self._let_pass()

    def _take_metadata(self, response: Response) -> None:
        connection = self.connection
        told = dict(response.dynamic_metadata)
        if response.status is CheckStatus.OK:
            milliseconds = int((connection.dispatcher.monotonic_time() - self._asked_at) * 1000)
            told["ext_authz_duration"] = float(milliseconds)
        metadata = connection.stream_info.dynamic_metadata
        metadata[NAME] = {**metadata.get(NAME, {}), **told}

    def _let_pass(self) -> None:
        self._passes = True
        if self._starting:
            return
        held, self._held = self._held, b""
        self.connection.bytes_kept_back -= len(held)
        if self._paused:
            self._paused = False
            self.connection.read_disable(False)
        self.connection.pass_on(self, held, self._end_seen)


@NETWORK_FILTERS.register(NAME, TYPE)
def create_ext_authz_filter(proto: Any, context: FactoryContext) -> NetworkFilterFactory:
    config = ExtAuthzConfig.from_proto(proto, context)
    return lambda: ExtAuthzFilter(config)
