"""Filters of HTTPRoutes and GRPCRoutes as what Envoy's routes have for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..discovery.kubernetes.objects import ObjectKey
from .model import Backend, Found, Model
from .objects import RawObject

_STATUSES: Final = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}


class Filters:
    """Attributes:
    headers: members of a `Route` or `ClusterWeight` that change headers.
    route: members of a `RouteAction`.
    redirect: a `RedirectAction`, if that is what is to be done.
    mirrors: where copies go.
    """

    def __init__(self) -> None:
        self.headers: dict[str, Any] = {}
        self.route: dict[str, Any] = {}
        self.redirect: dict[str, Any] | None = None
        self.mirrors: list[Backend] = []
        self._path: dict[str, Any] = {}

    def rewrite(self, values: dict[str, Any], prefix: str) -> None:
        """Put what becomes of the path into the route `values`, which matches `prefix`."""
        if not self._path:
            return
        kind = self._path["type"]
        action = values.get("redirect") if self.redirect is not None else values.get("route")
        if action is None:
            return
        action = dict(action)
        values["redirect" if self.redirect is not None else "route"] = action
        if kind == "ReplaceFullPath":
            if self.redirect is not None:
                action["path_redirect"] = self._path["replaceFullPath"]
            else:
                regex = {"regex": "^[^?]*"}
                action["regex_rewrite"] = {"pattern": regex, "substitution": self._path["replaceFullPath"]}
        else:
            to = self._path.get("replacePrefixMatch", "/")
            if to in ("", "/") and prefix not in ("", "/") and self.redirect is None:
                # `/a/b` is to become `/b` and not `//b`, and `/a` is to become `/`.
                pattern = {"regex": f"^{_escaped(prefix)}/*"}
                action["regex_rewrite"] = {"pattern": pattern, "substitution": "/"}
            else:
                action["prefix_rewrite"] = to if to == "/" else to.rstrip("/")

    def take_path(self, path: dict[str, Any]) -> None:
        self._path = path


def _escaped(text: str) -> str:
    return "".join(f"\\{char}" if not (char.isalnum() or char in "/_-") else char for char in text)


_FIELD_OF: Final = {
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestRedirect": "requestRedirect",
    "URLRewrite": "urlRewrite",
    "RequestMirror": "requestMirror",
}
_REDIRECT_FIELDS: Final = ("scheme", "hostname", "path", "port", "statusCode")


def translate_filters(
    model: Model, source: RawObject, filters: Sequence[dict[str, Any]], where: str, found: Found
) -> Filters:
    """What can not be had is noted."""
    made = Filters()
    for at, each in enumerate(filters):
        kind = each.get("type", "")
        field = _FIELD_OF.get(kind)
        if field is None:
            model.note(source, f"{where}[{at}].type {kind} is not supported")
            continue
        model.refuse_rest(source, each, ("type", field), f"{where}[{at}]")
        place, values = f"{where}[{at}].{field}", each[field]
        if kind == "RequestHeaderModifier":
            _take_headers(made.headers, "request", values, model, source, place)
        elif kind == "ResponseHeaderModifier":
            _take_headers(made.headers, "response", values, model, source, place)
        elif kind == "RequestRedirect":
            model.refuse_rest(source, values, _REDIRECT_FIELDS, place)
            if values.get("statusCode", 302) not in _STATUSES:
                model.note(source, f"{place}.statusCode {values['statusCode']} is not supported, 302 is sent")
            made.redirect = _redirect(made, values)
            _check_path(made, model, source, values, place)
        elif kind == "URLRewrite":
            model.refuse_rest(source, values, ("hostname", "path"), place)
            if values.get("hostname"):
                made.route["host_rewrite_literal"] = values["hostname"]
            if values.get("path"):
                made.take_path(values["path"])
            _check_path(made, model, source, values, place)
        else:
            model.refuse_rest(source, values, ("backendRef", "percent", "fraction"), place)
            _take_mirror(made, model, source, values, place, found)
    return made


def translate_backend_filters(
    model: Model, source: RawObject, filters: Sequence[dict[str, Any]], where: str, found: Found
) -> dict[str, Any]:
    """Members of a `ClusterWeight`: of one of several backends only headers and the host can be changed."""
    allowed = []
    for at, each in enumerate(filters):
        kind = each.get("type", "")
        rewrites_path = kind == "URLRewrite" and bool((each.get("urlRewrite") or {}).get("path"))
        if kind in ("RequestRedirect", "RequestMirror") or rewrites_path:
            what = "urlRewrite.path" if rewrites_path else f"type {kind}"
            model.note(source, f"{where}[{at}].{what} is not supported for one backend of a rule")
        else:
            allowed.append(each)
    made = translate_filters(model, source, allowed, where, found)
    return {**made.headers, **made.route}


def _check_path(made: Filters, model: Model, source: RawObject, values: dict[str, Any], where: str) -> None:
    path = values.get("path") or {}
    kind = path.get("type", "ReplacePrefixMatch")
    model.refuse_rest(source, path, ("type", "replaceFullPath", "replacePrefixMatch"), f"{where}.path")
    if kind not in ("ReplaceFullPath", "ReplacePrefixMatch"):
        model.note(source, f"{where}.path.type {kind} is not supported")
        made.take_path({})


def _take_headers(
    headers: dict[str, Any], side: str, modifier: dict[str, Any], model: Model, source: RawObject, where: str
) -> None:
    model.refuse_rest(source, modifier, ("set", "add", "remove"), where)
    entries = []
    for part, action in (("set", "OVERWRITE_IF_EXISTS_OR_ADD"), ("add", "APPEND_IF_EXISTS_OR_ADD")):
        for at, each in enumerate(modifier.get(part) or ()):
            model.refuse_rest(source, each, ("name", "value"), f"{where}.{part}[{at}]")
            entries.append({"header": {"key": each["name"], "value": _literal(each["value"])}, "append_action": action})
    if entries:
        headers.setdefault(f"{side}_headers_to_add", []).extend(entries)
    if modifier.get("remove"):
        headers.setdefault(f"{side}_headers_to_remove", []).extend(modifier["remove"])


def _literal(text: str) -> str:
    """A value as it stands: a percent sign would begin a format of Envoy's."""
    return text.replace("%", "%%")


