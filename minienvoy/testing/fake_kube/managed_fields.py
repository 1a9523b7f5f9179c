"""Server-side apply: who has said which field, what is taken back by not saying it again, and who is in whose way.

Kubernetes: `sigs.k8s.io/structured-merge-diff`. Only what was applied is tracked; a plain update owns nothing here.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any, Final

from .api_error import ApiError, Object, qualified
from .patches import merge_key, strategic_merge
from .resource_types import ResourceType

Path = tuple[str, ...]
"""Steps to a field, each as `fieldsV1` writes it: `f:name`, or `k:{"name":"c"}` for an element of a list."""

_NOT_OWNED: Final = {
    ("f:apiVersion",),
    ("f:kind",),
    ("f:metadata", "f:name"),
    ("f:metadata", "f:namespace"),
}


def apply(existing: Object | None, applied: Object, type: ResourceType, manager: str, now: str, force: bool) -> Object:
    """`existing` as `manager` wants it.

    Raises:
        ApiError: 409, if others have applied other values and `force` is not given.
    """
    wanted = set(_leaves(applied)) - _NOT_OWNED
    before = existing or {}
    entries = [dict(each) for each in before.get("metadata", {}).get("managedFields") or ()]
    mine = next((each for each in entries if each["manager"] == manager and each["operation"] == "Apply"), None)
    others = [each for each in entries if each is not mine and each["operation"] == "Apply"]
    _check_conflicts(before, applied, wanted, others, type, force)
    result = copy.deepcopy(before)
    owned_by_others = {path for each in others for path in _from_fields(each["fieldsV1"])}
    if mine is not None:
        gone = _from_fields(mine["fieldsV1"]) - wanted - owned_by_others
        # What tells an element apart goes last: without it, the rest of the element could not be found.
        for path in sorted(gone, key=lambda path: (_is_key(path), -len(path))):
            _remove(result, path)
    merged: Object = strategic_merge(result, applied)
    entry = {
        "manager": manager,
        "operation": "Apply",
        "apiVersion": type.api_version,
        "time": now,
        "fieldsType": "FieldsV1",
        "fieldsV1": _to_fields(wanted),
    }
    merged["metadata"]["managedFields"] = [*others, entry]
    return merged


def _check_conflicts(
    before: Object, applied: Object, wanted: set[Path], others: list[Object], type: ResourceType, force: bool
) -> None:
    found: list[tuple[str, Path]] = []
    for each in others:
        owned = _from_fields(each["fieldsV1"])
        taken = {path for path in owned & wanted if _at(before, path) != _at(applied, path)}
        if taken and force:
            each["fieldsV1"] = _to_fields(owned - taken)
        found.extend((each["manager"], path) for path in sorted(taken))
    if not found or force:
        return
    name = applied["metadata"].get("name", "")
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{manager}"', "field": _dotted(path)}
        for manager, path in found
    ]
    fields = ", ".join(_dotted(path) for _, path in found)
    conflicts = "conflict" if len(found) == 1 else "conflicts"
    raise ApiError(
        409,
        "Conflict",
        f'Apply failed with {len(found)} {conflicts}: {conflicts} with "{found[0][0]}": {fields}',
        {"name": name, "group": type.group, "kind": type.plural, "causes": causes}
        if type.group
        else {"name": name, "kind": qualified("", type.plural), "causes": causes},
    )


def _leaves(value: Any, path: Path = (), field: str = "") -> Iterator[Path]:
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from _leaves(each, (*path, f"f:{name}"), name)
        return
    if isinstance(value, list) and value:
        key = merge_key(field, value)
        if key is not None:
            for each in value:
                step = f"k:{json.dumps({key: each[key]}, separators=(',', ':'))}"
                yield from _leaves(each, (*path, step))
            return
    yield path


def _to_fields(paths: set[Path]) -> Object:
    fields: Object = {}
    for path in sorted(paths):
        at = fields
        for step in path:
            at = at.setdefault(step, {})
    return fields


def _from_fields(fields: Object, path: Path = ()) -> set[Path]:
    if not fields:
        return {path}
    return {leaf for step, below in fields.items() for leaf in _from_fields(below, (*path, step))}


def _element(value: Any, step: str) -> Any:
    if step.startswith("f:"):
        return value.get(step[2:]) if isinstance(value, dict) else None
    wanted = json.loads(step[2:])
    elements = value if isinstance(value, list) else ()
    return next((each for each in elements if isinstance(each, dict) and wanted.items() <= each.items()), None)


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = _element(value, step)
    return value


def _remove(value: Any, path: Path) -> None:
    parents = [value]
    for step in path[:-1]:
        parents.append(_element(parents[-1], step))
    for depth in reversed(range(len(path))):
        parent, step = parents[depth], path[depth]
        if parent is None:
            continue
        below = _element(parent, step)
        if depth < len(path) - 1 and below not in ({}, []) and not _only_its_key(below, step):
            return
        if step.startswith("f:") and isinstance(parent, dict):
            parent.pop(step[2:], None)
        elif isinstance(parent, list) and below in parent:
            parent.remove(below)


def _is_key(path: Path) -> bool:
    return len(path) > 1 and path[-2].startswith("k:") and path[-1][2:] in json.loads(path[-2][2:])


def _only_its_key(element: Any, step: str) -> bool:
    """An element of a list of which nothing is left but what told it apart."""
    return step.startswith("k:") and element == json.loads(step[2:])


def _dotted(path: Path) -> str:
    text = ""
    for step in path:
        text += f".{step[2:]}" if step.startswith("f:") else f"[{step[3:-1].replace(':', '=', 1)}]"
    return text
