"""Ingress objects as hosts and routes.

Kubernetes: `networking.k8s.io/v1` Ingress. Of the paths of a host an exact one goes first, then the longer prefix;
of equal ones that of the older Ingress.
"""

from __future__ import annotations

from typing import Any, Final

from ..discovery.kubernetes.objects import ObjectKey
from .certificates import Certificate, certificate
from .model import EVERY_HOST, Backend, Found, Model, Route
from .objects import RawObject

CLASS_ANNOTATION: Final = "kubernetes.io/ingress.class"
DEFAULT_CLASS: Final = "ingressclass.kubernetes.io/is-default-class"


def translate_ingresses(model: Model, found: Found, ingress_class: str, http_port: int, https_port: int) -> None:
    """Put those of the class into `model`."""
    is_default = any(
        each.key.name == ingress_class and each.annotation(DEFAULT_CLASS) == "true" for each in found.ingress_classes
    )
    chosen = [each for each in found.ingresses if _is_of_class(each, ingress_class, is_default)]
    for ingress in sorted(chosen, key=lambda each: each.age):
        with model.guarded(ingress, "spec"):
            _translate(model, found, ingress, http_port, https_port)


def _is_of_class(ingress: RawObject, ingress_class: str, is_default: bool) -> bool:
    named = ingress.spec.get("ingressClassName") or ingress.annotation(CLASS_ANNOTATION)
    return named == ingress_class if named else is_default


def _translate(model: Model, found: Found, ingress: RawObject, http_port: int, https_port: int) -> None:
    spec = ingress.spec
    model.refuse_rest(ingress, spec, ("ingressClassName", "defaultBackend", "rules", "tls"), "spec")
    for name in dict(ingress.annotations):
        # What other controllers are told by annotations changes what is served: nobody should think it does here.
        if "ingress" in name.partition("/")[0] and name != CLASS_ANNOTATION:
            model.note(ingress, f"metadata.annotations[{name}] is not supported")
    certificates = _certificates(model, found, ingress)
    routes: list[tuple[str, Route]] = []
    default = spec.get("defaultBackend")
    hosts: list[str] = []
    for at, rule in enumerate(spec.get("rules") or ()):
        model.refuse_rest(ingress, rule, ("host", "http"), f"spec.rules[{at}]")
        host = rule.get("host") or EVERY_HOST
        hosts.append(host)
        http = rule.get("http") or {}
        model.refuse_rest(ingress, http, ("paths",), f"spec.rules[{at}].http")
        for index, path in enumerate(http.get("paths") or ()):
            where = f"spec.rules[{at}].http.paths[{index}]"
            model.refuse_rest(ingress, path, ("path", "pathType", "backend"), where)
            route = _route(model, found, ingress, path, where)
            if route is not None:
                routes.append((host, route))
    if default is not None:
        # Whatever no rule wants, of every host.
        path = {"path": "/", "pathType": "Prefix", "backend": default}
        route = _route(model, found, ingress, path, "spec.defaultBackend", last=True)
        if route is not None:
            routes += [(host, route) for host in dict.fromkeys((*hosts, EVERY_HOST))]
    ports = [model.port(http_port, ingress)]
    if certificates:
        secure = model.port(https_port, ingress, secure=True)
        for host, made in certificates.items():
            secure.certificates.setdefault(host, (made, ingress))
        ports.append(secure)
    for port in ports:
        for host, route in routes:
            port.add(host, route)


def _certificates(model: Model, found: Found, ingress: RawObject) -> dict[str, Certificate]:
    """By host; without any there is no port for TLS, which must not become one without it."""
    taken: dict[str, Certificate] = {}
    for at, tls in enumerate(ingress.spec.get("tls") or ()):
        model.refuse_rest(ingress, tls, ("hosts", "secretName"), f"spec.tls[{at}]")
        name = tls.get("secretName")
        if not name:
            model.note(ingress, f"spec.tls[{at}] names no Secret: there is no certificate to show")
            continue
        made = certificate(found.secrets.get(ObjectKey(ingress.key.namespace, name)))
        if isinstance(made, str):
            model.note(ingress, f"spec.tls[{at}].secretName: Secret {ingress.key.namespace}/{name}: {made}")
            continue
        for host in tls.get("hosts") or (EVERY_HOST,):
            taken.setdefault(host, made)
    return taken


def _route(
    model: Model, found: Found, ingress: RawObject, path: dict[str, Any], where: str, *, last: bool = False
) -> Route | None:
    backend = path.get("backend") or {}
    place = where if last else f"{where}.backend"
    model.refuse_rest(ingress, backend, ("service",), place)
    service = backend.get("service")
    if service is None:
        return None
    model.refuse_rest(ingress, service, ("name", "port"), f"{place}.service")
    port = service.get("port") or {}
    model.refuse_rest(ingress, port, ("name", "number"), f"{place}.service.port")
    target = Backend(ObjectKey(ingress.key.namespace, service["name"]), port.get("name") or port.get("number") or 0)
    if found.services and target.service not in found.services:
        model.note(ingress, f"{where}: there is no Service {target.service}")
    text = path.get("path") or "/"
    kind = path.get("pathType", "ImplementationSpecific")
    if kind not in ("Exact", "Prefix", "ImplementationSpecific"):
        model.note(ingress, f"{where}.pathType {kind} is not supported")
        return None
    if kind == "Exact":
        match: dict[str, Any] = {"path": text}
        precedence: tuple[Any, ...] = (1 if last else 0, 0, -len(text))
    else:
        # `/a` and `/a/` are the same prefix, by elements of the path; where an implementation decides, likewise.
        stripped = text.rstrip("/")
        match = {"path_separated_prefix": stripped} if stripped else {"prefix": "/"}
        precedence = (1 if last else 0, 1, -len(stripped))
    values = {"name": f"{ingress.key}", "match": match, "route": {"cluster": target.cluster}}
    return Route((*precedence, ingress.age), values, (target,), ingress)
