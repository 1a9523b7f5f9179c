"""Makes EndpointSlices (and Endpoints) of Services and their pods.

Kubernetes: the endpointslice controller (`k8s.io/endpointslice`): at most 100 endpoints a slice, what is in a slice
stays in it, one set of slices for each set of ports that pods resolve the Service's ports to, and for each family.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from .api_error import Object
from .registry import Registry
from .resource_types import ENDPOINT_SLICES, ENDPOINTS, NODES, PODS, SERVICES
from .selectors import matches_labels
from .store import Change, Key

MAX_ENDPOINTS: Final = 100
MANAGED_BY: Final = "endpointslice-controller.k8s.io"
SERVICE_NAME: Final = "kubernetes.io/service-name"
ZONE: Final = "topology.kubernetes.io/zone"
_TRIGGER: Final = "endpoints.kubernetes.io/last-change-trigger-time"

Ports = tuple[tuple[tuple[str, Any], ...], ...]
"""The ports of a slice, hashable."""


class EndpointController:
    """`on_change` hears of changes; `reconcile` brings the slices of the services concerned up to date."""

    def __init__(self, registry: Registry, now: Callable[[], str], suffix: Callable[[], str]) -> None:
        self._registry = registry
        self._store = registry.store
        self._now = now
        self._suffix = suffix
        self._dirty: dict[tuple[str, str], None] = {}

    def on_change(self, change: Change) -> bool:
        """True if there is something to reconcile."""
        key = change.key
        if key.type is SERVICES:
            self._dirty[key.namespace, key.name] = None
        elif key.type is PODS:
            for service, each in self._store.of_type(SERVICES, key.namespace):
                selector = each["spec"].get("selector")
                for pod in (change.object, change.before):
                    if pod is not None and matches_labels(selector, pod["metadata"].get("labels")):
                        self._dirty[service.namespace, service.name] = None
        elif key.type is NODES:
            self._dirty.update(dict.fromkeys((each.namespace, each.name) for each, _ in self._store.of_type(SERVICES)))
        return bool(self._dirty)

    def reconcile(self) -> None:
        dirty, self._dirty = self._dirty, {}
        for namespace, name in dirty:
            service = self._store.get(Key(SERVICES, namespace, name))
            if service is None:
                self._remove_all(namespace, name)
            elif service["spec"].get("selector") and service["spec"].get("type") != "ExternalName":
                self._reconcile(namespace, name, service)

    def _remove_all(self, namespace: str, name: str) -> None:
        for key, _ in self._slices(namespace, name):
            self._store.remove(key)
        endpoints = Key(ENDPOINTS, namespace, name)
        if self._store.get(endpoints) is not None:
            self._store.remove(endpoints)

    def _slices(self, namespace: str, name: str) -> list[tuple[Key, Object]]:
        found = []
        for key, each in self._store.of_type(ENDPOINT_SLICES, namespace):
            labels = each["metadata"].get("labels") or {}
            if labels.get(SERVICE_NAME) == name and labels.get("endpointslice.kubernetes.io/managed-by") == MANAGED_BY:
                found.append((key, each))
        return found

    def _reconcile(self, namespace: str, name: str, service: Object) -> None:
        pods = [
            pod
            for _, pod in self._store.of_type(PODS, namespace)
            if matches_labels(service["spec"]["selector"], pod["metadata"].get("labels"))
        ]
        for family in service["spec"].get("ipFamilies") or ["IPv4"]:
            wanted = self._wanted(service, pods, family)
            slices = [(key, each) for key, each in self._slices(namespace, name) if each["addressType"] == family]
            self._write(namespace, name, service, family, wanted, slices)
        self._write_endpoints(namespace, name, service, pods)

    def _wanted(self, service: Object, pods: list[Object], family: str) -> dict[Ports, dict[str, Object]]:
        """By the ports: the endpoints by the name of their pod."""
        wanted: dict[Ports, dict[str, Object]] = {}
        for pod in pods:
            address = _address(pod, family)
            if address and pod["status"].get("phase") not in ("Failed", "Succeeded"):
                ports = _ports(service, pod)
                wanted.setdefault(ports, {})[pod["metadata"]["name"]] = self._endpoint(service, pod, address)
        return wanted

    def _endpoint(self, service: Object, pod: Object, address: str) -> Object:
        metadata, spec = pod["metadata"], pod["spec"]
        terminating = "deletionTimestamp" in metadata
        serving = _is_ready(pod)
        ready = serving and not terminating
        if service["spec"].get("publishNotReadyAddresses"):
            ready = True
        endpoint: Object = {
            "addresses": [address],
            "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        }
        if spec.get("hostname") and spec.get("subdomain") == service["metadata"]["name"]:
            endpoint["hostname"] = spec["hostname"]
        reference = {
            "kind": "Pod",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        }
        endpoint["targetRef"] = reference
        if spec.get("nodeName"):
            endpoint["nodeName"] = spec["nodeName"]
            node = self._store.get(Key(NODES, "", spec["nodeName"])) or {}
            zone = (node.get("metadata", {}).get("labels") or {}).get(ZONE)
            if zone:
                endpoint["zone"] = zone
                if service["spec"].get("trafficDistribution") in ("PreferClose", "PreferSameZone", "PreferSameNode"):
                    endpoint["hints"] = {"forZones": [{"name": zone}]}
                    if service["spec"]["trafficDistribution"] == "PreferSameNode":
                        endpoint["hints"]["forNodes"] = [{"name": spec["nodeName"]}]
        return endpoint

    def _write(
        self,
        namespace: str,
        name: str,
        service: Object,
        family: str,
        wanted: dict[Ports, dict[str, Object]],
        slices: list[tuple[Key, Object]],
    ) -> None:
        """Endpoints stay where they are; new ones fill up what has room."""
        left = {ports: dict(endpoints) for ports, endpoints in wanted.items()}
        kept: list[tuple[Key, Object, list[Object], Ports]] = []
        for key, each in slices:
            ports = _frozen(each.get("ports"))
            there = [end["targetRef"]["name"] for end in each.get("endpoints") or ()]
            endpoints = [left[ports].pop(pod) for pod in there if pod in left.get(ports, {})]
            kept.append((key, each, endpoints, ports))
        for key, each, endpoints, ports in kept:
            if not endpoints and not left.get(ports) and left and any(left.values()):
                # Its ports are nobody's: it takes those of whoever has no slice yet.
                ports = next(candidate for candidate, rest in left.items() if rest)
            rest = left.get(ports, {})
            while rest and len(endpoints) < MAX_ENDPOINTS:
                endpoints.append(rest.pop(next(iter(rest))))
            self._write_slice(key, each, endpoints, ports, last=len(kept) == 1 and not any(left.values()))
        for ports, rest in left.items():
            while rest:
                names = list(rest)[:MAX_ENDPOINTS]
                self._create_slice(namespace, name, service, family, [rest.pop(pod) for pod in names], ports)
        if not slices and not wanted:
            self._create_slice(namespace, name, service, family, [], ())

    def _write_slice(self, key: Key, each: Object, endpoints: list[Object], ports: Ports, *, last: bool) -> None:
        if not endpoints and not last:
            self._store.remove(key)
            return
        new_ports = _thawed(ports) if endpoints else None
        if (each.get("endpoints") or []) == endpoints and (each.get("ports") or None) == new_ports:
            return
        metadata = {**each["metadata"], "annotations": {**each["metadata"]["annotations"], _TRIGGER: self._now()}}
        self._registry.update(key, {**each, "metadata": metadata, "endpoints": endpoints or None, "ports": new_ports})

    def _create_slice(
        self, namespace: str, name: str, service: Object, family: str, endpoints: list[Object], ports: Ports
    ) -> None:
        labels = dict(service["metadata"].get("labels") or {})
        labels["endpointslice.kubernetes.io/managed-by"] = MANAGED_BY
        labels[SERVICE_NAME] = name
        if service["spec"].get("clusterIP") == "None":
            labels["service.kubernetes.io/headless"] = ""
        owner = {
            "apiVersion": "v1",
            "kind": "Service",
            "name": name,
            "uid": service["metadata"]["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
        metadata: Object = {
            "name": f"{name}-{self._suffix()}",
            "generateName": f"{name}-",
            "labels": labels,
            "annotations": {_TRIGGER: self._now()},
            "ownerReferences": [owner],
        }
        new: Object = {
            "metadata": metadata,
            "addressType": family,
            "endpoints": endpoints or None,
            "ports": _thawed(ports) if endpoints else None,
        }
        self._registry.create(ENDPOINT_SLICES, namespace, new)

    def _write_endpoints(self, namespace: str, name: str, service: Object, pods: list[Object]) -> None:
        """The older, deprecated way to say it: one object, pods that end are not in it."""
        groups: dict[Ports, dict[str, list[Object]]] = {}
        for pod in pods:
            address = _address(pod, "IPv4")
            terminating = "deletionTimestamp" in pod["metadata"]
            if address and not terminating and pod["status"].get("phase") not in ("Failed", "Succeeded"):
                entry: Object = {"ip": address}
                if pod["spec"].get("nodeName"):
                    entry["nodeName"] = pod["spec"]["nodeName"]
                entry["targetRef"] = _reference(pod)
                ready = _is_ready(pod) or service["spec"].get("publishNotReadyAddresses")
                group = groups.setdefault(_ports(service, pod), {})
                group.setdefault("addresses" if ready else "notReadyAddresses", []).append(entry)
        subsets: list[Object] = []
        for ports, group in groups.items():
            subset: Object = {part: group[part] for part in ("addresses", "notReadyAddresses") if part in group}
            members = ("name", "port", "protocol", "appProtocol")
            subset["ports"] = [{each: port[each] for each in members if each in port} for port in _thawed(ports)]
            subsets.append(subset)
        key = Key(ENDPOINTS, namespace, name)
        before = self._store.get(key)
        body: Object = {"subsets": subsets} if subsets else {}
        if before is None:
            labels = dict(service["metadata"].get("labels") or {})
            self._registry.create(ENDPOINTS, namespace, {"metadata": {"name": name, "labels": labels}, **body})
        elif (before.get("subsets") or []) != subsets:
            rest = {part: value for part, value in before.items() if part != "subsets"}
            self._registry.update(key, {**rest, **body})


def _reference(pod: Object) -> Object:
    metadata = pod["metadata"]
    return {"kind": "Pod", **{part: metadata[part] for part in ("namespace", "name", "uid")}}


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _address(pod: Object, family: str) -> str:
    status = pod.get("status") or {}
    addresses = [each["ip"] for each in status.get("podIPs") or ()] or [status.get("podIP") or ""]
    return next((each for each in addresses if each and (":" in each) is (family == "IPv6")), "")


def _ports(service: Object, pod: Object) -> Ports:
    """What the Service's ports are on this pod; a name that the pod does not have is left out."""
    found: list[Object] = []
    named = {
        (port.get("name"), port.get("protocol", "TCP")): port["containerPort"]
        for container in pod["spec"].get("containers") or ()
        for port in container.get("ports") or ()
    }
    for each in service["spec"].get("ports") or ():
        protocol = each.get("protocol", "TCP")
        target = each.get("targetPort", each["port"])
        number = named.get((target, protocol)) if isinstance(target, str) else target
        if number is not None:
            port: Object = {"name": each.get("name", ""), "protocol": protocol, "port": number}
            if each.get("appProtocol"):
                port["appProtocol"] = each["appProtocol"]
            found.append(port)
    return _frozen(found)


def _frozen(ports: list[Object] | None) -> Ports:
    return tuple(tuple(each.items()) for each in ports or ())


def _thawed(ports: Ports) -> list[Object]:
    return [dict(each) for each in ports]
