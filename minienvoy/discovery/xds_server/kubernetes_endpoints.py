"""Endpoints by names that Kubernetes knows: `namespace/service:port`, followed while somebody wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from ... import logger
from ...errors import ConfigError
from ..kubernetes.load_assignment import cluster_load_assignment
from ..kubernetes.settings import KubernetesSettings, from_source
from ..kubernetes.subscription import Subscription
from .resources import ENDPOINTS, Resources

if TYPE_CHECKING:
    from ..kubernetes.discovery import KubernetesDiscovery
    from ..kubernetes.mapped import Assignment

log = logger.get("config")
MAX_FOLLOWED: Final = 1000
"""Names that are followed at the same time; further ones have no endpoints."""


class KubernetesEndpoints:
    """`values` are the settings of docs/kubernetes.md that say nothing of what is looked for."""

    def __init__(self, resources: Resources, discovery: KubernetesDiscovery, values: Mapping[str, Any]) -> None:
        """Raises ConfigError for settings that can not be."""
        self._resources = resources
        self._discovery = discovery
        self._values = values
        self._followed: dict[str, Subscription] = {}
        self._settings("default/any:http")

    def _settings(self, name: str) -> KubernetesSettings:
        return from_source(self._values, "kubernetes", name, "service_name", 0.0)

    def follow(self, name: str) -> None:
        if name in self._resources.of_type(ENDPOINTS):
            return  # a file says what they are
        if len(self._followed) >= MAX_FOLLOWED:
            log.warning(f"xds: {name} has no endpoints: {MAX_FOLLOWED} names are followed already")
            return
        try:
            settings = self._settings(name)
        except ConfigError as error:
            log.warning(f"xds: {name}: {error.problem}")
            return
        self._discovery.announce(settings)
        subscription = Subscription(name, settings, self._discovery, self._putter(name, settings))
        self._followed[name] = subscription
        subscription.start()

    def unfollow(self, name: str) -> None:
        subscription = self._followed.pop(name, None)
        if subscription is not None:
            subscription.stop()
            self._discovery.withdraw(subscription.settings)
            self._resources.put(ENDPOINTS, {}, gone=frozenset({name}))

    def stop(self) -> None:
        for name in tuple(self._followed):
            self.unfollow(name)

    def _putter(self, name: str, settings: KubernetesSettings) -> Callable[[Assignment], Iterator[None]]:
        def put(assignment: Assignment) -> Iterator[None]:
            sub_zones = settings.sub_zone == "node"
            message = cluster_load_assignment(name, assignment, region=settings.region, sub_zones=sub_zones)
            self._resources.put(ENDPOINTS, {name: message})
            yield

        return put
