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


def translate_filters(
    model: Model, source: RawObject, filters: Sequence[dict[str, Any]], where: str, found: Found
) -> Filters:
    """What can not be had is noted."""
    made = Filters()
    for at, each in enumerate(filters):
        kind = each.get("type", "")
        place = f"{where}[{at}]"
        if kind == "RequestHeaderModifier":
            _take_headers(made.headers, "request", each["requestHeaderModifier"])
        elif kind == "ResponseHeaderModifier":
            _take_headers(made.headers, "response", each["responseHeaderModifier"])
        elif kind == "RequestRedirect":
            made.redirect = _redirect(made, each["requestRedirect"])
        elif kind == "URLRewrite":
            rewrite = each["urlRewrite"]
            if rewrite.get("hostname"):
                made.route["host_rewrite_literal"] = rewrite["hostname"]
            if rewrite.get("path"):
                made.take_path(rewrite["path"])
        elif kind == "RequestMirror":
            _take_mirror(made, model, source, each["requestMirror"], place, found)
        else:
            model.note(source, f"{place}.type {kind} is not supported")
    return made


def _take_headers(headers: dict[str, Any], side: str, modifier: dict[str, Any]) -> None:
    entries = [
        {"header": {"key": each["name"], "value": _literal(each["value"])}, "append_action": action}
        for part, action in (("set", "OVERWRITE_IF_EXISTS_OR_ADD"), ("add", "APPEND_IF_EXISTS_OR_ADD"))
        for each in modifier.get(part) or ()
    ]
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
