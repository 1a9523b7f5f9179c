"""All listeners: how they start, stop, drain and change.

Envoy: `Server::ListenerManagerImpl`; docs "Listeners", "LDS".

A listener binds when it is added, so that an address that can not be had is an error of the configuration, and accepts
once `start` has been called and it has *warmed*: what it waits for, such as its routes, is there. One that is removed
or replaced accepts no more at once, and its connections have the drain time to end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, Any

from .. import logger
from ..config.api import type_of, unpack
from ..errors import ConfigError
from ..event.init_manager import InitManager
from ..network.address import Address
from .drain_manager import DrainManager
from .factory_context import ServerContext
from .filter_chain_update import DrainingFilterChains, FilterChainUpdate, is_filter_chain_only_change
from .listener import Listener
from .listener_stats import ListenerManagerStats

if TYPE_CHECKING:
    from ..explain.explanation import Explanation
    from ..network.socket import ConnectionSocket

log = logger.get("config")


class StopListenersType(Enum):
    INBOUND_ONLY = 1
    ALL = 2


class ListenerManager:
    """Attributes:
    drain_manager: the server's.
    global_connections: shared by all listeners that do not ignore it.
    """

    def __init__(self, server: ServerContext, drain_manager: DrainManager, *, bind: bool = True) -> None:
        """Without `bind`, listeners are only compiled: that is `--mode validate`."""
        self._bind = bind
        self.server = server
        self.drain_manager = drain_manager
        self.global_connections = server.global_connections
        self.stats = server.stats.scope("listener_manager").struct(ListenerManagerStats)
        self._listeners: dict[str, Listener] = {}
        self._static: set[str] = set()
        self._warming: dict[str, Listener | FilterChainUpdate] = {}
        self._draining_chains: dict[DrainingFilterChains, None] = {}
        self._draining: list[Listener] = []
        self._stopped: set[StopListenersType] = set()
        self._unnamed = server.random.uuid4("listener_manager")
        self._started = False
        inside = server.dispatcher.internal_listeners
        if inside is not None:
            inside.find = self.internal_listener

    def listeners(self) -> list[Listener]:
        """Those in use, in the order in which they were added."""
        return list(self._listeners.values())

    def public_addresses(self) -> list[Address]:
        """Where others than this machine can reach the listeners."""
        addresses = [address for listener in self.listeners() for address in listener.local_addresses]
        return [each for each in addresses if not each.path and not each.host.startswith("127.") and each.host != "::1"]

    def load(self, configs: Iterable[Any], path: str = "static_resources.listeners") -> None:
        """Add the listeners of the bootstrap.

        Raises:
            ConfigError: one of them can not be used, or its address can not be had.
        """
        for index, config in enumerate(configs):
            self.add_or_update_listener(config, f"{path}[{index}]", added_via_api=False)

    def add_or_update_listener(
        self,
        config: Any,
        path: str = "",
        *,
        added_via_api: bool = True,
        unlock: bool = False,
        version_info: str = "",
    ) -> bool:
        """Add a listener or replace the one of its name; False if nothing changes.

        It takes over when it has all that it waits for, such as its routes. With `unlock`, those of the bootstrap can
        be changed, too. `version_info` is that of the resource, for who asks.

        Raises:
            ConfigError: the listener can not be used; the one in use stays.
        """
        name = config.name or self._unnamed()
        active, warming = self._listeners.get(name), self._warming.get(name)
        newest = warming or active
        if newest is not None and ((name in self._static and not unlock) or newest.config == config):
            log.debug(f"duplicate/locked listener '{name}'. no add/update")
            return False
        direction_stopped = config.traffic_direction == 1 and StopListenersType.INBOUND_ONLY in self._stopped
        if StopListenersType.ALL in self._stopped or direction_stopped:
            log.debug(f"listener {name} can not be added because listeners are stopped")
            return False
        running = self._started and active is not None and active.active and not active.datagram
        if running and active is not None and is_filter_chain_only_change(active.config, config):
            self._update_in_place(active, config, path)
            return True
        # Until the server has started, it is the server that waits.
        init_manager = InitManager() if self._started else None
        listener = Listener(
            config,
            self.server,
            self.drain_manager.create_child(modify_only=config.drain_type == 1),
            self.global_connections,
            path,
            name,
            init_manager=init_manager,
            version_info=version_info,
        )
        listener.find_listener = self.listener_at
        try:
            self._refuse_duplicate(listener)
            if isinstance(warming, Listener) and warming.holds_sockets and _same_sockets(warming, listener):
                listener.take_sockets_of(warming)
            elif self._bind and not (active is not None and active.active and _same_sockets(active, listener)):
                listener.bind()
            if init_manager is None:
                self._take_over(listener)
            else:
                self._warm(listener, init_manager)
        except BaseException:
            if self._warming.get(name) is listener:
                del self._warming[name]
            listener.remove()
            self._count()
            raise
        if warming is not None:
            warming.remove()
        if not added_via_api:
            self._static.add(name)
        if newest is None:
            self.stats.listener_added += 1
        else:
            self.stats.listener_modified += 1
        self._count()
        return True

    def warming_listeners(self) -> list[Listener | FilterChainUpdate]:
        """Those that will be in use."""
        return list(self._warming.values())

    def draining_listeners(self) -> list[Listener]:
        """Those that were in use, and have connections that are to end."""
        return list(self._draining)

    def added_via_api(self, name: str) -> bool:
        """It is not one of the bootstrap."""
        return name not in self._static

    def _update_in_place(self, active: Listener, config: Any, path: str) -> None:
        """Nothing but filter chains changes: the listener goes on, and so does who has a chain that stays."""
        init_manager = InitManager()
        update = FilterChainUpdate(active, config, path, init_manager)
        warming = self._warming.get(active.name)
        if warming is not None:
            warming.remove()
        self.stats.listener_in_place_updated += 1
        self.stats.listener_modified += 1
        self._warm(update, init_manager)
        self._count()

    def _apply(self, update: FilterChainUpdate) -> None:
        group = update.apply()
        self.stats.listener_create_success += 1
        self.stats.total_filter_chains_draining += len(group.chains)
        self._draining_chains[group] = None

        def on_over() -> None:
            self.stats.total_filter_chains_draining -= len(group.chains)
            del self._draining_chains[group]

        group.start(self.drain_manager.drain_time, on_over)

    def _warm(self, listener: Listener | FilterChainUpdate, init_manager: InitManager) -> None:
        self._warming[listener.name] = listener
        at_once = True

        def on_ready() -> None:
            if self._warming.get(listener.name) is not listener:
                return
            try:
                self._take_over(listener)
            except ConfigError as error:
                if at_once:
                    raise
                del self._warming[listener.name]
                self.stats.listener_create_failure += 1
                log.error(f"listener '{listener.name}' can not be used: {error}")
                listener.remove()
            self._count()

        init_manager.initialize(on_ready)
        at_once = False

    def _take_over(self, listener: Listener | FilterChainUpdate) -> None:
        """From now on it is the one of its name; the one that was drains.

        Raises:
            ConfigError: another process came first.
        """
        if isinstance(listener, FilterChainUpdate):
            del self._warming[listener.name]
            self._apply(listener)
            return
        old = self._listeners.get(listener.name)
        if old is not None and old.active and _same_sockets(old, listener) and not listener.holds_sockets:
            listener.take_sockets_of(old)
        if self._started:
            listener.start()
            self.stats.listener_create_success += 1
        self._warming.pop(listener.name, None)
        self._listeners[listener.name] = listener
        if old is not None:
            self._drain(old)

    def listener_at(self, address: Address) -> Listener | None:
        """Whose address that is, before any for every host (`ConnectionHandlerImpl::getBalancedHandlerByAddress`)."""
        listeners = self._listeners.values()
        found = (each for each in listeners if each.listens_at(address))
        return next(found, None) or next((each for each in listeners if each.listens_everywhere_at(address)), None)

    def internal_listener(self, name: str) -> Callable[[ConnectionSocket, Explanation], None] | None:
        """What accepts connections from inside for the listener of that name; None if there is none."""
        listener = self._listeners.get(name)
        return None if listener is None or not listener.internal else listener.accept_internal

    def remove_listener(self, name: str, *, unlock: bool = False) -> bool:
        """Stop accepting and drain; False if there is no such listener, or it came from the bootstrap.

        With `unlock`, those of the bootstrap go, too.
        """
        listener, warming = self._listeners.get(name), self._warming.get(name)
        if (listener is None and warming is None) or (name in self._static and not unlock):
            return False
        self._static.discard(name)
        if warming is not None:
            del self._warming[name]
            warming.remove()
        if listener is not None:
            del self._listeners[name]
            self._drain(listener)
        self.stats.listener_removed += 1
        self._count()
        return True

    def start(self) -> None:
        """Accept connections (`startWorkers`).

        Raises:
            ConfigError: another process came first.
        """
        self._started = True
        for listener in self._listeners.values():
            listener.start()
            self.stats.listener_create_success += 1
        self.stats.workers_started = 1
        self._count()

    def stop_listeners(self, kind: StopListenersType = StopListenersType.ALL) -> None:
        """Accept no more; connections go on (`/drain_listeners`)."""
        self._stopped.add(kind)
        for listener in self._listeners.values():
            inbound = listener.traffic_direction == "INBOUND"
            if listener.active and (inbound or kind is StopListenersType.ALL):
                listener.stop_accepting()
                self.stats.listener_stopped += 1

    def drain_listeners(
        self, kind: StopListenersType = StopListenersType.ALL, *, graceful: bool = False, skip_exit: bool = False
    ) -> None:
        """Ask connections to end; stop accepting at once or, if `graceful`, after the drain time.

        With `skip_exit` listeners go on accepting.
        """
        stop_later = graceful and not skip_exit

        def on_drained() -> None:
            if stop_later:
                self.stop_listeners(kind)

        if kind is StopListenersType.ALL:
            self.drain_manager.start_drain_sequence(on_drained)
        else:
            for listener in self._listeners.values():
                if listener.traffic_direction == "INBOUND":
                    listener.drain_manager.start_drain_sequence(on_drained)
        if not graceful and not skip_exit:
            self.stop_listeners(kind)

    def stop(self) -> None:
        """End every listener and every connection, now."""
        for group in tuple(self._draining_chains):
            group.stop()
        for listener in (*self._listeners.values(), *self._warming.values(), *self._draining):
            listener.remove()
        self._listeners.clear()
        self._warming.clear()
        self._static.clear()
        self._draining.clear()
        self._started = False
        self.drain_manager.stop()

    def _drain(self, listener: Listener) -> None:
        listener.stop_accepting()
        self._draining.append(listener)
        listener.drain_manager.start_drain_sequence(lambda: self._drained(listener))

    def _drained(self, listener: Listener) -> None:
        self._draining.remove(listener)
        listener.remove()
        self._count()

    def _refuse_duplicate(self, listener: Listener) -> None:
        for other in (*self._listeners.values(), *self._warming.values()):
            alike = other.bind_to_port == listener.bind_to_port and other.datagram == listener.datagram
            if other.name == listener.name or not alike:
                continue
            taken = {settings.address for settings in other.settings}
            for settings in listener.settings:
                address = settings.address
                if address in taken and (address.port or address.path):
                    raise ConfigError(
                        f"error adding listener: '{listener.name}' has duplicate address '{address}' as existing "
                        "listener, to check if the listener has duplicated addresses with other listeners or "
                        "'enable_reuse_port' is set to 'false' for the listener",
                        listener.path,
                    )

    def _count(self) -> None:
        self.stats.total_listeners_active = len(self._listeners)
        self.stats.total_listeners_warming = len(self._warming)
        self.stats.total_listeners_draining = len(self._draining)


def connection_managers(listener: Any) -> Iterator[Any]:
    """The `HttpConnectionManager` messages inside a `Listener`."""
    chains = [*listener.filter_chains]
    if listener.HasField("default_filter_chain"):
        chains.append(listener.default_filter_chain)
    for chain in chains:
        for each in chain.filters:
            if type_of(each.typed_config).endswith(".HttpConnectionManager"):
                yield unpack(each.typed_config)


def _same_sockets(old: Listener, new: Listener) -> bool:
    return old.bind_to_port == new.bind_to_port and old.settings == new.settings
