"""What the server has to give, and since which change.

Envoy: what `go-control-plane` calls a snapshot cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

from ...config.api import message_class

PREFIX: Final = "type.googleapis.com/"
CLUSTERS: Final = f"{PREFIX}envoy.config.cluster.v3.Cluster"
ENDPOINTS: Final = f"{PREFIX}envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENERS: Final = f"{PREFIX}envoy.config.listener.v3.Listener"
ROUTES: Final = f"{PREFIX}envoy.config.route.v3.RouteConfiguration"
SECRETS: Final = f"{PREFIX}envoy.extensions.transport_sockets.tls.v3.Secret"
WILDCARD_TYPES: Final = (CLUSTERS, LISTENERS)
"""Of these, who names nothing wants everything."""
ORDER: Final = (CLUSTERS, ENDPOINTS, LISTENERS, ROUTES)
"""In which changes of several types are told, so that nothing is named before it is there (make before break)."""
_NAME_FIELDS: Final = ("name", "cluster_name")

Watcher = Callable[[str, frozenset[str]], None]


class Resource(NamedTuple):
    """One, packed. `version` is made of what is in it: a client that comes from another run of this server, with what
    it had from there, is told what differs and nothing else."""

    version: str
    body: Any


def name_of(message: Any) -> str:
    """What a resource is asked for by."""
    for field in _NAME_FIELDS:
        if field in message.DESCRIPTOR.fields_by_name:
            return str(getattr(message, field))
    return ""


def endpoints_of(packed: Any) -> str:
    """The name under which a cluster asks for its endpoints, if it does."""
    cluster = message_class("envoy.config.cluster.v3.Cluster").FromString(packed.value)
    return str(cluster.eds_cluster_config.service_name or cluster.name)


class Resources:
    """By their type URL and name. Whoever watches hears of every change, once for each type."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, Resource]] = {}
        self._serial: dict[str, int] = {}
        self._watchers: list[Watcher] = []

    def version(self, type_url: str) -> str:
        """Of all resources of a type together."""
        return str(self._serial.get(type_url, 0))

    def of_type(self, type_url: str) -> Mapping[str, Resource]:
        return self._found.get(type_url, {})

    def put(self, type_url: str, messages: Mapping[str, Any], *, gone: frozenset[str] = frozenset()) -> None:
        """Add or replace; what is as it was is no change."""
        found = self._found.setdefault(type_url, {})
        version = str(self._serial.get(type_url, 0) + 1)
        changed = {name for name in gone if found.pop(name, None) is not None}
        for name, message in messages.items():
            body = message_class("google.protobuf.Any")(
                type_url=type_url, value=message.SerializeToString(deterministic=True)
            )
            before = found.get(name)
            if before is None or before.body != body:
                found[name] = Resource(sha256(body.value).hexdigest()[:16], body)
                changed.add(name)
        if changed:
            self._serial[type_url] = int(version)
            for watcher in tuple(self._watchers):
                watcher(type_url, frozenset(changed))

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """The result ends it."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)


def in_order(type_urls: list[str]) -> list[str]:
    """Sorted as changes have to be told."""
    return sorted(type_urls, key=lambda each: ORDER.index(each) if each in ORDER else len(ORDER))
