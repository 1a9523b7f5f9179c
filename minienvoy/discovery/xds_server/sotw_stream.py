"""One stream of the state-of-the-world protocol: requests in, responses out. No I/O.

Envoy: the other end of `Config::GrpcMuxImpl`; xDS protocol, "SotW". A response has everything that is wanted of its
type. A request with the last nonce and no other names is an ACK, with `error_detail` a NACK; one with an older nonce
was written before the last response came, and is forgotten: the client says it again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import logger
from ...config.api import message_class
from .resources import ORDER, WILDCARD_TYPES, Resources
from .wanted import MAX_NAMES, Wanted

log = logger.get("config")


class _Subscription:
    """Attributes: `names` is None for everything."""

    def __init__(self) -> None:
        self.names: frozenset[str] | None = frozenset()
        self.nonce = ""
        self.known: dict[str, str] = {}
        """Name -> version of what was sent last."""


class SotwStream:
    """`type_url` is that of a stream for one type only; empty for an aggregated one."""

    def __init__(self, resources: Resources, wanted: Wanted, send: Callable[[Any], None], type_url: str = "") -> None:
        self._resources = resources
        self._wanted = wanted
        self._send = send
        self._type_url = type_url
        self._subscriptions: dict[str, _Subscription] = {}
        self._serial = 0
        self.node = ""
        self._stop = resources.watch(self._on_change)

    def on_request(self, request: Any) -> None:
        """Raises ValueError for what no client may ask."""
        type_url = request.type_url or self._type_url
        if not type_url or (self._type_url and type_url != self._type_url):
            raise ValueError(f"this stream has no resources of the type '{type_url}'")
        if len(request.resource_names) > MAX_NAMES:
            raise ValueError(f"more than {MAX_NAMES} names")
        self.node = request.node.id or self.node
        first = type_url not in self._subscriptions
        subscription = self._subscriptions.setdefault(type_url, _Subscription())
        if request.HasField("error_detail"):
            log.warning(f"xds: {self.node or 'a client'} refuses {type_url}: {request.error_detail.message}")
        if not first and request.response_nonce and request.response_nonce != subscription.nonce:
            return
        names = self._names(type_url, request, subscription, first)
        before = subscription.names
        subscription.names = names
        old, new = before or frozenset(), names or frozenset()
        self._wanted.add(type_url, new - old)
        self._wanted.remove(type_url, old - new)
        if first or names != before:
            self._respond(type_url, subscription, always=first and request.version_info == "")

    def close(self) -> None:
        self._stop()
        for type_url, subscription in self._subscriptions.items():
            self._wanted.remove(type_url, subscription.names or ())
        self._subscriptions.clear()

    @staticmethod
    def _names(type_url: str, request: Any, subscription: _Subscription, first: bool) -> frozenset[str] | None:
        names = frozenset(request.resource_names)
        if "*" in names:
            return None
        if not names and type_url in WILDCARD_TYPES and (first or subscription.names is None):
            return None
        return names

    def _on_change(self, type_url: str, changed: frozenset[str]) -> None:
        subscription = self._subscriptions.get(type_url)
        if subscription is None:
            return
        if subscription.names is None or not changed.isdisjoint(subscription.names):
            self._respond(type_url, subscription, always=False)

    def _respond(self, type_url: str, subscription: _Subscription, *, always: bool) -> None:
        found = self._resources.of_type(type_url)
        names = subscription.names
        chosen = {name: each for name, each in found.items() if names is None or name in names}
        known = {name: each.version for name, each in chosen.items()}
        # Of a wildcard, to have nothing is an answer; of names, that they are not there yet is none.
        if known == subscription.known and not (always and (known or names is None)):
            return
        subscription.known = known
        self._serial += 1
        subscription.nonce = str(self._serial)
        self._send(
            message_class("envoy.service.discovery.v3.DiscoveryResponse")(
                version_info=self._resources.version(type_url),
                type_url=type_url,
                nonce=subscription.nonce,
                resources=[each.body for _, each in sorted(chosen.items())],
            )
        )


def in_order(type_urls: list[str]) -> list[str]:
    """Sorted as changes have to be told."""
    return sorted(type_urls, key=lambda each: ORDER.index(each) if each in ORDER else len(ORDER))
