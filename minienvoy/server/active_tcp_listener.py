"""Accepts connections, shows them to the listener filters, and gives them to a filter chain.

Envoy: `Network::TcpListenerImpl`, `Server::ActiveTcpListener`, `ActiveTcpSocket`, `ActiveTcpConnection`; docs
"Listeners".
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection
from typing import TYPE_CHECKING

from .. import logger
from ..explain.explanation import NO_EXPLANATION, Explanation
from ..network.address import Address
from ..network.connection import (
    Connection,
    ConnectionCallbacks,
    ConnectionCloseType,
    ConnectionEvent,
    next_connection_id,
)
from ..network.overload_state import REJECT_INCOMING_CONNECTIONS, TCP_LISTENER_ACCEPT
from ..network.socket import ConnectionSocket
from ..network.transport import start_transport
from ..stream_info import ConnectionInfo, ResponseFlag, StreamInfo
from .active_tcp_socket import ActiveTcpSocket

if TYPE_CHECKING:
    from ..event.dispatcher import Timer
    from ..network.filter_chain import FilterChain
    from ..network.transport_socket import TransportSocketFactory
    from .listener import Listener

log = logger.get("conn_handler")

MAX_ACCEPTS_PER_EVENT = 16
"""`max_connections_to_accept_per_socket_event` when it is not set: other sockets want their turn, too."""
OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
BACK_OFF = 0.1
"""Seconds without accepting after the kernel had no file descriptor for us; trying at once would spin."""


class ActiveTcpListener:
    """A listener at work.

    Attributes:
        connections: those that have been given to a filter chain and have not ended.
    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.server = listener.server
        self.dispatcher = listener.server.dispatcher
        self.stats = listener.stats
        self.handler_stats = listener.handler_stats
        self.connections: set[ActiveTcpConnection] = set()
        self.sockets: set[ActiveTcpSocket] = set()
        self._accepting: list[tuple[socket.socket, Address | None]] = []
        self._back_off_timer: Timer | None = None
        self._paused = False
        self._limit = listener.max_connections_per_event or MAX_ACCEPTS_PER_EVENT

    def start(self, sockets: list[socket.socket]) -> None:
        """Accept from sockets that listen."""
        for raw in sockets:
            address = Address.from_sockaddr(raw.family, raw.getsockname())
            # Only a socket that is bound to one address knows where its connections come in.
            wildcard = address.host in ("0.0.0.0", "::") or self.listener.transparent
            self._accepting.append((raw, None if wildcard else address))
        self._watch()

    def stop(self) -> None:
        """Accept no more; connections go on. The sockets stay open for their owner to close."""
        if self._back_off_timer is not None:
            self._back_off_timer.disable()
        self._unwatch()
        self._accepting.clear()

    def pause(self, paused: bool) -> None:
        """Leave who connects in the kernel's queue, or take them again."""
        if paused is not self._paused:
            self._paused = paused
            if paused:
                self._unwatch()
            else:
                self._watch()

    def close_connections(self) -> None:
        """End what is left, at once (`ActiveTcpListener::~ActiveTcpListener`)."""
        for pending in tuple(self.sockets):
            pending.close()
        for active in tuple(self.connections):
            active.connection.close(
                ConnectionCloseType.NO_FLUSH, "purging_socket_that_have_not_progressed_to_connections"
            )

    def close_connections_of(self, chains: Collection[FilterChain]) -> None:
        """End those of filter chains that are gone, at once."""
        for active in tuple(self.connections):
            if active.filter_chain in chains:
                active.connection.close(ConnectionCloseType.NO_FLUSH, "filter_chain_is_being_removed")

    def new_connection(self, accepted: ConnectionSocket, explain: Explanation) -> None:
        """Find the filter chain for a socket that the listener filters are done with."""
        listener = self.listener
        accepted.info.listener_metadata = listener.metadata
        if not accepted.detected_transport_protocol:
            accepted.detected_transport_protocol = "raw_buffer"  # nobody saw another one
        chain = listener.filter_chain_manager.find(accepted, explain)
        if chain is None:
            self.stats.no_filter_chain_match += 1
            log.debug(f"closing connection from {accepted.remote_address}: no matching filter chain found")
            accepted.raw.close()
            self._log_unmatched(accepted.info)
            if listener.context.explanations is not None:
                listener.context.explanations.append(explain)
            return
        connection = Connection(self.dispatcher, accepted.info, listener.per_connection_buffer_limit)
        connection.explain = explain
        connection.filter_chain_name = chain.name
        accepted.info.filter_chain_metadata = chain.metadata
        if accepted.info.dynamic_metadata is not None:
            connection.stream_info.dynamic_metadata.update(accepted.info.dynamic_metadata)
        active = ActiveTcpConnection(self, connection, chain)
        if listener.access_logs:
            self.describe(connection.stream_info, chain.name)
        if chain.transport_socket is not None:
            chain.transport_socket.announce(connection)
        if chain.filters:
            chain.create_filters(connection)
            if chain.transport_socket is not None:
                self.dispatcher.create_task(
                    active.open_through(chain.transport_socket, chain.transport_socket_connect_timeout, accepted.raw),
                    "accept",
                )
                return
            self.dispatcher.create_task(active.open(accepted.raw), "accept")
        else:
            log.debug(f"closing connection from {accepted.remote_address}: no filters")
            listener.extension_config_stats.network_extension_config_missing += 1
            accepted.raw.close()
            connection.close(ConnectionCloseType.NO_FLUSH)

    def describe(self, stream_info: StreamInfo, filter_chain_name: str = "") -> None:
        """Tell what the listener knows of a connection."""
        stream_info.start_time = self.dispatcher.wall_time()
        stream_info.start_monotonic = self.dispatcher.monotonic_time()
        stream_info.listener_name = self.listener.name
        stream_info.traffic_direction = self.listener.traffic_direction
        stream_info.filter_chain_name = filter_chain_name

    def _log_unmatched(self, info: ConnectionInfo) -> None:
        if self.listener.access_logs:
            stream_info = StreamInfo()
            stream_info.connection = info
            self.describe(stream_info)
            stream_info.set_response_flag(ResponseFlag.NO_ROUTE_FOUND)
            stream_info.response_code_details = "filter_chain_not_found"
            self.log(stream_info)

    def log(self, stream_info: StreamInfo) -> None:
        """Write the listener's own access logs: one entry for each connection."""
        stream_info.request_complete_time = self.dispatcher.monotonic_time()
        for access_log in self.listener.access_logs:
            access_log.log(None, None, None, stream_info)

    def _watch(self) -> None:
        if self._paused:
            return
        for raw, local in self._accepting:
            self.dispatcher.loop.add_reader(raw, self._on_acceptable, raw, local)

    def _unwatch(self) -> None:
        for raw, _ in self._accepting:
            self.dispatcher.loop.remove_reader(raw)

    def _on_acceptable(self, raw: socket.socket, local: Address | None) -> None:
        accepted = 0
        while accepted < self._limit:
            try:
                connected, peer = raw.accept()
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                if error.errno in OUT_OF_RESOURCES:
                    log.warning(f"accept failed: {error.strerror}; accepting again in {BACK_OFF} s")
                    self._back_off()
                    break
                accepted += 1  # the peer went away while it waited in the queue
                continue
            accepted += 1
            try:
                self._on_accept(connected, peer, local)
            except OSError as error:
                log.debug(f"an accepted socket is gone: {error}")
                connected.close()
        if accepted:
            self.stats.connections_accepted_per_socket_event.record(accepted)

    def _back_off(self) -> None:
        self._unwatch()
        if self._back_off_timer is None:
            self._back_off_timer = self.dispatcher.create_timer(self._watch)
        self._back_off_timer.enable(BACK_OFF)

    def _on_accept(self, raw: socket.socket, peer: object, local: Address | None) -> None:
        listener = self.listener
        overload = listener.overload
        if overload is not None and (
            overload.happens(REJECT_INCOMING_CONNECTIONS) or overload.sheds(TCP_LISTENER_ACCEPT)
        ):
            self.stats.downstream_cx_overload_reject += 1
            raw.close()
            return
        if not listener.ignore_global_connection_limit and listener.global_connections.full:
            self.stats.downstream_global_cx_overflow += 1
            raw.close()
            return
        if len(self.connections) + len(self.sockets) >= listener.connection_limit():
            self.stats.downstream_cx_overflow += 1
            raw.close()
            return
        raw.setblocking(False)
        family = raw.family
        if family != socket.AF_UNIX:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if local is None:
            local = Address.from_sockaddr(family, raw.getsockname())
        # The client's end of a unix socket seldom has a name; Envoy calls it by that of our end.
        remote = local if family == socket.AF_UNIX and not peer else Address.from_sockaddr(family, peer)
        info = ConnectionInfo(local, remote, next_connection_id())
        explain: Explanation = NO_EXPLANATION
        if listener.context.explanations is not None:
            explain = Explanation()
            explain.decided("listener", listener.name, f"accepted on {local}")
        self._take(ConnectionSocket(raw, info), explain, listener.hands_off)

    def take(self, accepted: ConnectionSocket, explain: Explanation) -> None:
        """A connection that another listener has accepted, and that was going to an address of this one."""
        if len(self.connections) + len(self.sockets) >= self.listener.connection_limit():
            self.stats.downstream_cx_overflow += 1
            accepted.raw.close()
            return
        explain.decided("listener", self.listener.name, f"the connection was going to {accepted.local_address}")
        self._take(accepted, explain, False)

    def accept_internal(self, accepted: ConnectionSocket, explain: Explanation) -> None:
        """A connection from inside this process."""
        if not self.listener.active:
            accepted.raw.close()
        elif len(self.connections) + len(self.sockets) >= self.listener.connection_limit():
            self.stats.downstream_cx_overflow += 1
            accepted.raw.close()
        else:
            self._take(accepted, explain, False)

    def _take(self, accepted: ConnectionSocket, explain: Explanation, hands_off: bool) -> None:
        if self.listener.listener_filters:
            ActiveTcpSocket(self, accepted, explain, hands_off).start()
        else:
            self.new_connection(accepted, explain)


