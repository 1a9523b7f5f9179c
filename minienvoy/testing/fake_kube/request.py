"""What a client asks, taken apart, and what it is answered.

Kubernetes: `k8s.io/apiserver/pkg/endpoints/request` (`RequestInfo`), and the options that come with a request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .api_error import ApiError, Object, bad_request, no_such_resource
from .representation import JSON
from .resource_types import NAMESPACES, ResourceType, by_path
from .store import Key
from .watch import Watch


@dataclass(frozen=True, slots=True)
class Request:
    """Attributes: `headers` by their names in lower case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """Attributes: `watch` goes on after the head, instead of a body."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    watch: Watch | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names; `name` is empty for a whole list."""

    type: ResourceType
    namespace: str
    name: str = ""
    subresource: str = ""

    @property
    def key(self) -> Key:
        return Key(self.type, self.namespace, self.name)


def target_of(group: str, version: str, parts: list[str]) -> Target:
    """`pods`, `pods/x`, `namespaces/n/pods`, `namespaces/n/pods/x/status`, `namespaces/n`, `namespaces/n/status`."""
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2 and parts[2] not in NAMESPACES.subresources:
        namespace, parts = parts[1], parts[2:]
    if len(parts) > 3:
        raise no_such_resource()
    type = by_path(group, version, parts[0])
    if namespace and not type.namespaced:
        raise no_such_resource()
    return Target(type, namespace, *parts[1:])


def place(target: Target, key: Key) -> str:
    """Where an object stands in a list, as continue tokens say it."""
    return key.name if target.namespace or not key.namespace else f"{key.namespace}/{key.name}"


def media_type(request: Request) -> str:
    return request.headers.get("content-type", JSON).partition(";")[0].strip()


def decoded(request: Request) -> Any:
    media = media_type(request)
    if media == "application/vnd.kubernetes.protobuf":
        message = (
            "the body of the request was in an unknown format - protobuf, which a FakeKube does not read; "
            "have the client print the object (--dry-run=client -o yaml) and apply that"
        )
        raise ApiError(415, "UnsupportedMediaType", message, {})
    try:
        if media in ("application/yaml", "application/apply-patch+yaml"):
            import yaml

            return yaml.safe_load(request.body)
        return json.loads(request.body)
    except ValueError as error:
        raise bad_request(f"the object provided is unrecognized: {error}") from None


def delete_options(request: Request) -> Object:
    """`DeleteOptions`, which may be the body of a DELETE."""
    if not request.body:
        return {}
    options = decoded(request)
    return options if isinstance(options, dict) else {}


def grace_of(request: Request) -> int | None:
    """Seconds; None if the client leaves it to the pod."""
    text = request.query.get("gracePeriodSeconds", delete_options(request).get("gracePeriodSeconds"))
    return None if text is None else int(text)


def is_dry(request: Request) -> bool:
    return request.query.get("dryRun") == "All"
