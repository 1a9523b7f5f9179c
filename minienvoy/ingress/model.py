"""What objects amount to: ports, hosts and routes, before it is a configuration."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from ..discovery.kubernetes.objects import ObjectKey
from .certificates import Certificate
from .objects import RawObject

EVERY_HOST: Final = "*"


class Backend(NamedTuple):
    """A Service and its port; `http2` if it has to be spoken to in HTTP/2."""

    service: ObjectKey
    port: str | int
    http2: bool = False

    @property
    def cluster(self) -> str:
        return f"{self.service}:{self.port}{'/h2' if self.http2 else ''}"


class Route(NamedTuple):
    """`precedence` sorts the routes of a host; `values` are those of `envoy.config.route.v3.Route`."""

    precedence: tuple[Any, ...]
    values: dict[str, Any]
    backends: tuple[Backend, ...]
    source: RawObject


class Port:
    """Attributes:
    secure: it speaks TLS, and nothing else: without a certificate nobody listens.
    owners: Ingresses and Gateways that want it, by their texts.
    hosts: by their names, `*` for all.
    certificates: by the name that a client asks for, and whose they are.
    """

    def __init__(self, *, secure: bool = False) -> None:
        self.secure = secure
        self.owners: dict[str, RawObject] = {}
        self.hosts: dict[str, list[Route]] = {}
        self.certificates: dict[str, tuple[Certificate, RawObject]] = {}

    def add(self, host: str, route: Route) -> None:
        self.hosts.setdefault(host, []).append(route)


class Found(NamedTuple):
    """What there is to translate."""

    ingresses: tuple[RawObject, ...] = ()
    ingress_classes: tuple[RawObject, ...] = ()
    gateways: tuple[RawObject, ...] = ()
    http_routes: tuple[RawObject, ...] = ()
    grpc_routes: tuple[RawObject, ...] = ()
    grants: tuple[RawObject, ...] = ()
    services: Mapping[ObjectKey, RawObject] = {}
    secrets: Mapping[ObjectKey, RawObject] = {}


class Model:
    """Attributes:
    ports: by number.
    notes: by object, what of it is not done and why; each is told once, and again when the object changes.
    """

    def __init__(self) -> None:
        self.ports: dict[int, Port] = {}
        self.notes: dict[str, list[str]] = {}

    def port(self, number: int, owner: RawObject, *, secure: bool = False) -> Port:
        port = self.ports.setdefault(number, Port(secure=secure))
        port.owners[str(owner)] = owner
        return port

    @property
    def sources(self) -> list[RawObject]:
        """Every object that brings something: those that want ports first, then the oldest."""
        owners: dict[str, RawObject] = {}
        found: dict[str, RawObject] = {}
        for port in self.ports.values():
            owners.update(port.owners)
            for routes in port.hosts.values():
                found.update((str(each.source), each.source) for each in routes)
        return sorted({**found, **owners}.values(), key=lambda each: (str(each) not in owners, each.age))

    def part(self, chosen: Container[str], *, bare: bool = False) -> Model:
        """What the objects `chosen`, as text, bring.

        Routes are on the ports of their Gateways; with `bare` on plain ones, so that they can be looked at alone.
        """
        made = Model()
        made.notes = self.notes
        for number, port in self.ports.items():
            owners = {name: each for name, each in port.owners.items() if name in chosen}
            if not owners and not bare:
                continue
            shown = {host: each for host, each in port.certificates.items() if str(each[1]) in chosen}
            kept = made.ports[number] = Port(secure=port.secure and bool(shown or not bare))
            kept.owners, kept.certificates = owners, shown
            for host, routes in port.hosts.items():
                for each in routes:
                    if str(each.source) in chosen:
                        kept.add(host, each)
        return made

    @contextmanager
    def guarded(self, source: RawObject, where: str) -> Iterator[None]:
        """What an object brings counts only if all of it can be understood; the API server does not check all of it."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problem = f"there is no {error}" if isinstance(error, KeyError) else str(error)
            self.note(source, f"{where} is left out, it can not be understood: {problem}")

    def note(self, source: RawObject, text: str) -> None:
        notes = self.notes.setdefault(str(source), [])
        if text not in notes:
            notes.append(text)

    def refuse_rest(self, source: RawObject, values: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
        """Note every field that is set and not among `known`."""
        for name in values:
            if name not in known:
                self.note(source, f"{where}.{name} is not supported")
