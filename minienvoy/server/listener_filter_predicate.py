"""Sockets that a listener filter does not look at.

Envoy: `Network::ListenerFilterMatcher` (`source/common/listener_manager/filter_chain_manager_impl.cc`,
`GenericListenerFilter`); `envoy.config.listener.v3.ListenerFilterChainMatchPredicate`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..config.fields import honours
from ..network.filter import FilterStatus, ListenerFilter, ListenerFilterCallbacks, ListenerFilterFactory
from ..network.socket import ConnectionSocket

_TYPE: Final = "envoy.config.listener.v3.ListenerFilterChainMatchPredicate"

honours(_TYPE, "or_match", "and_match", "not_match", "any_match", "destination_port_range")
honours(f"{_TYPE}.MatchSet", "rules")
honours("envoy.type.v3.Int32Range", "start", "end")

Predicate = Callable[[ConnectionSocket], bool]


def compile_predicate(config: Any) -> Predicate:
    """Whether a socket matches a `ListenerFilterChainMatchPredicate`."""
    rule = config.WhichOneof("rule")
    if rule in ("or_match", "and_match"):
        parts = [compile_predicate(each) for each in getattr(config, rule).rules]
        joined = any if rule == "or_match" else all
        return lambda socket: joined(part(socket) for part in parts)
    if rule == "not_match":
        inner = compile_predicate(config.not_match)
        return lambda socket: not inner(socket)
    if rule == "any_match":
        return lambda socket: True
    ports = range(config.destination_port_range.start, config.destination_port_range.end)
    return lambda socket: socket.local_address.port in ports


def unless(disabled: Predicate, make: ListenerFilterFactory) -> ListenerFilterFactory:
    """A filter for the sockets that do not match."""
    return lambda: GenericListenerFilter(disabled, make())


class GenericListenerFilter(ListenerFilter):
    """One filter and whom it is not for."""

    def __init__(self, disabled: Predicate, inner: ListenerFilter) -> None:
        self._disabled = disabled
        self._inner = inner
        self.max_read_bytes = inner.max_read_bytes

    @property
    def callbacks(self) -> ListenerFilterCallbacks:
        return self._inner.callbacks

    @callbacks.setter
    def callbacks(self, callbacks: ListenerFilterCallbacks) -> None:
        self._inner.callbacks = callbacks

    def on_accept(self, socket: ConnectionSocket) -> FilterStatus:
        return FilterStatus.CONTINUE if self._disabled(socket) else self._inner.on_accept(socket)

    def on_data(self, socket: ConnectionSocket, peeked: bytes) -> FilterStatus:
        return self._inner.on_data(socket, peeked)

    def on_close(self) -> None:
        self._inner.on_close()
