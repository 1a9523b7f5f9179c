"""Objects as `kubectl get` prints them.

Kubernetes: `metav1.Table` and the printers of `pkg/printers/internalversion`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from .api_error import Object
from .resource_types import ResourceType

Cells = Callable[[Object], list[Any]]


def _or_none(values: Sequence[Any]) -> str:
    return ",".join(map(str, values)) if values else "<none>"


def _ready(pod: Object) -> str:
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    ready = sum(bool(each.get("ready")) for each in statuses)
    return f"{ready}/{len(pod.get('spec', {}).get('containers') or ())}"


def _phase(pod: Object) -> str:
    return "Terminating" if pod["metadata"].get("deletionTimestamp") else pod.get("status", {}).get("phase", "")


def _service_ports(service: Object) -> str:
    ports = service.get("spec", {}).get("ports") or ()
    return _or_none([f"{each['port']}/{each.get('protocol', 'TCP')}" for each in ports])


def _endpoints(slice_: Object) -> str:
    found = [each["addresses"][0] for each in slice_.get("endpoints") or ()]
    if not found:
        return "<unset>"
    shown = ",".join(found[:3])
    return f"{shown} + {len(found) - 3} more..." if len(found) > 3 else shown


def _counts(each: Object) -> tuple[int, int, int, int]:
    status = each.get("status", {})
    wanted = each.get("spec", {}).get("replicas", 0)
    return wanted, status.get("replicas", 0), status.get("readyReplicas", 0), status.get("updatedReplicas", 0)


_COLUMNS: Final[dict[str, tuple[tuple[str, ...], Cells]]] = {
    "Pod": (("Ready", "Status", "Restarts"), lambda pod: [_ready(pod), _phase(pod), 0]),
    "Service": (
        ("Type", "Cluster-IP", "External-IP", "Port(s)"),
        lambda each: [
            each["spec"].get("type", ""),
            each["spec"].get("clusterIP", "<none>"),
            each["spec"].get("externalName", "<none>"),
            _service_ports(each),
        ],
    ),
    "EndpointSlice": (
        ("AddressType", "Ports", "Endpoints"),
        lambda each: [
            each["addressType"],
            ",".join(str(port.get("port")) for port in each.get("ports") or ()) or "<unset>",
            _endpoints(each),
        ],
    ),
    "Deployment": (
        ("Ready", "Up-to-date", "Available"),
        lambda each: [
            f"{_counts(each)[2]}/{_counts(each)[0]}",
            _counts(each)[3],
            each.get("status", {}).get("availableReplicas", 0),
        ],
    ),
    "ReplicaSet": (("Desired", "Current", "Ready"), lambda each: list(_counts(each)[:3])),
    "Namespace": (("Status",), lambda each: [each.get("status", {}).get("phase", "")]),
    "Node": (("Status", "Roles", "Version"), lambda each: ["Ready", "<none>", ""]),
}


def age(created: str, now: str) -> str:
    """`5s`, `3m`, `2h`, `4d`: as kubectl counts."""
    seconds = int((datetime.fromisoformat(now) - datetime.fromisoformat(created)).total_seconds())
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    if seconds < 7200:
        return f"{seconds // 60}m"
    return f"{seconds // 3600}h" if seconds < 172_800 else f"{seconds // 86_400}d"


def metadata_only(each: Object) -> Object:
    """`PartialObjectMetadata`."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": each["metadata"]}


def table(
    type: ResourceType,
    objects: Sequence[Object],
    metadata: Object,
    now: str,
    *,
    columns: bool = True,
    whole: bool = False,
) -> Object:
    """`metav1.Table`; `whole`: with the objects themselves (`includeObject=Object`)."""
    names, cells = _COLUMNS.get(type.kind, ((), lambda each: []))
    definitions = [
        {"name": name, "type": "string", "format": "name" if name == "Name" else "", "description": "", "priority": 0}
        for name in ("Name", *names, "Age")
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions if columns else None,
        "rows": [
            {
                "cells": [
                    each["metadata"]["name"],
                    *cells(each),
                    age(each["metadata"]["creationTimestamp"], now),
                ],
                "object": each if whole else metadata_only(each),
            }
            for each in objects
        ],
    }
