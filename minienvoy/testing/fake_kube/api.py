"""The API: a request in, an answer out. No socket and no loop.

Kubernetes: `k8s.io/apiserver/pkg/endpoints/handlers` over `registry.Store`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

from . import discovery
from .api_error import (
    ApiError,
    Object,
    bad_request,
    conflict,
    list_too_old,
    method_not_allowed,
    no_such_resource,
    not_found,
    nothing_runs,
    too_large,
)
from .list_options import INCONSISTENT, ListOptions, decode_continue, encode_continue
from .managed_fields import apply
from .patches import json_merge, json_patch, strategic_merge
from .registry import Registry
from .representation import Representation, dump
from .request import Answer, Request, Target, decoded, delete_options, grace_of, is_dry, media_type, place, target_of
from .resource_types import NAMESPACES, PODS, SERVICES, ResourceType, group_versions
from .selectors import field_selector, label_selector
from .store import Key
from .watch import Watch

_TEXT: Final = "text/plain; charset=utf-8"
_OF_CONTAINERS: Final = ("attach", "exec", "log", "portforward", "proxy")
_RETURNED_WHEN_DELETED: Final = (NAMESPACES, PODS, SERVICES)


class Api:
    """One server's.

    Attributes:
        address: as `/api` tells it.
    """

    def __init__(self, registry: Registry, now: Callable[[], str], suffix: Callable[[], str]) -> None:
        self.address = ""
        self.store = registry.store
        self._registry = registry
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
        target = target_of(group, version, rest)
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
        if path == "/openapi/v2":
            # Older clients read their schemas from here, in protobuf; a document that has none is an empty one.
            return Answer(200, b"", discovery.OPENAPI_V2)
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

    def _collection(self, request: Request, target: Target) -> Answer:
        if request.method == "GET":
            return self._list(request, target)
        if request.method == "POST":
            return self._create(request, target)
        if request.method == "DELETE":
            return self._delete_collection(request, target)
        raise method_not_allowed()

    def _list(self, request: Request, target: Target) -> Answer:
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
            objects = [each for each in objects if place(target, each[0]) > after]
        if options.limit and options.version != 0 and len(objects) > options.limit:
            metadata["continue"] = encode_continue(version, f"/{place(target, objects[options.limit - 1][0])}")
            if not options.label_selector and not options.field_selector:
                metadata["remainingItemCount"] = len(objects) - options.limit
            objects = objects[: options.limit]
        listed = representation.list(target.type, [each for _, each in objects], metadata, self._now())
        return Answer(200, representation.encode(listed), representation.content_type)

    def _found(self, options: ListOptions, target: Target) -> tuple[int, list[tuple[Key, Object]]]:
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

    def _delete_collection(self, request: Request, target: Target) -> Answer:
        options = ListOptions.from_query(request.query)
        matches = _matcher(options, target.type)
        found = [(key, each) for key, each in self.store.of_type(target.type, target.namespace) if matches(each)]
        version = self.store.version
        grace = grace_of(request)
        for key, each in found:
            self._registry.delete(key, each, grace)
        representation = Representation.of(request.headers.get("accept", ""), request.query)
        metadata: Object = {"resourceVersion": str(version)}
        listed = representation.list(target.type, [each for _, each in found], metadata, self._now())
        return Answer(200, representation.encode(listed), representation.content_type)

    # -- changes

    def _create(self, request: Request, target: Target) -> Answer:
        new = decoded(request)
        type = target.type
        _check_kind(type, new)
        metadata = new.setdefault("metadata", {})
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + self._suffix()
        if not target.namespace and type.namespaced:
            raise method_not_allowed()
        made = self._registry.create(type, target.namespace, new, dry=is_dry(request))
        return self._answer_one(request, type, made, 201)

    def _one(self, request: Request, target: Target) -> Answer:
        type, key = target.type, target.key
        if type is PODS and target.subresource in _OF_CONTAINERS:
            raise nothing_runs(target.subresource)
        if target.subresource and target.subresource not in type.subresources:
            raise no_such_resource()
        before = self.store.get(key)
        applies = request.method == "PATCH" and media_type(request) == "application/apply-patch+yaml"
        if before is None and not applies:
            raise not_found(type.group, type.plural, target.name)
        if request.method == "GET" and before is not None:
            if target.subresource == "scale":
                return Answer(200, dump(_scale(before)))
            return self._answer_one(request, type, before, 200)
        if request.method == "DELETE" and before is not None:
            return self._delete_one(request, target, before)
        if request.method == "PUT" and before is not None:
            return self._update(request, target, before, decoded(request))
        if request.method == "PATCH":
            return self._patch(request, target, before)
        raise method_not_allowed()

    def _patch(self, request: Request, target: Target, before: Object | None) -> Answer:
        media, patch = media_type(request), decoded(request)
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
            made = self._registry.create(target.type, target.namespace, new, dry=is_dry(request))
            return self._answer_one(request, target.type, made, 201)
        return self._update(request, target, before, new)

    def _update(self, request: Request, target: Target, before: Object, new: Object) -> Answer:
        type = target.type
        said = (new.get("metadata") or {}).get("resourceVersion")
        if said and said != before["metadata"]["resourceVersion"]:
            raise conflict(type.group, type.plural, target.name)
        if target.subresource == "scale":
            spec = {**before["spec"], "replicas": new["spec"]["replicas"]}
            return Answer(200, dump(_scale(self._registry.update(target.key, {**before, "spec": spec}))))
        if target.subresource == "status":
            new = {**before, "status": new.get("status")}
        elif "status" in type.subresources and "status" in before:
            new = {**new, "status": before["status"]}
        return self._answer_one(request, type, self._registry.update(target.key, new, dry=is_dry(request)), 200)

    def _delete_one(self, request: Request, target: Target, before: Object) -> Answer:
        type = target.type
        wanted = delete_options(request).get("preconditions") or {}
        for name in ("uid", "resourceVersion"):
            if wanted.get(name, before["metadata"][name]) != before["metadata"][name]:
                raise conflict(type.group, type.plural, target.name)
        if is_dry(request):
            return self._answer_one(request, type, before, 200)
        last = self._registry.delete(target.key, before, grace_of(request))
        if type in _RETURNED_WHEN_DELETED:
            return self._answer_one(request, type, last, 200)
        details = {"name": target.name, "group": type.group, "kind": type.plural, "uid": before["metadata"]["uid"]}
        success: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return Answer(200, dump({**success, "details": {name: value for name, value in details.items() if value}}))

    def _answer_one(self, request: Request, type: ResourceType, each: Object, status: int) -> Answer:
        representation = Representation.of(request.headers.get("accept", ""), request.query)
        body = representation.encode(representation.one(type, each, self._now()))
        return Answer(status, body, representation.content_type)


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


def _check_kind(type: ResourceType, new: Any) -> None:
    if not isinstance(new, dict):
        raise bad_request("the object provided is unrecognized (must be of type map)")
    kind = new.get("kind", type.kind)
    version = new.get("apiVersion", type.api_version)
    if (kind, version) != (type.kind, type.api_version):
        message = f"the API version in the data ({version}, {kind}) does not match the expected API version"
        raise bad_request(f"{message} ({type.api_version}, {type.kind})")


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
