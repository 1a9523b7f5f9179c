"""A change of a listener that is about filter chains alone: it goes on with its sockets and with all other chains.

Envoy: `ListenerImpl::newListenerWithFilterChain`, `supportUpdateFilterChain`, `ListenerManagerImpl::
inPlaceFilterChainUpdate`, `DrainingFilterChainsManager`; docs "Listeners > Filter chain only update".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .filter_chains import FilterChains

if TYPE_CHECKING:
    from ..event.init_manager import InitManager
    from ..network.address import Address
    from ..network.filter_chain import FilterChain
    from ..network.listen_socket import ListenSocketSettings
    from .listener import Listener

_CHAINS = ("filter_chains", "default_filter_chain", "filter_chain_matcher")


def is_filter_chain_only_change(before: Any, after: Any) -> bool:
    """Whether nothing but filter chains is different between two `Listener` messages."""
    if not after.filter_chains and not after.HasField("default_filter_chain"):
        return False
    return bool(_without_chains(before) == _without_chains(after))


def _without_chains(config: Any) -> Any:
    rest = type(config)()
    rest.CopyFrom(config)
    for field in _CHAINS:
        rest.ClearField(field)
    return rest


class FilterChainUpdate:
    """What a listener will be as soon as its new filter chains have warmed.

    Attributes:
        listener: that will be changed.
    """

    holds_sockets = False
    datagram = False

    def __init__(self, listener: Listener, config: Any, path: str, init_manager: InitManager) -> None:
        """Raises ConfigError: the chains can not be used; the listener stays as it is."""
        self.listener = listener
        self.config = config
        self.path = path
        self.name = listener.name
        self.init_manager = init_manager
        self.last_updated = listener.server.dispatcher.wall_time()
        context = listener.context.copy(init_manager)
        self._chains = FilterChains(config, listener.address, context, path, listener.filter_chains)

    @property
    def version_info(self) -> str:
        """As in Envoy, that of the listener as it was first."""
        return self.listener.version_info

    @property
    def settings(self) -> list[ListenSocketSettings]:
        return self.listener.settings

    @property
    def bind_to_port(self) -> bool:
        return self.listener.bind_to_port

    @property
    def local_addresses(self) -> list[Address]:
        return self.listener.local_addresses

    def apply(self) -> DrainingFilterChains:
        """New connections go to the new chains from now on."""
        listener = self.listener
        before, listener.filter_chains = listener.filter_chains, self._chains
        listener.config, listener.path, listener.last_updated = self.config, self.path, self.last_updated
        gone = before.without(self._chains)
        return DrainingFilterChains(listener, gone, lambda: before.destroy(gone))

    def remove(self) -> None:
        """It is not wanted any more."""
        self.init_manager.cancel()
        self._chains.destroy(self._chains.new_chains())


class DrainingFilterChains:
    """Chains that new connections do not get any more; those that have them may go on for the drain time."""

    def __init__(self, listener: Listener, chains: list[FilterChain], destroy: Callable[[], None]) -> None:
        self.listener = listener
        self.chains = chains
        self._destroy = destroy
        self._timer = listener.server.dispatcher.create_timer(self._on_drained)
        self._on_over: Callable[[], None] = lambda: None

    def start(self, drain_time: float, on_over: Callable[[], None]) -> None:
        """`on_over` is called when their connections have been closed, `drain_time` seconds from now."""
        self._on_over = on_over
        self._timer.enable(drain_time)

    def stop(self) -> None:
        """Close them now."""
        self._timer.disable()
        self._on_drained()

    def _on_drained(self) -> None:
        self.listener.close_connections_of(self.chains)
        self._destroy()
        self._on_over()
