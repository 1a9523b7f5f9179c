"""Gateways, HTTPRoutes and GRPCRoutes as ports, hosts and routes.

Kubernetes: `gateway.networking.k8s.io/v1`. Of the matches of a host an exact path goes first, then the longer prefix, a
method, more headers, more query parameters, the older route, the earlier rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ..discovery.kubernetes.objects import ObjectKey
from .certificates import Certificate, certificate
from .model import EVERY_HOST, Backend, Found, Model, Route
from .objects import RawObject
from .route_filters import Filters, translate_backend_filters, translate_filters
from .route_matches import grpc_match, http_match

GROUP: Final = "gateway.networking.k8s.io"
NO_BACKEND: Final = "no backend"
"""A cluster that there is not: requests that are meant for a backend which does not exist are answered with 500."""
_RULE_FIELDS: Final = ("name", "matches", "filters", "backendRefs", "timeouts")
_BACKEND_FIELDS: Final = ("group", "kind", "name", "namespace", "port", "weight", "filters")


class _Listener:
    """One listener of a Gateway that routes may attach to."""

    def __init__(self, gateway: RawObject, spec: dict[str, Any], port: int) -> None:
        self.gateway = gateway
        self.name = spec["name"]
        self.own_port = spec["port"]
        """As the Gateway says it."""
        self.hostname = spec.get("hostname") or EVERY_HOST
        self.port = port
        allowed = spec.get("allowedRoutes") or {}
        self.namespaces = (allowed.get("namespaces") or {}).get("from", "Same")
        self.kinds = tuple(each["kind"] for each in allowed.get("kinds") or ())

    def allows(self, route: RawObject) -> bool:
        if self.kinds and route.kind not in self.kinds:
            return False
        return self.namespaces == "All" or (
            self.namespaces == "Same" and route.key.namespace == self.gateway.key.namespace
        )


def translate_gateways(model: Model, found: Found, gateway_class: str, port_offset: int) -> None:
    """Put those of the class into `model`. `port_offset` is added to every port, for who may have none below 1024."""
    listeners: list[_Listener] = []
    chosen = [each for each in found.gateways if each.spec.get("gatewayClassName") == gateway_class]
    for gateway in sorted(chosen, key=lambda each: each.age):
        model.refuse_rest(gateway, gateway.spec, ("gatewayClassName", "listeners"), "spec")
        for at, spec in enumerate(gateway.spec.get("listeners") or ()):
            with model.guarded(gateway, where := f"spec.listeners[{at}]"):
                listener = _listener(model, found, gateway, spec, where, port_offset)
                if listener is not None:
                    listeners.append(listener)
    routes = (*found.http_routes, *found.grpc_routes)
    for route in sorted(routes, key=lambda each: each.age):
        with model.guarded(route, "spec"):
            _attach(model, found, route, listeners)


def _listener(
    model: Model, found: Found, gateway: RawObject, spec: dict[str, Any], where: str, port_offset: int
) -> _Listener | None:
    protocol = spec.get("protocol")
    if protocol not in ("HTTP", "HTTPS"):
        model.note(gateway, f"{where}.protocol {protocol} is not supported, only HTTP and HTTPS")
        return None
    model.refuse_rest(gateway, spec, ("name", "hostname", "port", "protocol", "tls", "allowedRoutes"), where)
    allowed = spec.get("allowedRoutes") or {}
    model.refuse_rest(gateway, allowed, ("namespaces", "kinds"), f"{where}.allowedRoutes")
    model.refuse_rest(
        gateway, allowed.get("namespaces") or {}, ("from", "selector"), f"{where}.allowedRoutes.namespaces"
    )
    for index, kind in enumerate(allowed.get("kinds") or ()):
        model.refuse_rest(gateway, kind, ("group", "kind"), f"{where}.allowedRoutes.kinds[{index}]")
        if kind.get("group", GROUP) != GROUP or kind["kind"] not in ("HTTPRoute", "GRPCRoute"):
            model.note(gateway, f"{where}.allowedRoutes.kinds[{index}] {kind['kind']} is not supported")
    namespaces = (allowed.get("namespaces") or {}).get("from", "Same")
    if namespaces not in ("Same", "All", "None"):
        model.note(gateway, f"{where}.allowedRoutes.namespaces.from {namespaces} is not supported: no route attaches")
    listener = _Listener(gateway, spec, spec["port"] + port_offset)
    there = model.ports.get(listener.port)
    if there is not None and there.secure is (protocol == "HTTP"):
        model.note(gateway, f"{where}.port {spec['port']} is of the other protocol already")
        return None
    if protocol == "HTTP":
        if spec.get("tls"):
            model.note(gateway, f"{where}.tls is not supported where protocol is HTTP")
        model.port(listener.port, gateway)
        return listener
    tls = spec.get("tls") or {}
    if tls.get("mode", "Terminate") != "Terminate":
        model.note(gateway, f"{where}.tls.mode {tls['mode']} is not supported, only Terminate")
        return None
    model.refuse_rest(gateway, tls, ("mode", "certificateRefs"), f"{where}.tls")
    shown: list[Certificate] = []
    for index, reference in enumerate(tls.get("certificateRefs") or ()):
        place = f"{where}.tls.certificateRefs[{index}]"
        model.refuse_rest(gateway, reference, ("group", "kind", "name", "namespace"), place)
        if (reference.get("group", ""), reference.get("kind", "Secret")) != ("", "Secret"):
            model.note(gateway, f"{place} is no Secret")
            continue
        key = ObjectKey(reference.get("namespace") or gateway.key.namespace, reference["name"])
        if not _granted(found, gateway, "Gateway", GROUP, key, "", "Secret"):
            model.note(gateway, f"{place}: no ReferenceGrant allows Secret {key}")
            continue
        made = certificate(found.secrets.get(key))
        if isinstance(made, str):
            model.note(gateway, f"{place}: Secret {key}: {made}")
            continue
        shown.append(made)
    if not shown:
        return None  # a port for TLS must not become one without it
    if len(shown) > 1:
        model.note(gateway, f"{where}.tls.certificateRefs: only the first of several is shown")
    certificates = model.port(listener.port, gateway, secure=True).certificates
    if listener.hostname in certificates:
        model.note(gateway, f"{where}: another listener of this port and hostname has its certificate shown")
    certificates.setdefault(listener.hostname, (shown[0], gateway))
    return listener


def _attach(model: Model, found: Found, route: RawObject, listeners: list[_Listener]) -> None:
    spec = route.spec
    model.refuse_rest(route, spec, ("parentRefs", "hostnames", "rules"), "spec")
    attached: dict[tuple[int, str], None] = {}
    for at, parent in enumerate(spec.get("parentRefs") or ()):
        where = f"spec.parentRefs[{at}]"
        if parent.get("kind", "Gateway") != "Gateway" or parent.get("group", GROUP) != GROUP:
            model.note(route, f"{where} is no Gateway")
            continue
        known = ("group", "kind", "namespace", "name", "sectionName", "port")
        model.refuse_rest(route, parent, known, where)
        key = ObjectKey(parent.get("namespace") or route.key.namespace, parent["name"])
        ours = [each for each in listeners if each.gateway.key == key]
        named = [
            each
            for each in ours
            if parent.get("sectionName", each.name) == each.name and parent.get("port", each.own_port) == each.own_port
        ]
        allowed = [each for each in named if each.allows(route)]
        places = [
            (listener.port, host)
            for listener in allowed
            for name in spec.get("hostnames") or (EVERY_HOST,)
            if (host := _common(name, listener.hostname)) is not None
        ]
        if ours and not places:
            reason = "has no such listener" if not named else "does not allow it" if not allowed else "has other hosts"
            model.note(route, f"{where}: Gateway {key} {reason}")
        attached.update(dict.fromkeys(places))
    if not attached:
        return
    made = list(_routes(model, found, route))
    for number, host in attached:
        for each in made:
            model.ports[number].add(host, each)


def _common(one: str, other: str) -> str | None:
    """The hosts that both names mean; None if there are none."""
    if one in (EVERY_HOST, other):
        return other
    if other == EVERY_HOST:
        return one
    for wide, narrow in ((one, other), (other, one)):
        if wide.startswith("*.") and narrow.endswith(wide[1:]) and len(narrow) > len(wide) - 1:
            return narrow
    return None


def _routes(model: Model, found: Found, route: RawObject) -> Iterator[Route]:
    grpc = route.kind == "GRPCRoute"
    for at, rule in enumerate(route.spec.get("rules") or ()):
        where = f"spec.rules[{at}]"
        model.refuse_rest(route, rule, _RULE_FIELDS, where)
        filters = translate_filters(model, route, rule.get("filters") or (), f"{where}.filters", found)
        action, backends = _action(model, found, route, rule, where, filters, grpc)
        for index, match in enumerate(rule.get("matches") or ({},)):
            place = f"{where}.matches[{index}]"
            translated = grpc_match(model, route, match, place) if grpc else http_match(model, route, match, place)
            if translated is None:
                continue
            precedence, values = translated
            whole = {"name": f"{route.key}", "match": values, **filters.headers, **action}
            prefix = values.get("path_separated_prefix") or values.get("prefix") or ""
            filters.rewrite(whole, prefix)
            yield Route((*precedence, route.age, at, index), whole, backends, route)


def _action(
    model: Model, found: Found, route: RawObject, rule: dict[str, Any], where: str, filters: Filters, grpc: bool
) -> tuple[dict[str, Any], tuple[Backend, ...]]:
    if filters.redirect is not None:
        return {"redirect": filters.redirect}, ()
    clusters: list[dict[str, Any]] = []
    backends: list[Backend] = []
    broken = 0
    for at, reference in enumerate(rule.get("backendRefs") or ()):
        place = f"{where}.backendRefs[{at}]"
        weight = reference.get("weight", 1)
        backend = _backend(model, found, route, reference, place, grpc)
        if backend is None:
            broken += weight
            continue
        own = translate_backend_filters(model, route, reference.get("filters") or (), f"{place}.filters", found)
        clusters.append({"name": backend.cluster, "weight": weight, **own})
        backends.append(backend)
    if not any(each["weight"] for each in clusters):
        return {"direct_response": {"status": 500}}, ()
    values: dict[str, Any] = {**filters.route}
    if broken:
        clusters.append({"name": NO_BACKEND, "weight": broken})
        values["cluster_not_found_response_code"] = "INTERNAL_SERVER_ERROR"
    if len(clusters) == 1 and len(clusters[0]) == 2:
        values["cluster"] = clusters[0]["name"]
    else:
        values["weighted_clusters"] = {"clusters": clusters}
    timeouts = rule.get("timeouts") or {}
    model.refuse_rest(route, timeouts, ("request", "backendRequest"), f"{where}.timeouts")
    values["timeout"] = _seconds(timeouts.get("request")) or "0s"
    if timeouts.get("backendRequest"):
        values["retry_policy"] = {"per_try_timeout": _seconds(timeouts["backendRequest"])}
    return {"route": values}, (*backends, *filters.mirrors)


def _backend(
    model: Model, found: Found, route: RawObject, reference: dict[str, Any], where: str, grpc: bool
) -> Backend | None:
    model.refuse_rest(route, reference, _BACKEND_FIELDS, where)
    if reference.get("kind", "Service") != "Service" or reference.get("group", ""):
        model.note(route, f"{where} is no Service")
        return None
    key = ObjectKey(reference.get("namespace") or route.key.namespace, reference["name"])
    if not _granted(found, route, route.kind, GROUP, key, "", "Service"):
        model.note(route, f"{where}: no ReferenceGrant allows Service {key}")
        return None
    if key not in found.services:
        model.note(route, f"{where}: there is no Service {key}")
        return None
    if not reference.get("port"):
        model.note(route, f"{where}.port is missing")
        return None
    return Backend(key, reference["port"], http2=grpc)


def _granted(
    found: Found, source: RawObject, kind: str, group: str, target: ObjectKey, to_group: str, to_kind: str
) -> bool:
    """Whether `source` may name an object of another namespace."""
    if target.namespace == source.key.namespace:
        return True
    for grant in found.grants:
        if grant.key.namespace != target.namespace:
            continue
        sources = grant.spec.get("from") or ()
        targets = grant.spec.get("to") or ()
        if any(
            (each.get("group"), each.get("kind"), each.get("namespace")) == (group, kind, source.key.namespace)
            for each in sources
        ) and any(
            (each.get("group", ""), each.get("kind")) == (to_group, to_kind)
            and each.get("name", target.name) == target.name
            for each in targets
        ):
            return True
    return False


_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def _seconds(text: str | None) -> str:
    """From a duration of the Gateway API, e.g. `1h30m`, `500ms`; empty for none."""
    if not text:
        return ""
    total = 0.0
    number = unit = ""
    for char in f"{text} ":
        if char.isdigit():
            if unit:
                total += float(number) * _UNITS[unit]
                number = unit = ""
            number += char
        else:
            unit += char.strip()
    total += float(number or 0) * _UNITS.get(unit, 1.0)
    return f"{total:.3f}s"
