"""Watches the objects, and has a proxy be what they say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Self

from .. import logger
from ..discovery.kubernetes.discovery import KubernetesDiscovery, Watch
from ..discovery.kubernetes.objects import ObjectKey, Resource
from ..discovery.kubernetes.settings import ApiSource
from ..errors import MinienvoyError
from ..event.dispatcher import Dispatcher
from ..event.random import RandomGenerator
from ..proxy import Proxy
from ..record import record
from ..stats.store import Store
from .bootstrap import bootstrap
from .gateway_translator import translate_gateways
from .ingress_translator import translate_ingresses
from .model import Found, Model
from .objects import (
    GATEWAYS,
    GRPC_ROUTES,
    HTTP_ROUTES,
    INGRESS_CLASSES,
    INGRESSES,
    REFERENCE_GRANTS,
    SECRETS,
    SERVICES,
    RawObject,
)

log = logger.get("config")
BATCH: Final = 0.1
"""Seconds from a change to what follows from it: a manifest has several objects."""


@record
class IngressSettings:
    """What is to be followed, and where it is to be served.

    Attributes:
        ingress_class: whose Ingresses count; empty for none.
        gateway_class: whose Gateways count; empty for none.
        namespace: the only one that is looked at; empty for all.
        address: where every port listens.
        http_port, https_port: of Ingresses.
        port_offset: added to the ports of Gateways.
        admin: `host:port` of the admin interface; empty for none.
        kubernetes: where the API server is, and other settings of clusters (docs/kubernetes.md).
    """

    ingress_class: str = ""
    gateway_class: str = ""
    namespace: str = ""
    address: str = "127.0.0.1"
    http_port: int = 8080
    https_port: int = 8443
    port_offset: int = 0
    admin: str = ""
    kubernetes: Mapping[str, Any] = {}


def translate(found: Found, settings: IngressSettings) -> Model:
    """Everything that there is, as ports, hosts and routes."""
    model = Model()
    if settings.ingress_class:
        translate_ingresses(model, found, settings.ingress_class, settings.http_port, settings.https_port)
    if settings.gateway_class:
        translate_gateways(model, found, settings.gateway_class, settings.port_offset)
    return model


class IngressController:
    """Attributes:
    proxy: what serves; None until everything is known for the first time.
    ready: set once it serves.
    """

    def __init__(self, settings: IngressSettings) -> None:
        self.settings = settings
        self.proxy: Proxy | None = None
        self._watches: dict[str, Watch] = {}
        self._told: dict[str, list[str]] = {}
        self._applied: Any = None
        self._applying: asyncio.Task[None] | None = None
        self._dirty = False

    async def __aenter__(self) -> Self:
        self.ready = asyncio.Event()
        self._dispatcher = Dispatcher(asyncio.get_running_loop())
        self._timer = self._dispatcher.create_timer(self._begin)
        self._discovery = KubernetesDiscovery(self._dispatcher, RandomGenerator(None), Store())
        settings = self.settings
        source = ApiSource(settings.kubernetes.get("kubeconfig", ""), settings.kubernetes.get("context", ""))
        wanted: list[Resource] = [SERVICES, SECRETS]
        if settings.ingress_class:
            wanted += [INGRESSES, INGRESS_CLASSES]
        if settings.gateway_class:
            wanted += [GATEWAYS, HTTP_ROUTES, GRPC_ROUTES, REFERENCE_GRANTS]
        for resource in wanted:
            namespace = "" if resource is INGRESS_CLASSES else settings.namespace
            self._watches[resource.plural] = self._discovery.watch(source, resource, namespace, self._on_change)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._timer.disable()
        if self._applying is not None:
            self._applying.cancel()
        for watch in self._watches.values():
            self._discovery.release(watch, self._on_change)
        self._discovery.stop()
        if self.proxy is not None:
            await self.proxy.stop()
        await self._dispatcher.stop()

    def found(self) -> Found:
        """What is known now."""

        def of(plural: str) -> tuple[RawObject, ...]:
            watch = self._watches.get(plural)
            return () if watch is None else tuple(each for each in watch.store if isinstance(each, RawObject))

        def by_key(plural: str) -> Mapping[ObjectKey, RawObject]:
            return {each.key: each for each in of(plural)}

        return Found(
            of("ingresses"),
            of("ingressclasses"),
            of("gateways"),
            of("httproutes"),
            of("grpcroutes"),
            of("referencegrants"),
            by_key("services"),
            by_key("secrets"),
        )

    # -- inside

    def _on_change(self, _: frozenset[ObjectKey]) -> None:
        if all(watch.known for watch in self._watches.values()) and not self._timer.enabled:
            self._timer.enable(BATCH)

    def _begin(self) -> None:
        if self._applying is not None:
            self._dirty = True
            return
        self._applying = self._dispatcher.create_task(self._apply(), "ingress")

    async def _apply(self) -> None:
        try:
            await self._apply_now()
        except MinienvoyError as error:
            log.error(f"kubernetes: everything stays as it was: {error}")
        finally:
            self._applying = None
            if self._dirty:
                self._dirty = False
                self._timer.enable(BATCH)

    async def _apply_now(self) -> None:
        settings = self.settings
        found = self.found()
        model = translate(found, settings)
        values = bootstrap(model, settings.address, settings.admin, settings.kubernetes)
        if values == self._applied:
            return
        if self.proxy is None:
            proxy = Proxy.from_dict(values, ports="as_configured")
            await proxy.start()
            self.proxy = proxy
        else:
            await self.proxy.apply(values)
        self._applied = values
        self._tell(model)
        self.ready.set()

    def _tell(self, model: Model) -> None:
        """What of each object is not done; of one that says the same again, nothing."""
        for source, notes in model.notes.items():
            if self._told.get(source) != notes:
                for note in notes:
                    log.warning(f"kubernetes: {source}: {note}")
        self._told = model.notes
        hosts = sum(len(port.hosts) for port in model.ports.values())
        ports = ", ".join(map(str, sorted(model.ports))) or "none"
        log.info(f"kubernetes: {hosts} host(s) on the ports: {ports}")
