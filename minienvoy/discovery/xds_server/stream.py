"""What the streams of both protocols have in common: which types are asked for, and by whom.

Envoy: the other end of `Config::GrpcMux`; xDS protocol, "ADS". Each type has a subscription of its own; a stream for
one type has no other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Generic, Protocol, TypeVar

from ... import logger
from .resources import Resources
from .wanted import Wanted

log = logger.get("config")


class TypeSubscription(Protocol):
    """What is asked for of one type."""

    @property
    def names(self) -> Collection[str] | None:
        """None for everything."""

    def is_about(self, changed: frozenset[str]) -> bool: ...


T = TypeVar("T", bound=TypeSubscription)


class Stream(Generic[T]):
    """Protocols override `respond` and have an `on_request`.

    Attributes:
        node: who asks, as far as it is told.
    """

    def __init__(
        self,
        resources: Resources,
        wanted: Wanted,
        send: Callable[[Any], None],
        type_url: str,
        make: Callable[[], T],
    ) -> None:
        """`type_url` is that of a stream for one type only; empty for an aggregated one."""
        self.node = ""
        self._resources = resources
        self._wanted = wanted
        self._send = send
        self._type_url = type_url
        self._make = make
        self._subscriptions: dict[str, T] = {}
        self._serial = 0
        self._stop = resources.watch(self._on_change)

    def respond(self, type_url: str, subscription: T, *, always: bool) -> None:
        """Send what is new; with `always`, that there is nothing is told, too."""
        raise NotImplementedError

    def close(self) -> None:
        self._stop()
        for type_url, subscription in self._subscriptions.items():
            self._wanted.remove(type_url, subscription.names or ())
        self._subscriptions.clear()

    def _subscription(self, request: Any) -> tuple[str, T, bool]:
        """Of the type that a request is about, and whether it is the first request of that type.

        Raises:
            ValueError: this stream has no such type.
        """
        type_url = request.type_url or self._type_url
        if not type_url or (self._type_url and type_url != self._type_url):
            raise ValueError(f"this stream has no resources of the type '{type_url}'")
        self.node = request.node.id or self.node
        subscription = self._subscriptions.get(type_url)
        first = subscription is None
        if subscription is None:
            subscription = self._subscriptions[type_url] = self._make()
        if request.HasField("error_detail"):
            log.warning(f"xds: {self.node or 'a client'} refuses {type_url}: {request.error_detail.message}")
        return type_url, subscription, first

    def _nonce(self) -> str:
        self._serial += 1
        return str(self._serial)

    def _on_change(self, type_url: str, changed: frozenset[str]) -> None:
        subscription = self._subscriptions.get(type_url)
        if subscription is not None and subscription.is_about(changed):
            self.respond(type_url, subscription, always=False)
