"""What objects amount to: ports, hosts and routes, before it is a configuration."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ..discovery.kubernetes.objects import ObjectKey
from .objects import RawObject

EVERY_HOST: Final = "*"


class Certificate(NamedTuple):
    """PEM texts of a Secret."""

    chain: str
    key: str


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
    hosts: by their names, `*` for all.
    certificates: by the name that a client asks for; empty for plain HTTP.
    """

    def __init__(self) -> None:
        self.hosts: dict[str, list[Route]] = {}
        self.certificates: dict[str, Certificate] = {}

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

    def port(self, number: int) -> Port:
        return self.ports.setdefault(number, Port())

    def note(self, source: RawObject, text: str) -> None:
        notes = self.notes.setdefault(str(source), [])
        if text not in notes:
            notes.append(text)

    def refuse_rest(self, source: RawObject, values: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
        """Note every field that is set and not among `known`."""
        for name in values:
            if name not in known:
                self.note(source, f"{where}.{name} is not supported")


def certificate(secret: RawObject | None) -> Certificate | str:
    """Of a Secret of the type `kubernetes.io/tls`; a text says what is wrong with it."""
    if secret is None:
        return "there is no such Secret"
    data = secret.member("data")
    texts = []
    for name in ("tls.crt", "tls.key"):
        if name not in data:
            return f"it has no {name}"
        try:
            texts.append(base64.b64decode(data[name], validate=True).decode())
        except (binascii.Error, UnicodeDecodeError, TypeError):
            return f"{name} is not base64 of a PEM text"
    return Certificate(*texts)
