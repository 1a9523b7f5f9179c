"""Label and field selectors of lists and watches.

Kubernetes: `k8s.io/apimachinery/pkg/labels` and `pkg/fields`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .api_error import Object, bad_request
from .resource_types import ResourceType

Labels = Mapping[str, str]
_TOKEN = re.compile(r"\s*(?:(!=|==|=|!|\(|\)|,)|([^\s!=(),]+))")


def label_selector(text: str) -> Callable[[Labels], bool]:
    """From `app=web,tier in (a, b),!canary`.

    Raises:
        ApiError: 400, in the words of the server.
    """
    tokens = _tokens(text)
    requirements: list[Callable[[Labels], bool]] = []
    at = 0
    while at < len(tokens):
        requirement, at = _requirement(tokens, at)
        requirements.append(requirement)
        if at < len(tokens):
            if tokens[at] != ",":
                raise _unparsable(tokens[at], "',' or ')'")
            at += 1
    return lambda labels: all(each(labels) for each in requirements)


def matches_labels(selector: Mapping[str, str] | None, labels: Labels | None) -> bool:
    """A `selector` of a Service; an empty one selects nothing."""
    return bool(selector) and (labels or {}).items() >= (selector or {}).items()


def matches_label_selector(selector: Object | None, labels: Labels | None) -> bool:
    """A `LabelSelector` (matchLabels, matchExpressions); an empty one selects everything."""
    labels = labels or {}
    selector = selector or {}
    if not labels.items() >= (selector.get("matchLabels") or {}).items():
        return False
    for each in selector.get("matchExpressions") or ():
        value, values = labels.get(each["key"]), each.get("values") or ()
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds.get(each["operator"], False):
            return False
    return True


def field_selector(text: str, type: ResourceType) -> Callable[[Object], bool]:
    """From `metadata.name=web,status.phase!=Running`.

    Raises:
        ApiError: 400 for a field that this type has no selector for.
    """
    requirements: list[tuple[tuple[str, ...], str, bool]] = []
    known = ("metadata.name", "metadata.namespace")
    for part in filter(None, text.split(",")):
        match = re.fullmatch(r"([^=!]+)(!=|==|=)(.*)", part)
        if match is None:
            raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
        field, operator, value = match.groups()
        if field not in known and field not in type.fields:
            if type.fields:
                raise bad_request(f"field label not supported: {field}")
            raise bad_request(f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"')
        requirements.append((tuple(field.split(".")), value, operator != "!="))
    return lambda each: all((_at(each, path) == value) is equal for path, value, equal in requirements)


def _at(value: Any, path: tuple[str, ...]) -> str:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return "" if value is None else str(value)


def _tokens(text: str) -> list[str]:
    tokens = []
    at = 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise bad_request(f"unable to parse requirement: found '{text[at:]}'")
        tokens.append(match[1] or match[2])
        at = match.end()
    return tokens


def _unparsable(found: str, expected: str) -> Exception:
    return bad_request(f"unable to parse requirement: found '{found}' expected: {expected}")


def _requirement(tokens: list[str], at: int) -> tuple[Callable[[Labels], bool], int]:
    token = tokens[at]
    if token == "!":
        key = tokens[at + 1] if at + 1 < len(tokens) else ""
        return (lambda labels: key not in labels), at + 2
    if token in ("=", "==", "!=", "(", ")", ","):
        raise _unparsable(token, "!, identifier, or ','")
    operator = tokens[at + 1] if at + 1 < len(tokens) else ","
    if operator == ",":
        return (lambda labels: token in labels), at + 1
    if operator in ("=", "==", "!="):
        value = tokens[at + 2] if at + 2 < len(tokens) and tokens[at + 2] != "," else ""
        end = at + (3 if value else 2)
        if operator == "!=":
            return (lambda labels: labels.get(token) != value), end
        return (lambda labels: labels.get(token) == value), end
    if operator in ("in", "notin"):
        return _set_requirement(tokens, at, token, operator == "in")
    raise _unparsable(operator, "in, notin, =, ==, !=, gt, lt")


def _set_requirement(tokens: list[str], at: int, key: str, within: bool) -> tuple[Callable[[Labels], bool], int]:
    opening = tokens[at + 2] if at + 2 < len(tokens) else ""
    if opening != "(":
        raise _unparsable(opening, "'('")
    end = at + 3
    values = set()
    while end < len(tokens) and tokens[end] != ")":
        if tokens[end] != ",":
            values.add(tokens[end])
        end += 1
    if end == len(tokens):
        raise _unparsable("", "',' or ')'")
    if within:
        return (lambda labels: labels.get(key) in values), end + 1
    return (lambda labels: labels.get(key) not in values), end + 1