def _redirect(made: Filters, redirect: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {"response_code": _STATUSES.get(redirect.get("statusCode", 302), "FOUND")}
    if redirect.get("scheme"):
        values["scheme_redirect"] = redirect["scheme"]
    if redirect.get("hostname"):
        values["host_redirect"] = redirect["hostname"]
    if redirect.get("port"):
        values["port_redirect"] = redirect["port"]
    elif redirect.get("scheme"):
        values["port_redirect"] = {"http": 80, "https": 443}.get(redirect["scheme"], 443)
    if redirect.get("path"):
        made.take_path(redirect["path"])
    return values


def _take_mirror(
    made: Filters, model: Model, source: RawObject, mirror: dict[str, Any], where: str, found: Found
) -> None:
    reference = mirror["backendRef"]
    model.refuse_rest(source, reference, ("group", "kind", "name", "namespace", "port"), f"{where}.backendRef")
    if reference.get("kind", "Service") != "Service" or reference.get("group", ""):
        model.note(source, f"{where}.backendRef is no Service")
        return
    key = ObjectKey(reference.get("namespace") or source.key.namespace, reference["name"])
    if key not in found.services or key.namespace != source.key.namespace:
        model.note(source, f"{where}: there is no Service {key} that may be mirrored to")
        return
    backend = Backend(key, reference.get("port") or 0, http2=source.kind == "GRPCRoute")
    policy: dict[str, Any] = {"cluster": backend.cluster}
    percent = mirror.get("percent")
    fraction = mirror.get("fraction")
    if fraction:
        numerator = fraction["numerator"] * 1_000_000 // fraction.get("denominator", 100)
        share = {"numerator": numerator, "denominator": "MILLION"}
        policy["runtime_fraction"] = {"default_value": share}
    elif percent is not None:
        policy["runtime_fraction"] = {"default_value": {"numerator": percent, "denominator": "HUNDRED"}}
    made.route.setdefault("request_mirror_policies", []).append(policy)
    made.mirrors.append(backend)
