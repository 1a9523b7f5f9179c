"""A server without a network: it is compiled as `--mode validate` compiles it, and then asked about requests.

No Envoy counterpart. A request takes the way that it takes in a running server, with the same objects: filter chain,
codec, connection manager, HTTP filters, router, balancer, pool. Only the two ends are missing: the client's bytes come
from memory, and whoever opens a connection gets one that leads nowhere and keeps what is written to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from ..access_log.access_log import AccessLogFile, AccessLogManager
from ..errors import UsageError
from ..event.dispatcher import Dispatcher
from ..event.simulated import SimulatedDispatcher
from ..explain.explanation import Decision, Explanation
from ..explain.log import ExplanationLog
from ..http.codec_stats import Http1CodecStats
from ..http.conn_manager import ConnectionManager
from ..http.header_map import RequestHeaderMap
from ..http.http1.selection import server_codec
from ..network.address import Address
from ..network.connection import Connection, ConnectionCloseType, next_connection_id
from ..network.socket import ConnectionSocket
from ..network.ssl_connection_info import SslConnectionInfo
from ..router.route_entry import RouteEntry
from ..server.server import Server
from ..stream_info import ConnectionInfo
from ..upstream.host import Host
from .memory_transport import MemoryTransport
from .outcome import Outcome, Request

if TYPE_CHECKING:
    from ..config.loader import LoadedConfig
    from ..http.active_stream import ActiveStream
    from ..http.codec import ServerConnection
    from ..network.client_connection import ClientConnection
    from ..network.filter_chain import FilterChain
    from ..server.listener import Listener
    from ..server.options import Options
    from ..upstream.cluster import Cluster

MOST_SECONDS = 3600.0
"""Simulated; for filters that let a request wait."""


class _NoFiles(AccessLogManager):
    """No log file of the real server is opened."""

    def create_access_log(self, path: str, field: str = "") -> AccessLogFile:
        return super().create_access_log("/dev/null", field)


class _DryServer(Server):
    make_access_logs = _NoFiles


class _Recorder:
    """Stands in the place of the access logs: is told of the stream when it is over, and keeps it."""

    def __init__(self) -> None:
        self.stream: ActiveStream | None = None

    def log(
        self, request: Any, response: Any, trailers: Any, stream_info: Any, access_log_type: str = "", body: str = ""
    ) -> None:
        self.stream = stream_info


class DryRun:
    """Made inside a running event loop; `close` when done.

    Raises:
        ConfigError: the configuration can not be used.
    """

    def __init__(self, options: Options, loaded: LoadedConfig) -> None:
        loop = asyncio.get_running_loop()
        dispatcher = self._dispatcher = SimulatedDispatcher(loop, Dispatcher(loop).wall_time())
        self._explanations = ExplanationLog()
        self.server = _DryServer(options, loaded, dispatcher, explanations=self._explanations, bind=False)
        self._opened: list[tuple[ClientConnection, MemoryTransport]] = []
        dispatcher.dial = self._dial
        for cluster in self.server.cluster_manager.clusters().values():
            _give_hosts(cluster)
        if self.server.cds is not None:
            self.server.cds.start(lambda: None)
            for cluster in self.server.cluster_manager.all_clusters():
                _give_hosts(cluster)
        self.server.initialize_targets()

    async def close(self) -> None:
        await self.server.stop()

    async def ask(self, request: Request) -> Outcome:
        """What becomes of a request.

        Raises:
            UsageError: it is not clear to which listener it goes.
        """
        listener = self._find_listener(request)
        outcome = Outcome(request)
        address = _arrival(listener.address, request)
        decided = Explanation()
        decided.decided("listener", listener.name, f"it listens on {address}", path=listener.path)
        info = ConnectionInfo(address, Address.ip(request.source, request.source_port), next_connection_id())
        accepted = ConnectionSocket(cast(Any, None), info)
        accepted.detected_transport_protocol = "tls" if request.tls else "raw_buffer"
        if request.tls:
            info.requested_server_name = request.server_name.lower()
            # TLS without a client certificate, before anything is agreed on.
            info.ssl = SslConnectionInfo()
        info.listener_metadata = listener.metadata
        chain = listener.filter_chain_manager.find(accepted, decided)
        outcome.decisions = decided.decisions
        if chain is None:
            return outcome
        base = _path_of(listener, chain)
        decided.decisions[-1] = decided.decisions[-1]._replace(path=base)
        info.filter_chain_metadata = chain.metadata
        connection = Connection(self._dispatcher, info, listener.per_connection_buffer_limit)
        connection.explain = decided
        connection.filter_chain_name = chain.name
        filters = [make() for make in chain.filters]
        manager = filters[-1] if filters else None
        if not isinstance(manager, ConnectionManager):
            outcome.not_http = type(manager).__name__ if manager is not None else "no filter at all"
            return outcome
        outcome.base = f"{base}.filters[{len(filters) - 1}].typed_config"
        await self._send(connection, filters, manager, request, outcome)
        return outcome

    async def _send(
        self,
        connection: Connection,
        filters: Sequence[Any],
        manager: ConnectionManager,
        request: Request,
        outcome: Outcome,
    ) -> None:
        recorder = _Recorder()
        config = manager.config
        config.access_logs = (recorder,)
        codec_stats = self.server.stats.scope("http1").struct(Http1CodecStats)

        def make_codec(asked: ConnectionManager, data: bytes) -> ServerConnection:
            # It is asked in HTTP/1, whatever the listener speaks: what becomes of it does not depend on that.
            made: ServerConnection = server_codec("native")(asked.connection, asked, config.http1, codec_stats)
            return made

        config.make_codec = make_codec
        downstream = MemoryTransport()
        for each in filters:
            connection.add_read_filter(each)
        self._opened.clear()
        connection.connection_made(downstream)
        connection.data_received(request.wire)
        waited = 0.0
        while True:
            await self._dispatcher.settle()
            if downstream.written or any(transport.written for _, transport in self._opened) or connection.closed:
                break
            step = self._dispatcher.next_deadline()
            if step is None or waited + step > MOST_SECONDS:
                break
            waited += step
            self._dispatcher.advance(step)
        stream = manager.stream
        self._keep(config.route_config, stream or recorder.stream, outcome)
        outcome.waited = waited
        outcome.answer = downstream.written
        outcome.upstreams = [(str(opened.info.remote_address), transport.written) for opened, transport in self._opened]
        if stream is not None:
            outcome.decisions = list(stream.explain.decisions)
            outcome.details = stream.response_code_details or ""
        elif len(self._explanations):
            outcome.decisions = list(self._explanations.last().decisions)
            outcome.details = (recorder.stream and recorder.stream.response_code_details) or ""
        connection.close(ConnectionCloseType.NO_FLUSH)
        await self._dispatcher.settle()
        self._explanations.clear()

    def _keep(self, route_config: Any, stream: ActiveStream | None, outcome: Outcome) -> None:
        if stream is None or stream.request_headers is None or not stream._route_known:
            return
        outcome.config = stream.config
        route = outcome.route = stream._route
        if isinstance(route, RouteEntry):
            cluster = self.server.cluster_manager.get(route.cluster_name)
            if cluster is not None and cluster.route_policies is not None:
                outcome.route = cluster.route_policies.over(route)
        headers: RequestHeaderMap = stream.request_headers
        outcome.headers = headers.pairs()
        outcome.virtual_host = self._virtual_host(route_config, headers)

    @staticmethod
    def _virtual_host(route_config: Any, headers: RequestHeaderMap) -> Decision | None:
        # The host that was looked for may have been rewritten since.
        asked = headers.copy()
        original = headers.get(b"x-envoy-original-host")
        if original is not None:
            asked.authority = original
        decision: Decision = route_config.explain_virtual_host(asked)
        return decision

    def _find_listener(self, request: Request) -> Listener:
        listeners = [each for each in self.server.listener_manager.listeners() if not each.datagram]
        names = ", ".join(each.name for each in listeners)
        if request.listener:
            for each in listeners:
                if each.name == request.listener:
                    return each
            raise UsageError(f"there is no listener '{request.listener}'", f"there are: {names or 'none'}")
        on_port = [each for each in listeners if each.address.port == request.port]
        if len(on_port) == 1:
            return on_port[0]
        if len(listeners) == 1:
            return listeners[0]
        if not listeners:
            raise UsageError("the configuration has no listener", "explain needs one for the request to come in by")
        raise UsageError("which listener?", f"name one with --listener: {names}")

    def _dial(self, connection: ClientConnection) -> None:
        transport = MemoryTransport()
        self._opened.append((connection, transport))
        self._dispatcher.post(lambda: connection.connection_made(transport))


def _arrival(address: Address, request: Request) -> Address:
    """Where the request comes in; if it may be anywhere, at the address of the URL, or where it comes from."""
    if address.host not in ("0.0.0.0", "::"):
        return address
    for host in (request.server_name, request.source):
        try:
            return Address.ip(host, address.port)
        except ValueError:
            continue
    return address


def _path_of(listener: Listener, chain: FilterChain) -> str:
    for index, each in enumerate(listener.filter_chain_manager.filter_chains):
        if each is chain:
            return f"{listener.path}.filter_chains[{index}]"
    return f"{listener.path}.default_filter_chain"


def _give_hosts(cluster: Cluster) -> None:
    """The hosts as the configuration has them; names are not resolved, and nobody is asked whether they are well."""
    hosts: dict[int, list[Host]] = {}
    for locality in cluster.load_assignment.localities:
        for endpoint in locality.endpoints:
            address = Address.pipe(endpoint.path) if endpoint.path else Address(endpoint.target, endpoint.port)
            name = endpoint.hostname
            try:
                Address.ip(endpoint.target, endpoint.port)
            except ValueError:
                name = name or endpoint.target
            made = endpoint.host_at((address,), name, locality.priority, locality.locality)
            hosts.setdefault(locality.priority, []).append(made)
    if not hosts:
        hosts[0] = [Host(Address("endpoint.not.known"))]
    cluster.load_assignment.update(cluster.priority_set, {at: tuple(each) for at, each in hosts.items()})
