"""One stream of the incremental protocol: requests in, responses out. No I/O.

Envoy: the other end of `Config::NewGrpcMuxImpl`; xDS protocol, "Incremental". A response has what has changed and what
is gone; a client that comes again says what it has, and gets the difference.

After clusters their endpoints are told again, if the client knows them: for a cluster that is new or another Envoy
waits for its endpoints, but it does not ask for a name that it has asked for already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...config.api import message_class
from .resources import CLUSTERS, ENDPOINTS, WILDCARD_TYPES, Resources, endpoints_of
from .stream import Stream
from .wanted import MAX_NAMES, Wanted


class DeltaSubscription:
    """Attributes: `known`: name -> version of what the client has."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.wildcard = False
        self.known: dict[str, str] = {}

    def is_about(self, changed: frozenset[str]) -> bool:
        return self.wildcard or not changed.isdisjoint(self.names)


class DeltaStream(Stream[DeltaSubscription]):
    def __init__(self, resources: Resources, wanted: Wanted, send: Callable[[Any], None], type_url: str = "") -> None:
        super().__init__(resources, wanted, send, type_url, DeltaSubscription)

    def on_request(self, request: Any) -> None:
        """Raises ValueError for what no client may ask."""
        type_url, subscription, first = self._subscription(request)
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
            self.respond(type_url, subscription, always=first and subscription.wildcard)

    def respond(self, type_url: str, subscription: DeltaSubscription, *, always: bool) -> None:
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
            response.nonce = self._nonce()
            self._send(response)
        endpoints = self._subscriptions.get(ENDPOINTS)
        if type_url == CLUSTERS and endpoints is not None:
            told = [
                name for each in response.resources if endpoints.known.pop(name := endpoints_of(each.resource), None)
            ]
            if told:
                self.respond(ENDPOINTS, endpoints, always=False)
