"""One stream of the state-of-the-world protocol: requests in, responses out. No I/O.

Envoy: the other end of `Config::GrpcMuxImpl`; xDS protocol, "SotW". A response has everything that is wanted of its
type. A request with the last nonce and no other names is an ACK, with `error_detail` a NACK. Another one after that
asks for the same again, as Envoy does for a cluster that is new or another and has endpoints that it knows: it must be
answered, for the cluster is not used before that. A request with an older nonce was written before the last response
came, and is forgotten: the client says it again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...config.api import message_class
from .resources import WILDCARD_TYPES, Resources
from .stream import Stream
from .wanted import MAX_NAMES, Wanted


class SotwSubscription:
    """Attributes:
    known: name -> version of what was sent last.
    settled: the client has said what it thinks of that.
    """

    def __init__(self) -> None:
        self.names: frozenset[str] | None = frozenset()
        self.nonce = ""
        self.settled = False
        self.known: dict[str, str] = {}

    def is_about(self, changed: frozenset[str]) -> bool:
        return self.names is None or not changed.isdisjoint(self.names)


class SotwStream(Stream[SotwSubscription]):
    def __init__(self, resources: Resources, wanted: Wanted, send: Callable[[Any], None], type_url: str = "") -> None:
        super().__init__(resources, wanted, send, type_url, SotwSubscription)

    def on_request(self, request: Any) -> None:
        """Raises ValueError for what no client may ask."""
        if len(request.resource_names) > MAX_NAMES:
            raise ValueError(f"more than {MAX_NAMES} names")
        type_url, subscription, first = self._subscription(request)
        if not first and request.response_nonce and request.response_nonce != subscription.nonce:
            return
        names = self._names(type_url, request, subscription, first)
        before = subscription.names
        subscription.names = names
        old, new = before or frozenset(), names or frozenset()
        self._wanted.add(type_url, new - old)
        self._wanted.remove(type_url, old - new)
        again = subscription.settled and bool(request.response_nonce)
        subscription.settled = bool(request.response_nonce)
        if first or again or names != before:
            self.respond(type_url, subscription, always=first or again)

    @staticmethod
    def _names(type_url: str, request: Any, subscription: SotwSubscription, first: bool) -> frozenset[str] | None:
        names = frozenset(request.resource_names)
        if "*" in names:
            return None
        if not names and type_url in WILDCARD_TYPES and (first or subscription.names is None):
            return None
        return names

    def respond(self, type_url: str, subscription: SotwSubscription, *, always: bool) -> None:
        found = self._resources.of_type(type_url)
        names = subscription.names
        chosen = {name: each for name, each in found.items() if names is None or name in names}
        known = {name: each.version for name, each in chosen.items()}
        # Of a wildcard, to have nothing is an answer; of names, that they are not there yet is none.
        if known == subscription.known and not (always and (known or names is None)):
            return
        subscription.known = known
        subscription.nonce = self._nonce()
        subscription.settled = False
        self._send(
            message_class("envoy.service.discovery.v3.DiscoveryResponse")(
                version_info=self._resources.version(type_url),
                type_url=type_url,
                nonce=subscription.nonce,
                resources=[each.body for _, each in sorted(chosen.items())],
            )
        )
