"""A listener, compiled: where it listens, what it does with what it accepts, and what it counts.

Envoy: `Server::ListenerImpl`, `PerListenerFactoryContextImpl`; `envoy.config.listener.v3.Listener`; docs "Listeners".
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final

from ..config.extension import create_extensions
from ..config.fields import honours
from ..errors import ConfigError
from ..network.address import Address
from ..network.connection import DEFAULT_BUFFER_LIMIT
from ..network.filter import LISTENER_FILTERS, ListenerFilterFactory
from ..network.listen_socket import bind_listen_socket, bound_address, listen
from ..network.overload_state import STOP_ACCEPTING_CONNECTIONS
from ..upstream.load_assignment import plain_metadata
from .active_tcp_listener import ActiveTcpListener
from .factory_context import FactoryContext, ServerContext
from .filter_chains import FilterChains
from .internal_listener import check_internal_listener
from .listen_addresses import listen_settings
from .listener_stats import ListenerExtensionConfigStats, ListenerStats, PerHandlerListenerStats

if TYPE_CHECKING:
    from ..access_log.access_log import AccessLog
    from ..config.runtime import Loader
    from ..event.init_manager import InitManager
    from ..explain.explanation import Explanation
    from ..network.filter_chain import FilterChain, FilterChainManager
    from ..network.listen_socket import ListenSocketSettings
    from ..network.socket import ConnectionSocket
    from .active_udp_listener import ActiveUdpListener
    from .drain_manager import DrainManager

NO_LIMIT: Final = 2**64 - 1
ORIGINAL_DST: Final = "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
"""The filter that `use_original_dst` brings."""
TRAFFIC_DIRECTIONS: Final = ("UNSPECIFIED", "INBOUND", "OUTBOUND")

honours(
    "envoy.config.listener.v3.Listener",
    "name",
    "address",
    "additional_addresses",
    "stat_prefix",
    "filter_chains",
    "filter_chain_matcher",
    "default_filter_chain",
    "per_connection_buffer_limit_bytes",
    "drain_type",
    "listener_filters",
    "listener_filters_timeout",
    "continue_on_listener_filters_timeout",
    "transparent",
    "freebind",
    "socket_options",
    "tcp_fast_open_queue_length",
    "traffic_direction",
    "enable_reuse_port",
    "reuse_port",
    "access_log",
    "tcp_backlog_size",
    "max_connections_to_accept_per_socket_event",
    "bind_to_port",
    "ignore_global_conn_limit",
    "bypass_overload_manager",
    "deprecated_v1",
    "use_original_dst",
    "internal_listener",
    "udp_listener_config",
    values={"enable_mptcp": (False,)},
    whole=("metadata",),
    ignored={
        "connection_balance_config": "there is one worker in a process",
    },
)
honours("envoy.config.listener.v3.Listener.DeprecatedV1", "bind_to_port")
honours("envoy.config.listener.v3.Listener.InternalListenerConfig")
honours("envoy.config.listener.v3.UdpListenerConfig", "downstream_socket_config", "udp_packet_packet_writer_config")
honours("envoy.config.core.v3.UdpSocketConfig", "max_rx_datagram_size", "prefer_gro")
honours("envoy.config.listener.v3.ListenerFilter", "name", "typed_config", "filter_disabled")
honours(
    "envoy.config.listener.v3.FilterChain",
    "name",
    "filter_chain_match",
    "filters",
    "transport_socket",
    "transport_socket_connect_timeout",
    values={"use_proxy_proto": (False,)},
    whole=("metadata",),
)
honours(
    "envoy.config.listener.v3.FilterChainMatch",
    "destination_port",
    "prefix_ranges",
    "direct_source_prefix_ranges",
    "source_type",
    "source_prefix_ranges",
    "source_ports",
    "server_names",
    "transport_protocol",
    "application_protocols",
)


class ConnectionLimit:
    """How many downstream connections all listeners may have together.

    Attributes:
        limit: what a resource monitor of the overload manager says; None: the runtime value below, which is asked at
            each connection.
    """

    __slots__ = ("_runtime", "current", "limit")

    def __init__(self, runtime: Loader) -> None:
        self._runtime = runtime
        self.current = 0
        self.limit: int | None = None

    @property
    def configured(self) -> int:
        """What is in force; `NO_LIMIT` if nobody has said anything."""
        if self.limit is not None:
            return self.limit
        return self._runtime.snapshot.get_integer("overload.global_downstream_max_connections", NO_LIMIT)

    @property
    def full(self) -> bool:
        return self.current >= self.configured


class Listener:
    """Made from its configuration, then `bind`, then `start`.

    Attributes:
        config: what it was made from.
        name: as configured, or a made-up unique one.
        address: as configured; where it really listens is `local_addresses`.
        datagram: it takes datagrams, not connections, and has no filter chains.
        listener_filters_timeout: seconds; 0 for no limit.
        metadata: `filter_metadata` as plain values; None if there is none.
        drain_manager: its own, below the server's.
        active: it accepts connections.
        internal: only those that come from inside this process.
        hands_off: what was going to another address goes to the listener of that (`use_original_dst`).
        find_listener: who has an address; put there by the manager.
    """

    def __init__(
        self,
        config: Any,
        server: ServerContext,
        drain_manager: DrainManager,
        global_connections: ConnectionLimit,
        path: str = "",
        name: str = "",
        handler: str = "worker_0",
        init_manager: InitManager | None = None,
        version_info: str = "",
    ) -> None:
        self.config = config
        self.version_info = version_info
        self.last_updated = server.dispatcher.wall_time()
        self.init_manager = init_manager
        self.path = path
        self.server = server
        self.name = name or config.name
        self.drain_manager = drain_manager
        self.global_connections = global_connections
        self.internal = config.HasField("internal_listener")
        if self.internal:
            check_internal_listener(config, self.name, server, path)
            self.settings: list[ListenSocketSettings] = []
            self.address = Address.internal(self.name)
            self.datagram = False
        else:
            if not config.HasField("address"):
                raise ConfigError(f"error adding listener named '{config.name}': address is necessary", path)
            if config.address.HasField("envoy_internal_address"):
                problem = "use internal_listener field instead of address for internal listeners"
                raise ConfigError(f"error adding listener named '{config.name}': {problem}", f"{path}.address")
            self.settings = listen_settings(config, path)
            self.address = self.settings[0].address
            self.datagram = self.settings[0].datagram
        self.bind_to_port = (
            config.bind_to_port.value
            if config.HasField("bind_to_port")
            else not config.deprecated_v1.HasField("bind_to_port") or config.deprecated_v1.bind_to_port.value
        )
        self.metadata = plain_metadata(config.metadata) if config.HasField("metadata") else None
        self.transparent = config.transparent.value
        self.hands_off: bool = config.use_original_dst.value
        self.traffic_direction = TRAFFIC_DIRECTIONS[config.traffic_direction]
        self.per_connection_buffer_limit = (
            config.per_connection_buffer_limit_bytes.value
            if config.HasField("per_connection_buffer_limit_bytes")
            else DEFAULT_BUFFER_LIMIT
        )
        self.listener_filters_timeout = (
            config.listener_filters_timeout.ToTimedelta().total_seconds()
            if config.HasField("listener_filters_timeout")
            else 15.0
        )
        self.continue_on_listener_filters_timeout: bool = config.continue_on_listener_filters_timeout
        self.max_connections_per_event: int = config.max_connections_to_accept_per_socket_event.value
        self.ignore_global_connection_limit: bool = config.ignore_global_conn_limit
        # Who ignores a resource monitor's limit does not use it up either; a limit of the runtime counts everybody.
        self.counts_globally = global_connections.limit is None or not self.ignore_global_connection_limit
        self.overload = None if config.bypass_overload_manager else server.overload
        where = f"envoy_internal_{self.name}" if self.internal else self.address.text
        self.scope = server.stats.scope(f"listener.{config.stat_prefix or where}")
        self.context = FactoryContext(
            server,
            server.stats.scope(""),
            self.scope,
            drain_manager.drain_close,
            self.name,
            self.traffic_direction,
            self.address.port,
            explained=handler != "main_thread",
            bypass_overload=config.bypass_overload_manager,
            drain_delay=drain_manager.drain_delay,
            init_manager=init_manager,
        )
        try:
            self.stats = self.scope.struct(ListenerStats)
            self.handler_stats = self.scope.scope(handler).struct(PerHandlerListenerStats)
            if config.stat_prefix != "admin":
                self.extension_config_stats = self.scope.struct(ListenerExtensionConfigStats)
            self.access_logs = _access_logs(config.access_log, self.context, f"{path}.access_log")
            self._active_listener = self._compile(config, path)
        except BaseException:
            self._forget()
            raise
        self.find_listener: Callable[[Address], Listener | None] | None = None
        self._limit_key = f"envoy.resource_limits.listener.{config.name}.connection_limit"
        self.active = False
        self._sockets: list[socket.socket] = []
        self._bound: list[Address] = []

    def _compile(self, config: Any, path: str) -> ActiveTcpListener | ActiveUdpListener:
        """What it does with what comes: filters, and the chains of a listener that takes connections."""
        self.listener_filters: tuple[ListenerFilterFactory, ...] = ()
        if self.datagram:
            from .active_udp_listener import ActiveUdpListener
            from .udp_listener_config import UdpListenerConfig

            self.filter_chains = FilterChains(None, self.address, self.context, path)
            return ActiveUdpListener(self, UdpListenerConfig.from_proto(config, str(self.address), self.context, path))
        self.listener_filters = _listener_filters(config.listener_filters, f"{path}.listener_filters", self.context)
        if self.hands_off:
            entry = LISTENER_FILTERS.find(ORIGINAL_DST, f"{path}.use_original_dst")
            self.listener_filters += (entry.factory(None, self.context),)
        self.filter_chains = FilterChains(config, self.address, self.context, path)
        return ActiveTcpListener(self)

    @property
    def local_addresses(self) -> list[Address]:
        """Where it listens, or did, with the ports that the kernel chose; what is configured if it never has."""
        if self._sockets:
            self._bound = [bound_address(raw) for raw in self._sockets]
        return self._bound or [settings.address for settings in self.settings] or [self.address]

    @property
    def holds_sockets(self) -> bool:
        """It has taken its addresses, or those of the listener that it replaces."""
        return bool(self._sockets)

    @property
    def filter_chain_manager(self) -> FilterChainManager:
        """Finds the filter chain of a connection."""
        return self.filter_chains.manager

    @property
    def connections(self) -> int:
        """How many connections it has."""
        return len(self._active_listener.connections)

    def connection_limit(self) -> int:
        """Of this listener, asked at each connection, for it is a runtime value."""
        return self.server.runtime.snapshot.get_integer(self._limit_key, NO_LIMIT)

    def bind(self) -> None:
        """Take the addresses. Connections are refused until `start`.

        Raises:
            ConfigError: an address can not be had; none is taken then.
        """
        if not self.bind_to_port or self.internal:
            return
        try:
            for settings in self.settings:
                self._sockets.append(bind_listen_socket(settings, self.path))
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Accept connections."""
        self.active = True
        for raw, settings in zip(self._sockets, self.settings, strict=self.bind_to_port and not self.internal):
            listen(raw, settings, self.path)
        self._active_listener.start(self._sockets)
        if self.overload is not None:
            self.overload.watchers.add(self._on_overload)
            self._on_overload()

    def _on_overload(self) -> None:
        if self.overload is not None:
            self._active_listener.pause(self.overload.saturated(STOP_ACCEPTING_CONNECTIONS))

    def listens_at(self, address: Address) -> bool:
        """It is whose listener `address` is, bound or not."""
        return self.active and not self.datagram and address in self._served()

    def listens_everywhere_at(self, address: Address) -> bool:
        """The same, if it is for any host."""
        hosts = ("::",) if ":" in address.host else ("0.0.0.0", "::")
        return (
            self.active
            and not self.datagram
            and any(each.port == address.port and each.host in hosts for each in self._served())
        )

    def take(self, accepted: ConnectionSocket, explain: Explanation) -> None:
        """A connection that another listener has accepted, and that was going to an address of this one."""
        assert isinstance(self._active_listener, ActiveTcpListener)
        self._active_listener.take(accepted, explain)

    def accept_internal(self, accepted: ConnectionSocket, explain: Explanation) -> None:
        """A connection from inside this process."""
        assert isinstance(self._active_listener, ActiveTcpListener)
        self._active_listener.accept_internal(accepted, explain)

    def _served(self) -> list[Address]:
        return self.local_addresses if self.bind_to_port else [settings.address for settings in self.settings]

    def stop_accepting(self) -> None:
        """Close the sockets: who connects is refused. Connections that exist go on."""
        self._bound = self.local_addresses
        self.active = False
        self._stop()
        self.close()

    def _stop(self) -> None:
        self._active_listener.stop()
        if self.overload is not None:
            self.overload.watchers.discard(self._on_overload)

    def close(self) -> None:
        for raw in self._sockets:
            raw.close()
        self._sockets.clear()

    def close_connections(self) -> None:
        """End every connection, now."""
        self._active_listener.close_connections()

    def close_connections_of(self, chains: Collection[FilterChain]) -> None:
        """End those that have one of these filter chains, now."""
        assert isinstance(self._active_listener, ActiveTcpListener)
        self._active_listener.close_connections_of(chains)

    def take_sockets_of(self, other: Listener) -> None:
        """Listen where `other` does: a listener that replaces it loses no connection. `other` accepts no more."""
        other.active = False
        other._stop()
        self._sockets, other._sockets = other._sockets, []

    def remove(self) -> None:
        """Stop, end everything and forget the statistics."""
        self.stop_accepting()
        self.drain_manager.stop()
        self.close_connections()
        if self.init_manager is not None:
            self.init_manager.cancel()
        self.filter_chains.destroy()
        self._forget()

    def _forget(self) -> None:
        self.context.destroy()
        self.context.scope.remove()
        self.scope.remove()

    def __repr__(self) -> str:
        return f"Listener({self.name!r}, {self.address.text!r})"


def _access_logs(configs: Any, context: FactoryContext, path: str) -> tuple[AccessLog, ...]:
    if not configs:
        return ()
    from ..access_log.access_log import create_access_logs

    return create_access_logs(configs, context, path)


def _listener_filters(configs: Any, path: str, context: FactoryContext) -> tuple[ListenerFilterFactory, ...]:
    made = create_extensions(LISTENER_FILTERS, configs, path, context)
    for at, config in enumerate(configs):
        if config.HasField("filter_disabled"):
            from .listener_filter_predicate import compile_predicate, unless

            made[at] = unless(compile_predicate(config.filter_disabled), made[at])
    return tuple(made)
