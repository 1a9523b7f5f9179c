"""What the server makes of an object before it keeps it: checks, defaults, and what only the server may say.

Kubernetes: defaulting and validation of the API types, as far as discovery depends on them.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any, Final

from .api_error import Object, invalid
from .resource_types import (
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    NAMESPACES,
    PODS,
    REPLICA_SETS,
    SERVICES,
    ResourceType,
)

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_LOOPBACK: Final = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
_LINK_LOCAL: Final = (IPv4Network("169.254.0.0/16"), IPv6Network("fe80::/10"))
_COUNTED: Final = (DEPLOYMENTS, REPLICA_SETS, ENDPOINT_SLICES, PODS)
"""Types whose `generation` goes up with every change of what is wanted."""
_OF_THE_SERVER: Final = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")


class Admission:
    """Decides about objects.

    Attributes:
        allow_loopback: let slices and pods have loopback addresses, which a real server refuses: a test has no others.
    """

    def __init__(self, now: Callable[[], str], uid: Callable[[], str], *, allow_loopback: bool) -> None:
        self._now = now
        self._uid = uid
        self.allow_loopback = allow_loopback
        self._last_address = 0

    def create(self, type: ResourceType, new: Object) -> Object:
        """`new`, complete.

        Raises:
            ApiError: 422 for what can not be.
        """
        new = copy.deepcopy(new)
        metadata = new["metadata"]
        metadata["uid"] = self._uid()
        metadata["creationTimestamp"] = self._now()
        metadata.pop("resourceVersion", None)
        metadata.pop("deletionTimestamp", None)
        if type in _COUNTED:
            metadata["generation"] = 1
        self._complete(type, new, None)
        self._check(type, new)
        return _ordered(type, new)

    def update(self, type: ResourceType, new: Object, before: Object) -> Object:
        """`new` in place of `before`, with what only the server may change as it was.

        Raises:
            ApiError: 422 for what can not be.
        """
        new = copy.deepcopy(new)
        metadata = new["metadata"]
        for name in _OF_THE_SERVER:
            if name in before["metadata"]:
                metadata[name] = before["metadata"][name]
            else:
                metadata.pop(name, None)
        self._complete(type, new, before)
        self._check(type, new)
        if type in _COUNTED and _wanted(type, new) != _wanted(type, before):
            metadata["generation"] = metadata.get("generation", 1) + 1
        return _ordered(type, new)

    def _complete(self, type: ResourceType, new: Object, before: Object | None) -> None:
        if type is SERVICES:
            self._complete_service(new, before)
        elif type is PODS:
            _complete_pod(new)
        elif type in (DEPLOYMENTS, REPLICA_SETS):
            spec = new.setdefault("spec", {})
            spec.setdefault("replicas", 1)
            _complete_ports((spec.get("template") or {}).get("spec") or {})
            if type is DEPLOYMENTS:
                strategy = spec["strategy"] = dict(spec.get("strategy") or {})
                strategy.setdefault("type", "RollingUpdate")
                if strategy["type"] == "RollingUpdate":
                    strategy.setdefault("rollingUpdate", {"maxUnavailable": "25%", "maxSurge": "25%"})
            new.setdefault("status", {})
        elif type is NAMESPACES:
            new.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
            new.setdefault("status", {}).setdefault("phase", "Active")
            new["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = new["metadata"]["name"]
        elif type is ENDPOINT_SLICES:
            new.setdefault("endpoints", None)
            new.setdefault("ports", None)
            for port in new["ports"] or ():
                port.setdefault("name", "")
                port.setdefault("protocol", "TCP")

    def _complete_service(self, new: Object, before: Object | None) -> None:
        spec = new.setdefault("spec", {})
        spec.setdefault("type", "ClusterIP")
        spec.setdefault("sessionAffinity", "None")
        for port in spec.get("ports") or ():
            port.setdefault("protocol", "TCP")
            port.setdefault("targetPort", port["port"])
        if spec["sessionAffinity"] == "ClientIP":
            spec.setdefault("sessionAffinityConfig", {"clientIP": {"timeoutSeconds": 10800}})
        if spec["type"] != "ExternalName":
            if before is not None and "clusterIP" in before["spec"]:
                spec.setdefault("clusterIP", before["spec"]["clusterIP"])
            if "clusterIP" not in spec:
                self._last_address += 1
                spec["clusterIP"] = f"10.0.{self._last_address // 250}.{self._last_address % 250 + 1}"
            spec.setdefault("clusterIPs", [spec["clusterIP"]])
            spec.setdefault("ipFamilies", ["IPv4"])
            spec.setdefault("ipFamilyPolicy", "SingleStack")
            spec.setdefault("internalTrafficPolicy", "Cluster")
        new.setdefault("status", {"loadBalancer": {}})

    def _check(self, type: ResourceType, new: Object) -> None:
        causes: list[tuple[str, str, str]] = []
        name = new["metadata"].get("name", "")
        if not _NAME.fullmatch(name):
            message = (
                f'Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric '
                "characters, '-' or '.', and must start and end with an alphanumeric character"
            )
            causes.append(("FieldValueInvalid", message, "metadata.name"))
        if type is ENDPOINT_SLICES:
            causes.extend(self._wrong_addresses(new))
        if causes:
            raise invalid(type.group, type.kind, name, causes)

    def _wrong_addresses(self, new: Object) -> list[tuple[str, str, str]]:
        causes = []
        kind = new.get("addressType", "")
        if kind not in ("IPv4", "IPv6", "FQDN"):
            message = f'Unsupported value: "{kind}": supported values: "FQDN", "IPv4", "IPv6"'
            return [("FieldValueNotSupported", message, "addressType")]
        if kind == "FQDN":
            return []
        for at, endpoint in enumerate(new["endpoints"] or ()):
            for index, text in enumerate(endpoint["addresses"]):
                problem = self._wrong_address(text)
                if problem:
                    message = f'Invalid value: "{text}": {problem}'
                    causes.append(("FieldValueInvalid", message, f"endpoints[{at}].addresses[{index}]"))
        return causes

    def _wrong_address(self, text: str) -> str:
        try:
            address = ip_address(text)
        except ValueError:
            return "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        if any(address in network for network in _LOOPBACK) and not self.allow_loopback:
            return "may not be in the loopback range (127.0.0.0/8, ::1/128)"
        if any(address in network for network in _LINK_LOCAL):
            return "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
        return ""


def _complete_ports(spec: Object) -> None:
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        for port in container.get("ports") or ():
            port.setdefault("protocol", "TCP")


def _complete_pod(new: Object) -> None:
    spec = new.setdefault("spec", {})
    _complete_ports(spec)
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        container.setdefault("resources", {})
        container.setdefault("imagePullPolicy", "Always")
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    new.setdefault("status", {"phase": "Pending", "qosClass": "BestEffort"})


def _wanted(type: ResourceType, each: Object) -> Any:
    if type is ENDPOINT_SLICES:
        metadata = each["metadata"]
        return {**each, "metadata": {key: metadata.get(key) for key in ("labels", "annotations")}}
    return each.get("spec")


_ORDER: Final = ("kind", "apiVersion", "metadata", "addressType", "endpoints", "ports", "subsets", "spec", "status")
_METADATA_ORDER: Final = (
    "name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers",
    "managedFields",
)  # fmt: skip


def _ordered(type: ResourceType, each: Object) -> Object:
    """Members in the order in which a server writes them."""
    each["kind"], each["apiVersion"] = type.kind, type.api_version
    metadata = each["metadata"]
    metadata["resourceVersion"] = ""
    each["metadata"] = {name: metadata[name] for name in (*_METADATA_ORDER, *metadata) if name in metadata}
    return {name: each[name] for name in (*_ORDER, *each) if name in each}
