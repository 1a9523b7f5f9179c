"""In which form a client wants its objects.

Kubernetes: content negotiation (`Accept`), `Table` and `PartialObjectMetadata` transformations.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .api_error import ApiError, Object
from .resource_types import ResourceType
from .tables import metadata_only, table

JSON: Final = "application/json"
YAML: Final = "application/yaml"
_AVAILABLE: Final = (
    "application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, "
    "application/vnd.kubernetes.protobuf;stream=watch"
)


def dump(value: Any) -> bytes:
    """As the server writes JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Representation:
    """Attributes: `form` is empty, `Table` or `PartialObjectMetadata`; `whole`: tables with the objects in them."""

    content_type: str
    form: str = ""
    whole: bool = False

    @classmethod
    def of(cls, accept: str, query: Mapping[str, str]) -> Representation:
        """Raises ApiError (406) if nothing that is accepted can be had."""
        for part in accept.split(",") if accept else ("*/*",):
            media, *given = (each.strip() for each in part.split(";"))
            parameters = dict(each.split("=", 1) for each in given if "=" in each)
            if media not in (JSON, YAML, "*/*", "application/*"):
                continue
            form = parameters.get("as", "").removesuffix("List")
            if form and (form not in ("Table", "PartialObjectMetadata") or parameters.get("v") != "v1"):
                continue
            return cls(YAML if media == YAML else JSON, form, query.get("includeObject") == "Object")
        message = f"406: Not Acceptable\n\nAvailable representations: {_AVAILABLE}"
        raise ApiError(406, "NotAcceptable", message, {})

    def encode(self, value: Object) -> bytes:
        if self.content_type == YAML:
            import yaml

            text: str = yaml.safe_dump(value, sort_keys=False)
            return text.encode()
        return dump(value)

    def one(self, type: ResourceType, each: Object, now: str) -> Object:
        if self.form == "Table":
            version = each["metadata"].get("resourceVersion", "")
            return table(type, [each], {"resourceVersion": version}, now, whole=self.whole)
        return metadata_only(each) if self.form else each

    def list(self, type: ResourceType, objects: Sequence[Object], metadata: Object, now: str) -> Object:
        if self.form == "Table":
            return table(type, objects, metadata, now, whole=self.whole)
        if self.form:
            items = [metadata_only(each) for each in objects]
            kind, version = "PartialObjectMetadataList", "meta.k8s.io/v1"
            return {"kind": kind, "apiVersion": version, "metadata": metadata, "items": items}
        # What is in a list says neither its kind nor its version: the list does.
        items = [
            {name: value for name, value in each.items() if name not in ("kind", "apiVersion")} for each in objects
        ]
        return {"kind": f"{type.kind}List", "apiVersion": type.api_version, "metadata": metadata, "items": items}

    def events(self, type: ResourceType) -> Callable[[Object, str], Object]:
        """What makes the objects of a watch; only its first table has columns."""
        first = True

        def make(each: Object, now: str) -> Object:
            nonlocal first
            if self.form != "Table":
                return self.one(type, each, now)
            version = each["metadata"]["resourceVersion"]
            made = table(type, [each], {"resourceVersion": version}, now, columns=first, whole=self.whole)
            first = False
            return made

        return make
