"""One stream of the incremental protocol: requests in, responses out. No I/O.

Envoy: the other end of `Config::NewGrpcMuxImpl`; xDS protocol, "Incremental". A response has what has changed and what
is gone; a client that comes again says what it has, and gets the difference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import logger
from ...config.api import message_class
from .resources import WILDCARD_TYPES, Resources
from .wanted import MAX_NAMES, Wanted

log = logger.get("config")


class _Subscription:
    """Attributes: `known`: name -> version of what the client has; an empty version for what it knows not to exist."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.wildcard = False
        self.known: dict[str, str] = {}


class DeltaStream:
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
        self.node = request.node.id or self.node
        first = type_url not in self._subscriptions
        subscription = self._subscriptions.setdefault(type_url, _Subscription())
        if request.HasField("error_detail"):
            log.warning(f"xds: {self.node or 'a client'} refuses {type_url}: {request.error_detail.message}")
        if first:
            subscription.known.update(request.initial_resource_versions)
        added = set(request.resource_names_subscribe)
        gone = set(request.resource_names_unsubscribe)
        if len(subscription.names | added) > MAX_NAMES:
            raise ValueError(f"more than {MAX_NAMES} names")
        if "*" in added or (first and not added and type_url in WILDCARD_TYPES):
            subscription.wildcard = True
        if "*" in gone:
            subscription.wildcard = False
        added.discard("*")
        gone.discard("*")
        self._wanted.add(type_url, added - subscription.names)
        self._wanted.remove(type_url, gone & subscription.names)
        subscription.names = (subscription.names | added) - gone
        for name in gone:
            subscription.known.pop(name, None)
        for name in added:
            # Who asks again wants to be told again, even what has not changed.
            if not first:
                subscription.known.pop(name, None)
        if first or added or "*" in request.resource_names_subscribe:
            self._respond(type_url, subscription, always=first and subscription.wildcard)

    def close(self) -> None:
        self._stop()
        for type_url, subscription in self._subscriptions.items():
            self._wanted.remove(type_url, subscription.names)
        self._subscriptions.clear()

    def _on_change(self, type_url: str, changed: frozenset[str]) -> None:
        subscription = self._subscriptions.get(type_url)
        if subscription is not None and (subscription.wildcard or not changed.isdisjoint(subscription.names)):
            self._respond(type_url, subscription, always=False)

    def _respond(self, type_url: str, subscription: _Subscription, *, always: bool) -> None:
        found = self._resources.of_type(type_url)
        names = set(found) if subscription.wildcard else subscription.names
        known = subscription.known
        response = message_class("envoy.service.discovery.v3.DeltaDiscoveryResponse")(
            system_version_info=self._resources.version(type_url), type_url=type_url
        )
        for name in sorted(names | subscription.names):
            resource = found.get(name)
            if resource is not None and known.get(name) != resource.version:
                response.resources.add(name=name, version=resource.version).resource.CopyFrom(resource.body)
                known[name] = resource.version
        for name in sorted(known):
            if name not in found:
                response.removed_resources.append(name)
                del known[name]
        if response.resources or response.removed_resources or always:
            self._serial += 1
            response.nonce = str(self._serial)
            self._send(response)
