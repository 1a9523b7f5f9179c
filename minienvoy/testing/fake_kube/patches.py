"""The three patches that change an object without saying all of it.

Kubernetes: strategic merge (`k8s.io/apimachinery/pkg/util/strategicpatch`: lists of objects are merged by a key), merge
(RFC 7396) and JSON patch (RFC 6902). Server-side apply is in `managed_fields.py`.
"""

from __future__ import annotations

import copy
from typing import Any, Final

from .api_error import ApiError, Object, bad_request

MERGE_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "conditions": ("type",),
    "containerStatuses": ("name",),
    "containers": ("name",),
    "env": ("name",),
    "hostAliases": ("ip",),
    "hostIPs": ("ip",),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "ownerReferences": ("uid",),
    "podIPs": ("ip",),
    "ports": ("containerPort", "port"),
    "secrets": ("name",),
    "taints": ("key",),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
"""By the name of a list: what its elements are told apart by. Lists that are not here are replaced."""


def merge_key(field: str, elements: list[Any]) -> str | None:
    """What tells `elements` of the list `field` apart; None if nothing does."""
    for key in MERGE_KEYS.get(field, ()):
        if all(isinstance(each, dict) and (key in each or "$patch" in each) for each in elements):
            return key
    return None


def strategic_merge(target: Any, patch: Any, field: str = "") -> Any:
    """`target` with `patch` in it; neither is changed."""
    if isinstance(patch, dict):
        if patch.get("$patch") == "replace":
            return {name: value for name, value in patch.items() if name != "$patch"}
        return _merge_mapping(target if isinstance(target, dict) else {}, patch)
    if isinstance(patch, list) and isinstance(target, list):
        key = merge_key(field, patch)
        if key is not None:
            return _merge_list(target, patch, key)
    return copy.deepcopy(patch)


def _merge_mapping(target: Object, patch: Object) -> Object:
    merged = dict(target)
    retained = patch.get("$retainKeys")
    if retained is not None:
        merged = {name: value for name, value in merged.items() if name in retained}
    for name, value in patch.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            within = name.partition("/")[2]
            merged[within] = [each for each in merged.get(within) or () if each not in value]
        elif name.startswith("$"):
            continue
        elif value is None or (isinstance(value, dict) and value.get("$patch") == "delete"):
            merged.pop(name, None)
        else:
            merged[name] = strategic_merge(merged.get(name), value, name)
    return merged


def _merge_list(target: list[Any], patch: list[Any], key: str) -> list[Any]:
    if any(each.get("$patch") == "replace" for each in patch):
        return [copy.deepcopy(each) for each in patch if each.get("$patch") != "replace"]
    merged = list(target)
    for each in patch:
        same = next((at for at, there in enumerate(merged) if there.get(key) == each.get(key)), None)
        if each.get("$patch") == "delete":
            if same is not None:
                del merged[same]
        elif same is None:
            merged.append(copy.deepcopy(each))
        else:
            merged[same] = strategic_merge(merged[same], each)
    return merged


def json_merge(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = json_merge(merged.get(name), value)
    return merged


def json_patch(target: Object, operations: Any) -> Object:
    """RFC 6902.

    Raises:
        ApiError: 422 for an operation that can not be carried out, 400 for what is no list of operations.
    """
    if not isinstance(operations, list):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    result: Any = copy.deepcopy(target)
    for operation in operations:
        try:
            result = _operate(result, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            path = operation.get("path", "") if isinstance(operation, dict) else ""
            message = f"the server rejected our request due to an error in our request: {path}: {error}"
            raise ApiError(422, "Invalid", message, {}) from None
    patched: Object = result
    return patched


def _operate(document: Any, operation: Object) -> Any:
    kind = operation["op"]
    path = _pointer(operation["path"])
    if kind in ("move", "copy"):
        source = _pointer(operation["from"])
        value = copy.deepcopy(_value(document, source))
        if kind == "move":
            document = _removed(document, source)
        return _added(document, path, value)
    if kind == "test":
        if _value(document, path) != operation["value"]:
            raise ValueError("testing value failed")
        return document
    if kind == "remove":
        return _removed(document, path)
    if kind == "replace":
        _value(document, path)
        return _added(_removed(document, path), path, operation["value"]) if path else operation["value"]
    if kind == "add":
        return _added(document, path, operation["value"])
    raise ValueError(f"unknown operation {kind}")


def _pointer(path: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def _value(document: Any, path: list[str]) -> Any:
    for part in path:
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def _removed(document: Any, path: list[str]) -> Any:
    parent = _value(document, path[:-1])
    del parent[int(path[-1]) if isinstance(parent, list) else path[-1]]
    return document


def _added(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _value(document, path[:-1])
    if isinstance(parent, list):
        parent.insert(len(parent) if path[-1] == "-" else int(path[-1]), value)
    else:
        parent[path[-1]] = value
    return document