class ActiveTcpConnection(ConnectionCallbacks):
    """What a listener keeps about one of its connections."""

    __slots__ = ("_handshake_timer", "active_listener", "connection", "filter_chain", "start")

    def __init__(self, active_listener: ActiveTcpListener, connection: Connection, filter_chain: FilterChain) -> None:
        self.active_listener = active_listener
        self.filter_chain = filter_chain
        self.connection = connection
        self._handshake_timer: Timer | None = None
        self.start = active_listener.dispatcher.monotonic_time()
        connection.add_callbacks(self)
        active_listener.connections.add(self)
        if active_listener.listener.counts_globally:
            active_listener.listener.global_connections.current += 1
        for stats in (active_listener.stats, active_listener.handler_stats):
            stats.downstream_cx_total += 1
            stats.downstream_cx_active += 1

    async def open(self, raw: socket.socket) -> None:
        """Let the event loop have the socket."""
        try:
            await start_transport(self.active_listener.dispatcher.loop, self.connection, raw)
        except OSError as error:
            log.debug(f"a connection could not be started: {error!r}")
        finally:
            if self.connection.connecting:
                self.connection.close(ConnectionCloseType.NO_FLUSH)

    async def open_through(self, factory: TransportSocketFactory, limit: float, raw: socket.socket) -> None:
        """The same, where there is a handshake first; it has `limit` seconds, 0 for any time."""
        connection, dispatcher = self.connection, self.active_listener.dispatcher
        if limit:
            self._handshake_timer = dispatcher.create_timer(self._on_handshake_timeout)
            self._handshake_timer.enable(limit)
        try:
            await start_transport(dispatcher.loop, connection, raw, factory.protocol(connection))
        except OSError as error:
            log.debug(f"a connection could not be started: {error!r}")
            connection.close(ConnectionCloseType.NO_FLUSH)

    def _on_handshake_timeout(self) -> None:
        self.active_listener.stats.downstream_cx_transport_socket_connect_timeout += 1
        self.connection.stream_info.connection_termination_details = "transport socket timeout was reached"
        self.connection.close(ConnectionCloseType.NO_FLUSH, "transport_socket_timeout")

    def on_event(self, event: ConnectionEvent) -> None:
        if self._handshake_timer is not None:
            self._handshake_timer.disable()
            self._handshake_timer = None
        if event is ConnectionEvent.CONNECTED:
            return
        active_listener = self.active_listener
        active_listener.connections.discard(self)
        if active_listener.listener.counts_globally:
            active_listener.listener.global_connections.current -= 1
        stats = active_listener.stats
        stats.downstream_cx_active -= 1
        active_listener.handler_stats.downstream_cx_active -= 1
        stats.downstream_cx_destroy += 1
        stats.downstream_cx_length_ms.record(int((active_listener.dispatcher.monotonic_time() - self.start) * 1000.0))
        if active_listener.listener.access_logs:
            # After every filter has had its say about the end.
            active_listener.dispatcher.post(self._log)

    def _log(self) -> None:
        stream_info = self.connection.stream_info
        stream_info.bytes_received = self.connection.bytes_received
        stream_info.bytes_sent = self.connection.bytes_sent
        stream_info.downstream_local_close_reason = self.connection.local_close_reason
        stream_info.downstream_detected_close_type = self.connection.detected_close_type.value
        self.active_listener.log(stream_info)
