"""Matches of HTTPRoutes and GRPCRoutes as those of Envoy's routes, and which goes first."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError
from ..matchers.regex import compile_pattern
from .model import Model
from .objects import RawObject

Match = tuple[tuple[Any, ...], dict[str, Any]]
"""What sorts it, and the values of a `RouteMatch`."""


def http_match(model: Model, route: RawObject, match: dict[str, Any], where: str) -> Match | None:
    """None if it can not be had; that is noted."""
    model.refuse_rest(route, match, ("path", "headers", "queryParams", "method"), where)
    path = match.get("path") or {}
    model.refuse_rest(route, path, ("type", "value"), f"{where}.path")
    text = path.get("value", "/")
    kind = path.get("type", "PathPrefix")
    if kind == "Exact":
        values: dict[str, Any] = {"path": text}
        rank: tuple[Any, ...] = (0, -len(text))
    elif kind == "PathPrefix":
        stripped = text.rstrip("/")
        values = {"path_separated_prefix": stripped} if stripped else {"prefix": "/"}
        rank = (1, -len(stripped))
    elif kind == "RegularExpression":
        if not _is_regex(model, route, text, f"{where}.path"):
            return None
        values = {"safe_regex": {"regex": text}}
        rank = (1, -len(text))
    else:
        model.note(route, f"{where}.path.type {kind} is not supported")
        return None
    headers = _headers(model, route, match, where)
    if headers is None:
        return None
    method = match.get("method")
    if method:
        headers.append({"name": ":method", "string_match": {"exact": method}})
    if headers:
        values["headers"] = headers
    parameters = []
    for at, each in enumerate(match.get("queryParams") or ()):
        matcher = _matcher(model, route, each, f"{where}.queryParams[{at}]")
        if matcher is None:
            return None
        parameters.append({"name": each["name"], "string_match": matcher})
    if parameters:
        values["query_parameters"] = parameters
    order = (*rank, 0 if method else 1, -len(match.get("headers") or ()), -len(parameters))
    return order, values


def grpc_match(model: Model, route: RawObject, match: dict[str, Any], where: str) -> Match | None:
    """None if it can not be had; that is noted."""
    model.refuse_rest(route, match, ("method", "headers"), where)
    method = match.get("method") or {}
    model.refuse_rest(route, method, ("type", "service", "method"), f"{where}.method")
    if method.get("type", "Exact") not in ("Exact", "RegularExpression"):
        model.note(route, f"{where}.method.type {method['type']} is not supported")
        return None
    service, name = method.get("service", ""), method.get("method", "")
    if method.get("type", "Exact") == "RegularExpression":
        regex = f"/{service or '[^/]+'}/{name or '[^/]+'}"
        if not _is_regex(model, route, regex, f"{where}.method"):
            return None
        values: dict[str, Any] = {"safe_regex": {"regex": regex}}
    elif service and name:
        values = {"path": f"/{service}/{name}"}
    elif service:
        values = {"prefix": f"/{service}/"}
    elif name:
        values = {"safe_regex": {"regex": f"/[^/]+/{name}"}}
    else:
        values = {"prefix": "/"}
    headers = _headers(model, route, match, where)
    if headers is None:
        return None
    if headers:
        values["headers"] = headers
    return (0 if service and name else 1, -len(service), -len(name), -len(headers), 0), values


def _headers(model: Model, route: RawObject, match: dict[str, Any], where: str) -> list[dict[str, Any]] | None:
    headers = []
    seen = set()
    for at, each in enumerate(match.get("headers") or ()):
        if each["name"].lower() in seen:
            continue  # the first one of a name counts
        seen.add(each["name"].lower())
        matcher = _matcher(model, route, each, f"{where}.headers[{at}]")
        if matcher is None:
            return None
        headers.append({"name": each["name"], "string_match": matcher})
    return headers


def _matcher(model: Model, route: RawObject, each: dict[str, Any], where: str) -> dict[str, Any] | None:
    kind = each.get("type", "Exact")
    model.refuse_rest(route, each, ("type", "name", "value"), where)
    if kind == "Exact":
        return {"exact": each["value"]}
    if kind == "RegularExpression":
        if _is_regex(model, route, each["value"], where):
            return {"safe_regex": {"regex": each["value"]}}
        return None
    model.note(route, f"{where}.type {kind} is not supported")
    return None


def _is_regex(model: Model, route: RawObject, text: str, where: str) -> bool:
    try:
        compile_pattern(text, where)
    except ConfigError as error:
        model.note(route, f"{where}: '{text}' is no regular expression: {error.problem}")
        return False
    return True
