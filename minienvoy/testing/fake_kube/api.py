"""The API: a request in, an answer out. No socket and no loop.

Kubernetes: `k8s.io/apiserver/pkg/endpoints/handlers` over `registry.Store`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from . import discovery
from .admission import Admission
from .api_error import (
    ApiError,
    Object,
    already_exists,
    bad_request,
    conflict,
    list_too_old,
    method_not_allowed,
    no_such_resource,
    not_found,
    too_large,
)
from .list_options import INCONSISTENT, ListOptions, decode_continue, encode_continue
from .managed_fields import apply
from .patches import json_merge, json_patch, strategic_merge
from .representation import JSON, Representation, dump
from .resource_types import NAMESPACES, NODES, PODS, SERVICES, ResourceType, by_path, group_versions
from .selectors import field_selector, label_selector
from .store import Key, ObjectStore
from .watch import Watch

_TEXT: Final = "text/plain; charset=utf-8"
_RETURNED_WHEN_DELETED: Final = (NAMESPACES, PODS, SERVICES)
_DEFAULT_GRACE: Final = 30


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
class _Target:
    """What a path names; `name` is empty for a whole list."""

    type: ResourceType
    namespace: str
    name: str = ""
    subresource: str = ""

    @property
    def key(self) -> Key:
        return Key(self.type, self.namespace, self.name)


class Api:
    """One server's.

    Attributes:
        address: as `/api` tells it.
    """

    def __init__(
        self, store: ObjectStore, admission: Admission, now: Callable[[], str], suffix: Callable[[], str]
    ) -> None:
        self.address = ""
        self.store = store
        self._admission = admission
        self._now = now
        self._suffix = suffix

    def handle(self, request: Request) -> Answer:
        try:
            return self._answer(request)
        except ApiError as error:
            return Answer(error.code, dump(error.status()))

    # -- finding out what is meant

    def _answer(self, request: Request) -> Answer:
        document = self._document(request)
        if document is not None:
            return document
        parts = [unquote(each) for each in request.path.split("/") if each]
        if len(parts) >= 3 and parts[0] == "api":
            group, version, rest = "", parts[1], parts[2:]
        elif len(parts) >= 4 and parts[0] == "apis":
            group, version, rest = parts[1], parts[2], parts[3:]
        else:
            return Answer(404, b"404 page not found\n", _TEXT)
        if (group, version) not in group_versions():
            return Answer(404, b"404 page not found\n", _TEXT)
        target = _target(group, version, rest)
        if target.name:
            return self._one(request, target)
        return self._collection(request, target)

    def _document(self, request: Request) -> Answer | None:
        path = request.path.rstrip("/")
        if path in ("/healthz", "/readyz", "/livez"):
            return Answer(200, b"ok", _TEXT)
        if path == "/version":
            return Answer(200, dump(discovery.VERSION))
        if path in ("/api", "/apis"):
            accept = request.headers.get("accept", "")
            if "as=APIGroupDiscoveryList" in accept and "v=v2;" in f"{accept};".replace(",", ";"):
                return Answer(200, dump(discovery.aggregated(path == "/api")), discovery.AGGREGATED)
            found = discovery.api_versions(self.address) if path == "/api" else discovery.api_groups()
            return Answer(200, dump(found))
        if path == "/openapi/v3":
            return Answer(200, dump(discovery.openapi_index()))
        if path.startswith("/openapi/v3/"):
            return Answer(200, dump(discovery.openapi(path.removeprefix("/openapi/v3/"))))
        parts = path.split("/")[1:]
        if parts[0] == "api" and len(parts) == 2:
            return Answer(200, dump(discovery.api_resources("", parts[1])))
        if parts[0] == "apis" and len(parts) == 2:
            return Answer(200, dump(discovery.api_group(parts[1])))
        if parts[0] == "apis" and len(parts) == 3:
            return Answer(200, dump(discovery.api_resources(parts[1], parts[2])))
        return None

    # -- lists

    def _collection(self, request: Request, target: _Target) -> Answer:
        if request.method == "GET":
            return self._list(request, target)
        if request.method == "POST":
            return self._create(request, target)
        if request.method == "DELETE":
            return self._delete_collection(request, target)
        raise method_not_allowed()

    def _list(self, request: Request, target: _Target) -> Answer:
        representation = Representation.of(request.headers.get("accept", ""), request.query)
        options = ListOptions.from_query(request.query)
        matches = _matcher(options, target.type)
        if options.watch:
            watch = Watch(self.store, target.type, target.namespace, options, matches, representation, self._now)
            return Answer(200, b"", representation.content_type, watch)
        version, found = self._found(options, target)
        objects = [each for each in found if matches(each[1])]
        metadata: Object = {"resourceVersion": str(version)}
        if options.continue_token:
            after = decode_continue(options.continue_token)[1]
            objects = [each for each in objects if _place(target, each[0]) > after]
        if options.limit and options.version != 0 and len(objects) > options.limit:
            metadata["continue"] = encode_continue(version, f"/{_place(target, objects[options.limit - 1][0])}")
            if not options.label_selector and not options.field_selector:
                metadata["remainingItemCount"] = len(objects) - options.limit
            objects = objects[: options.limit]
        listed = representation.list(target.type, [each for _, each in objects], metadata, self._now())
        return Answer(200, representation.encode(listed), representation.content_type)

    def _found(self, options: ListOptions, target: _Target) -> tuple[int, list[tuple[Key, Object]]]:
        """The objects that there are to choose from, and of which version they are."""
        store = self.store
        if options.continue_token:
            version, after = decode_continue(options.continue_token)
            if version != INCONSISTENT:
                if version < store.compacted:
                    raise _expired_continue(after)
                return version, store.at(version, target.type, target.namespace)
        elif options.version_match == "Exact" and options.version:
            if options.version < store.compacted:
                raise list_too_old()
            if options.version > store.version:
                raise too_large(options.version, store.version)
            return options.version, store.at(options.version, target.type, target.namespace)
        elif options.version and options.version > store.version:
            raise too_large(options.version, store.version)
        return store.version, store.of_type(target.type, target.namespace)

    def _delete_collection(self, request: Request, target: _Target) -> Answer:
        options = ListOptions.from_query(request.query)
        matches = _matcher(options, target.type)
        found = [(key, each) for key, each in self.store.of_type(target.type, target.namespace) if matches(each)]
        version = self.store.version
        grace = _grace(request)
        for key, each in found:
            self.delete(key, each, grace)
        representation = Representation.of(request.headers.get("accept", ""), request.query)
        metadata: Object = {"resourceVersion": str(version)}
        listed = representation.list(target.type, [each for _, each in found], metadata, self._now())
        return Answer(200, representation.encode(listed), representation.content_type)

    # -- changes

    def _create(self, request: Request, target: _Target) -> Answer:
        new = _decoded(request)
        type = target.type
        _check_kind(type, new)
        metadata = new.setdefault("metadata", {})
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + self._suffix()
        if not target.namespace and type.namespaced:
            raise method_not_allowed()
        return self._answer_one(request, type, self.create(type, target.namespace, new, dry=_is_dry(request)), 201)

    def create(self, type: ResourceType, namespace: str, new: Object, *, dry: bool = False) -> Object:
        """Keep a new object.

        Raises:
            ApiError: it is there already, its namespace is not, or it can not be.
        """
        metadata = new["metadata"]
        if type.namespaced:
            if self.store.get(Key(NAMESPACES, "", namespace)) is None:
                raise not_found("", "namespaces", namespace)
            metadata["namespace"] = namespace
        key = Key(type, namespace, metadata.get("name", ""))
        if self.store.get(key) is not None:
            raise already_exists(type.group, type.plural, key.name)
        made = self._admission.create(type, new)
        if type is PODS:
            self._take_topology(made)
        return made if dry else self.store.put(key, made)

    def _take_topology(self, pod: Object) -> None:
        """A pod on a node has the node's zone and region as labels."""
        node = self.store.get(Key(NODES, "", pod["spec"].get("nodeName", "")))
        labels = (node or {}).get("metadata", {}).get("labels") or {}
        for name in ("topology.kubernetes.io/region", "topology.kubernetes.io/zone"):
            if name in labels:
                pod["metadata"].setdefault("labels", {}).setdefault(name, labels[name])

    def _one(self, request: Request, target: _Target) -> Answer:
        type, key = target.type, target.key
        if target.subresource and target.subresource not in type.subresources:
            raise no_such_resource()
        before = self.store.get(key)
        applies = request.method == "PATCH" and _media(request) == "application/apply-patch+yaml"
        if before is None and not applies:
            raise not_found(type.group, type.plural, target.name)
        if request.method == "GET" and before is not None:
            if target.subresource == "scale":
                return Answer(200, dump(_scale(before)))
            return self._answer_one(request, type, before, 200)
        if request.method == "DELETE" and before is not None:
            return self._delete_one(request, target, before)
        if request.method == "PUT" and before is not None:
            return self._update(request, target, before, _decoded(request))
        if request.method == "PATCH":
            return self._patch(request, target, before)
        raise method_not_allowed()

    def _patch(self, request: Request, target: _Target, before: Object | None) -> Answer:
        media, patch = _media(request), _decoded(request)
        base = before or {}
        if target.subresource == "scale" and before is not None:
            return self._update(request, target, before, json_merge(_scale(before), patch))
        if media == "application/apply-patch+yaml":
            manager = request.query.get("fieldManager", "")
            if not manager:
                raise bad_request('PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value')
            patch.setdefault("metadata", {}).setdefault("name", target.name)
            force = request.query.get("force") in ("1", "true")
            new = apply(before, patch, target.type, manager, self._now(), force)
        elif media == "application/json-patch+json":
            new = json_patch(base, patch)
        elif media == "application/merge-patch+json":
            new = json_merge(base, patch)
        elif media == "application/strategic-merge-patch+json":
            new = strategic_merge(base, patch)
        else:
            raise ApiError(
                415, "UnsupportedMediaType", f"the body of the request was in an unknown format - {media}", {}
            )
        if before is None:
            _check_kind(target.type, new)
            made = self.create(target.type, target.namespace, new, dry=_is_dry(request))
            return self._answer_one(request, target.type, made, 201)
        return self._update(request, target, before, new)

    def _update(self, request: Request, target: _Target, before: Object, new: Object) -> Answer:
        type = target.type
        said = (new.get("metadata") or {}).get("resourceVersion")
        if said and said != before["metadata"]["resourceVersion"]:
            raise conflict(type.group, type.plural, target.name)
        if target.subresource == "scale":
            spec = {**before["spec"], "replicas": new["spec"]["replicas"]}
            return Answer(200, dump(_scale(self.update(target.key, {**before, "spec": spec}))))
        if target.subresource == "status":
            new = {**before, "status": new.get("status")}
        elif "status" in type.subresources and "status" in before:
            new = {**new, "status": before["status"]}
        return self._answer_one(request, type, self.update(target.key, new, dry=_is_dry(request)), 200)

    def update(self, key: Key, new: Object, *, dry: bool = False) -> Object:
        """Keep `new` instead of what is there; nothing happens if it is the same.

        Raises:
            ApiError: it can not be.
        """
        before = self.store.get(key)
        if before is None:
            raise not_found(key.type.group, key.type.plural, key.name)
        new.setdefault("metadata", {}).setdefault("name", key.name)
        if key.namespace:
            new["metadata"]["namespace"] = key.namespace
        new = self._admission.update(key.type, new, before)
        if _without_version(new) == _without_version(before):
            return before
        if dry:
            new["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
            return new
        made = self.store.put(key, new)
        if (
            made["metadata"].get("deletionTimestamp")
            and not made["metadata"].get("finalizers")
            and key.type is not PODS
        ):
            self.store.remove(key)
        return made

    def _delete_one(self, request: Request, target: _Target, before: Object) -> Answer:
        type = target.type
        wanted = _options(request).get("preconditions") or {}
        for name in ("uid", "resourceVersion"):
            if wanted.get(name, before["metadata"][name]) != before["metadata"][name]:
                raise conflict(type.group, type.plural, target.name)
        if _is_dry(request):
            return self._answer_one(request, type, before, 200)
        last = self.delete(target.key, before, _grace(request))
        if type in _RETURNED_WHEN_DELETED:
            return self._answer_one(request, type, last, 200)
        details = {"name": target.name, "group": type.group, "kind": type.plural, "uid": before["metadata"]["uid"]}
        success: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return Answer(200, dump({**success, "details": {name: value for name, value in details.items() if value}}))

    def delete(self, key: Key, before: Object, grace: int | None = None) -> Object:
        """Remove it, or have it end: a pod that runs on a node has `grace` seconds; its last state."""
        if key.type is NAMESPACES:
            for other, each in [pair for pair in self.store.everything() if pair[0].namespace == key.name]:
                self.delete(other, each, 0)
        metadata = dict(before["metadata"])
        if key.type is PODS and before["spec"].get("nodeName"):
            seconds = before["spec"].get("terminationGracePeriodSeconds", _DEFAULT_GRACE) if grace is None else grace
            if seconds and "deletionTimestamp" in metadata:
                return before
            marked = self._marked(key, before, metadata, seconds)
            return marked if seconds else self.store.remove(key)
        if metadata.get("finalizers"):
            return before if "deletionTimestamp" in metadata else self._marked(key, before, metadata, 0)
        return self.store.remove(key)

    def _marked(self, key: Key, before: Object, metadata: Object, seconds: int) -> Object:
        if "deletionTimestamp" not in metadata and "generation" in metadata:
            metadata["generation"] += 1
        metadata["deletionTimestamp"] = self._now()
        metadata["deletionGracePeriodSeconds"] = seconds
        return self.store.put(key, {**before, "metadata": metadata})

    def _answer_one(self, request: Request, type: ResourceType, each: Object, status: int) -> Answer:
        representation = Representation.of(request.headers.get("accept", ""), request.query)
        body = representation.encode(representation.one(type, each, self._now()))
        return Answer(status, body, representation.content_type)


def _target(group: str, version: str, parts: list[str]) -> _Target:
    """`pods`, `pods/x`, `namespaces/n/pods`, `namespaces/n/pods/x/status`, `namespaces/n`, `namespaces/n/status`."""
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2 and parts[2] not in NAMESPACES.subresources:
        namespace, parts = parts[1], parts[2:]
    if len(parts) > 3:
        raise no_such_resource()
    type = by_path(group, version, parts[0])
    if namespace and not type.namespaced:
        raise no_such_resource()
    return _Target(type, namespace, *parts[1:])


def _place(target: _Target, key: Key) -> str:
    """Where an object stands in a list, as continue tokens say it."""
    return key.name if target.namespace or not key.namespace else f"{key.namespace}/{key.name}"


def _matcher(options: ListOptions, type: ResourceType) -> Callable[[Object], bool]:
    by_label = label_selector(options.label_selector)
    by_field = field_selector(options.field_selector, type)
    return lambda each: by_label(each["metadata"].get("labels") or {}) and by_field(each)


def _expired_continue(after: str) -> ApiError:
    message = (
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
        "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
        "modified, or deleted between the time the first chunk was returned and now may show up in the list."
    )
    return ApiError(410, "Expired", message, metadata={"continue": encode_continue(INCONSISTENT, after)})


def _media(request: Request) -> str:
    return request.headers.get("content-type", JSON).partition(";")[0].strip()


def _decoded(request: Request) -> Any:
    media = _media(request)
    if media == "application/vnd.kubernetes.protobuf":
        raise ApiError(415, "UnsupportedMediaType", "the body of the request was in an unknown format - protobuf", {})
    try:
        if media in ("application/yaml", "application/apply-patch+yaml"):
            import yaml

            return yaml.safe_load(request.body)
        return json.loads(request.body)
    except ValueError as error:
        raise bad_request(f"the object provided is unrecognized: {error}") from None


def _options(request: Request) -> Object:
    """`DeleteOptions`, which may be the body of a DELETE."""
    if not request.body:
        return {}
    options = _decoded(request)
    return options if isinstance(options, dict) else {}


def _grace(request: Request) -> int | None:
    """Seconds; None if the client leaves it to the pod."""
    text = request.query.get("gracePeriodSeconds", _options(request).get("gracePeriodSeconds"))
    return None if text is None else int(text)


def _is_dry(request: Request) -> bool:
    return request.query.get("dryRun") == "All"


def _check_kind(type: ResourceType, new: Any) -> None:
    if not isinstance(new, dict):
        raise bad_request("the object provided is unrecognized (must be of type map)")
    kind = new.get("kind", type.kind)
    version = new.get("apiVersion", type.api_version)
    if (kind, version) != (type.kind, type.api_version):
        message = f"the API version in the data ({version}, {kind}) does not match the expected API version"
        raise bad_request(f"{message} ({type.api_version}, {type.kind})")


def _without_version(each: Object) -> Object:
    return {**each, "metadata": {**each["metadata"], "resourceVersion": ""}}


def _scale(each: Object) -> Object:
    """`autoscaling/v1` Scale of a Deployment or ReplicaSet."""
    metadata = {name: each["metadata"].get(name) for name in ("name", "namespace", "uid", "resourceVersion",
                "creationTimestamp")}  # fmt: skip
    labels = (each["spec"].get("selector") or {}).get("matchLabels") or {}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": each["spec"].get("replicas", 1)},
        "status": {
            "replicas": each.get("status", {}).get("replicas", 0),
            "selector": ",".join(f"{name}={value}" for name, value in labels.items()),
        },
    }
