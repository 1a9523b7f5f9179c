"""Ingress objects as hosts and routes.

Kubernetes: `networking.k8s.io/v1` Ingress. Of the paths of a host an exact one goes first, then the longer prefix;
of equal ones that of the older Ingress.
"""

from __future__ import annotations

from typing import Any, Final

from ..discovery.kubernetes.objects import ObjectKey
from .model import EVERY_HOST, Backend, Certificate, Found, Model, Route, certificate
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
        _translate(model, found, ingress, http_port, https_port)


def _is_of_class(ingress: RawObject, ingress_class: str, is_default: bool) -> bool:
    named = ingress.spec.get("ingressClassName") or ingress.annotation(CLASS_ANNOTATION)
    return named == ingress_class if named else is_default


def _translate(model: Model, found: Found, ingress: RawObject, http_port: int, https_port: int) -> None:
    spec = ingress.spec
    known = ("ingressClassName", "defaultBackend", "rules", "tls")
    model.refuse_rest(ingress, spec, known, "spec")
    ports = [model.port(http_port)]
    certificates = _certificates(model, found, ingress)
    if certificates:
        secure = model.port(https_port)
        for host, made in certificates.items():
            secure.certificates.setdefault(host, made)
        ports.append(secure)
    default = spec.get("defaultBackend")
    hosts: list[str] = []
    for at, rule in enumerate(spec.get("rules") or ()):
        host = rule.get("host") or EVERY_HOST
        hosts.append(host)
        for index, path in enumerate((rule.get("http") or {}).get("paths") or ()):
            where = f"spec.rules[{at}].http.paths[{index}]"
            route = _route(model, found, ingress, path, where)
            if route is not None:
                for port in ports:
                    port.add(host, route)
    if default is not None:
        # Whatever no rule wants, of every host.
        path = {"path": "/", "pathType": "Prefix", "backend": default}
        route = _route(model, found, ingress, path, "spec.defaultBackend", last=True)
        if route is not None:
            for port in ports:
                for host in dict.fromkeys((*hosts, EVERY_HOST)):
                    port.add(host, route)


def _certificates(model: Model, found: Found, ingress: RawObject) -> dict[str, Certificate]:
    """By host; without any there is no port for TLS, which must not become one without it."""
    taken: dict[str, Certificate] = {}
    for at, tls in enumerate(ingress.spec.get("tls") or ()):
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
    service = backend.get("service")
    if service is None:
        model.note(ingress, f"{where}.backend.resource is not supported")
        return None
    port = service.get("port") or {}
    target = Backend(ObjectKey(ingress.key.namespace, service["name"]), port.get("name") or port.get("number") or 0)
    if found.services and target.service not in found.services:
        model.note(ingress, f"{where}: there is no Service {target.service}")
    text = path.get("path") or "/"
    kind = path.get("pathType", "ImplementationSpecific")
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
