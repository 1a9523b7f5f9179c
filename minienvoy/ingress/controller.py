"""Watches the objects, and has a proxy be what they say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Self

from .. import logger
from ..discovery.kubernetes.discovery import KubernetesDiscovery, Watch
from ..discovery.kubernetes.object_report import SINGLETON, ObjectReport, ObjectState
from ..discovery.kubernetes.objects import ObjectKey, Resource
from ..discovery.kubernetes.settings import ApiSource
from ..errors import ConfigError, MinienvoyError
from ..event.dispatcher import Dispatcher
from ..event.random import RandomGenerator
from ..extensions import register_catalogue
from ..network.address import Address
from ..network.listen_socket import ListenSocketSettings, bind_listen_socket
from ..proxy import Proxy
from ..record import record
from ..stats.store import Store
from .bootstrap import bootstrap
from .gateway_translator import translate_gateways
from .ingress_translator import translate_ingresses
from .isolation import Isolation, problem_of
from .model import Backend, Found, Model, Route
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
AGAIN: Final = 10.0
"""Seconds until something is tried again that is nobody's fault: a port that another process has."""


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
        self._told: dict[str, ObjectState] = {}
        self._report = ObjectReport()
        self._isolation = Isolation(self._configuration, lambda values: problem_of(values, self._dispatcher))
        self._applied: Any = None
        self._ports: frozenset[int] = frozenset()
        self._applying: asyncio.Task[None] | None = None
        self._dirty = False

    async def __aenter__(self) -> Self:
        """Raises ConfigError if the settings can not be."""
        register_catalogue()
        self.ready = asyncio.Event()
        self._dispatcher = Dispatcher(asyncio.get_running_loop())
        problem = await problem_of(self._configuration(_example()), self._dispatcher)
        if problem:
            await self._dispatcher.stop()
            raise ConfigError(problem)
        self._timer = self._dispatcher.create_timer(self._begin)
        self._again = self._dispatcher.create_timer(self._begin)
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
        self._again.disable()
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
            self._again.enable(AGAIN)
        finally:
            self._applying = None
            if self._dirty:
                self._dirty = False
                self._timer.enable(BATCH)

    async def _apply_now(self) -> None:
        model = translate(self.found(), self.settings)
        try:
            await self._serve(self._with_ports(self._isolation.rest(model), model))
        except ConfigError as error:
            log.warning(f"kubernetes: somebody's object can not be served, looking for it: {error}")
            await self._serve(self._with_ports(await self._isolation.search(model), model))
        self._tell(model)
        self.ready.set()

    def _configuration(self, model: Model) -> dict[str, Any]:
        return bootstrap(model, self.settings.address, self.settings.admin, self.settings.kubernetes)

    async def _serve(self, model: Model) -> None:
        values = self._configuration(model)
        if values == self._applied:
            return
        if self.proxy is None:
            proxy = Proxy.from_dict(values, ports="as_configured")
            await proxy.start()
            proxy.server.cluster_manager.singletons[SINGLETON] = self._report
            self.proxy = proxy
        else:
            await self.proxy.apply(values)
        self._applied = values
        self._ports = frozenset(model.ports)
        hosts = sum(len(port.hosts) for port in model.ports.values())
        ports = ", ".join(map(str, sorted(model.ports))) or "none"
        log.info(f"kubernetes: {hosts} host(s) on the ports: {ports}")

    def _with_ports(self, model: Model, whole: Model) -> Model:
        """Without the ports that can not be had, which are noted in `whole`; they are tried again."""
        missing = {}
        for number in sorted(model.ports.keys() - self._ports):
            try:
                bind_listen_socket(ListenSocketSettings(Address(self.settings.address, number))).close()
            except (ConfigError, OSError, OverflowError) as error:
                missing[number] = error.problem if isinstance(error, ConfigError) else str(error)
        for number, problem in missing.items():
            for owner in model.ports.pop(number).owners.values():
                whole.note(owner, f"port {number} can not be had: {problem}")
        if missing:
            self._again.enable(AGAIN)
        return model

    def _tell(self, model: Model) -> None:
        """What of each object is not done; of one that says the same again, nothing."""
        left_out = self._isolation.left_out
        states = {
            name: ObjectState(name, left_out.get(name, ""), tuple(model.notes.get(name, ())))
            for name in dict.fromkeys((*left_out, *model.notes))
        }
        for name, state in states.items():
            if self._told.get(name) != state:
                if state.left_out:
                    log.error(f"kubernetes: {name} is left out: {state.left_out}")
                for note in state.notes:
                    log.warning(f"kubernetes: {name}: {note}")
        self._told = states
        self._report.states = tuple(states.values())


def _example() -> Model:
    """Something that can be served, unless the settings are wrong."""
    model = Model()
    service = Backend(ObjectKey("default", "example"), 80)
    source = RawObject(service.service, "", "Service", "", (), ())
    values = {"match": {"prefix": "/"}, "route": {"cluster": service.cluster}}
    model.port(80, source).add("*", Route((), values, (service,), source))
    return model
