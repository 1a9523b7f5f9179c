"""The documents by which clients find out what a server has.

Kubernetes: `/version`, `/api`, `/apis`, aggregated discovery, OpenAPI v3. The schemas say nothing of fields: a client
that validates finds nothing to object to.
"""

from __future__ import annotations

from typing import Any, Final

from .api_error import Object, no_such_resource
from .resource_types import RESOURCE_TYPES, VERBS, ResourceType, group_versions

OPENAPI_V2: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
AGGREGATED: Final = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
VERSION: Final = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.2",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}


def _of(group: str, version: str) -> list[ResourceType]:
    return [each for each in RESOURCE_TYPES if (each.group, each.version) == (group, version)]


def _path(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def api_versions(address: str) -> Object:
    """`/api`."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def _group(group: str) -> Object:
    versions = [{"groupVersion": f"{name}/{version}", "version": version} for name, version in group_versions()
                if name == group]  # fmt: skip
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def api_groups() -> Object:
    """`/apis`."""
    groups = list(dict.fromkeys(group for group, _ in group_versions() if group))
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(group) for group in groups]}


def api_group(group: str) -> Object:
    """`/apis/GROUP`."""
    if not group or all(group != name for name, _ in group_versions()):
        raise no_such_resource()
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(group)}


def api_resources(group: str, version: str) -> Object:
    """`/apis/GROUP/VERSION`."""
    types = _of(group, version)
    if not types:
        raise no_such_resource()
    resources: list[Object] = []
    for each in types:
        entry: Object = {
            "name": each.plural,
            "singularName": each.singular,
            "namespaced": each.namespaced,
            "kind": each.kind,
            "verbs": list(VERBS),
        }
        if each.short_names:
            entry["shortNames"] = list(each.short_names)
        if each.categories:
            entry["categories"] = list(each.categories)
        resources.append(entry)
        for name in each.subresources:
            below: Object = {
                "name": f"{each.plural}/{name}",
                "singularName": "",
                "namespaced": each.namespaced,
                "kind": "Scale" if name == "scale" else each.kind,
                "verbs": ["get", "patch", "update"],
            }
            if name == "scale":
                below = {"name": below.pop("name"), "singularName": "", "namespaced": each.namespaced,
                         "group": "autoscaling", "version": "v1", **below}  # fmt: skip
            resources.append(below)
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": types[0].api_version,
        "resources": resources,
    }


def _aggregated(each: ResourceType) -> Object:
    entry: Object = {
        "resource": each.plural,
        "responseKind": {"group": each.group, "version": each.version, "kind": each.kind},
        "scope": "Namespaced" if each.namespaced else "Cluster",
        "singularResource": each.singular,
        "verbs": list(VERBS),
    }
    if each.short_names:
        entry["shortNames"] = list(each.short_names)
    if each.categories:
        entry["categories"] = list(each.categories)
    if each.subresources:
        entry["subresources"] = [
            {
                "subresource": name,
                "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}
                if name == "scale"
                else {"group": each.group, "version": each.version, "kind": each.kind},
                "verbs": ["get", "patch", "update"],
            }
            for name in each.subresources
        ]
    return entry


def aggregated(core: bool) -> Object:
    """`/api` or `/apis` of who accepts `APIGroupDiscoveryList`."""
    items: list[Any] = []
    for group, version in group_versions():
        if (group == "") is core:
            metadata = {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None}
            resources = [_aggregated(each) for each in _of(group, version)]
            versions = [{"version": version, "resources": resources, "freshness": "Current"}]
            items.append({"metadata": metadata, "versions": versions})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def openapi_index() -> Object:
    """`/openapi/v3`."""
    paths = (_path(group, version) for group, version in group_versions())
    return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash=1"} for path in paths}}


def openapi(path: str) -> Object:
    """`/openapi/v3/apis/GROUP/VERSION`: one PATCH for each kind, which is what `kubectl apply` looks for."""
    paths: Object = {}
    for each in RESOURCE_TYPES:
        if _path(each.group, each.version) != path:
            continue
        validation = {"name": "fieldValidation", "in": "query", "schema": {"type": "string", "uniqueItems": True}}
        kind = {"group": each.group, "version": each.version, "kind": each.kind}
        paths[f"/{path}/{each.plural}/{{name}}"] = {
            "patch": {"parameters": [validation], "x-kubernetes-group-version-kind": kind}
        }
    if not paths:
        raise no_such_resource()
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.36.2"}, "paths": paths,
            "components": {"schemas": {}}}  # fmt: skip
