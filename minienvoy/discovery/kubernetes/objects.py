"""The objects of the Kubernetes API, as much of them as discovery looks at.

No Envoy counterpart. An EndpointSlice of ten endpoints is 3.6 kB of JSON and a dozen kB of dicts; what is kept is a
few tuples. The functions here take what `json` makes of an object and are forgiving: a field that is absent, null or
of a wrong type is an empty one, and an endpoint that says nothing about itself is a ready one, as the API has it. What
has no name is no object: None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from sys import intern
from typing import Any, Final, NamedTuple, Protocol

SERVICE_NAME: Final = "kubernetes.io/service-name"
"""The label by which an EndpointSlice belongs to a Service."""

ZONE_LABEL: Final = "topology.kubernetes.io/zone"
"""Of pods since Kubernetes 1.35, and of nodes always."""


class ObjectKey(NamedTuple):
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class SlicePort(NamedTuple):
    """`port` is 0 where the slice has none, which means all of them."""

    name: str
    port: int
    protocol: str
    app_protocol: str


class Endpoint(NamedTuple):
    """One endpoint of a slice. `target` names the pod; its parts are empty if it is none."""

    addresses: tuple[str, ...]
    ready: bool
    serving: bool
    terminating: bool
    hostname: str
    node: str
    zone: str
    target: ObjectKey
    uid: str
    hint_zones: tuple[str, ...]
    hint_nodes: tuple[str, ...]


class EndpointSlice(NamedTuple):
    """`ports` is None where the slice says `null`: that is not the same as none."""

    key: ObjectKey
    version: str
    service: str
    address_type: str
    ports: tuple[SlicePort, ...] | None
    endpoints: tuple[Endpoint, ...]


class ServicePort(NamedTuple):
    name: str
    port: int
    protocol: str
    app_protocol: str


class Service(NamedTuple):
    key: ObjectKey
    version: str
    type: str
    ports: tuple[ServicePort, ...]
    headless: bool
    external_name: str
    families: tuple[str, ...]
    session_affinity: str
    internal_traffic_policy: str
    traffic_distribution: str


class ContainerPort(NamedTuple):
    name: str
    port: int
    protocol: str


class Pod(NamedTuple):
    """`annotations` are only those that were asked for."""

    key: ObjectKey
    version: str
    uid: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    node: str
    phase: str
    addresses: tuple[str, ...]
    ready: bool
    terminating: bool
    hostname: str
    ports: tuple[ContainerPort, ...]


class Object(Protocol):
    """Anything that a `Store` holds; immutable, and equal when it says the same."""

    @property
    def key(self) -> ObjectKey: ...
    @property
    def version(self) -> str:
        """Its `resourceVersion`."""


Slim = Callable[[Any], "Object | None"]
"""From what `json` makes of an object to what is kept of it; None if it is none."""


class Resource(NamedTuple):
    """A kind of object that can be listed and watched; `group` is empty for the core's."""

    group: str
    version: str
    plural: str
    slim: Slim

    def path(self, namespace: str) -> str:
        """Where it is listed; in all namespaces if `namespace` is empty."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{namespace}/{self.plural}" if namespace else f"{root}/{self.plural}"


NO_KEY: Final = ObjectKey("", "")


def version_number(version: str) -> int | None:
    """A `resourceVersion` as a number: 64 bits in every server there is, but clients are told not to rely on it."""
    return int(version) if len(version) <= 20 and version.isascii() and version.isdigit() else None


def slim_slice(item: Any) -> EndpointSlice | None:
    metadata = _dict(item, "metadata")
    key = _key(metadata)
    if key is None:
        return None
    ports = item.get("ports")
    return EndpointSlice(
        key,
        _text(metadata, "resourceVersion"),
        intern(_text(_dict(metadata, "labels"), SERVICE_NAME)),
        intern(_text(item, "addressType")),
        tuple([_slice_port(port) for port in ports if isinstance(port, dict)]) if isinstance(ports, list) else None,
        tuple([_endpoint(each) for each in _list(item, "endpoints") if isinstance(each, dict)]),
    )


def _slice_port(port: dict[str, Any]) -> SlicePort:
    return SlicePort(
        intern(_text(port, "name")),
        _number(port, "port"),
        intern(_text(port, "protocol") or "TCP"),
        intern(_text(port, "appProtocol")),
    )


def _endpoint(item: dict[str, Any]) -> Endpoint:
    # This runs ten thousand times at a start: no helper is called for what nearly every endpoint has.
    conditions = item.get("conditions")
    if type(conditions) is not dict:
        conditions = {}
    ready = conditions.get("ready") is not False
    serving = conditions.get("serving")
    target = item.get("targetRef")
    if type(target) is dict and target.get("kind") == "Pod":
        pod = ObjectKey(intern(_text(target, "namespace")), _text(target, "name"))
        uid = _text(target, "uid")
    else:
        pod, uid = NO_KEY, ""
    hints = item.get("hints")
    zones: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    if type(hints) is dict and hints:
        zones, nodes = _names(hints, "forZones"), _names(hints, "forNodes")
    hostname, node, zone = item.get("hostname"), item.get("nodeName"), item.get("zone")
    return Endpoint(
        tuple([each for each in _list(item, "addresses") if type(each) is str]),
        ready,
        ready if serving is None else serving is not False,
        conditions.get("terminating") is True,
        hostname if type(hostname) is str else "",
        intern(node) if type(node) is str else "",
        intern(zone) if type(zone) is str else "",
        pod,
        uid,
        zones,
        nodes,
    )


def slim_service(item: Any) -> Service | None:
    metadata = _dict(item, "metadata")
    key = _key(metadata)
    if key is None:
        return None
    spec = _dict(item, "spec")
    return Service(
        key,
        _text(metadata, "resourceVersion"),
        _text(spec, "type") or "ClusterIP",
        tuple(
            ServicePort(
                _text(port, "name"), _number(port, "port"), _text(port, "protocol") or "TCP", _text(port, "appProtocol")
            )
            for port in _list(spec, "ports")
            if isinstance(port, dict)
        ),
        _text(spec, "clusterIP") == "None",
        _text(spec, "externalName"),
        tuple(each for each in _list(spec, "ipFamilies") if isinstance(each, str)),
        _text(spec, "sessionAffinity") or "None",
        _text(spec, "internalTrafficPolicy") or "Cluster",
        _text(spec, "trafficDistribution"),
    )


def slim_pod(annotations: Iterable[str]) -> Slim:
    """Keeps these annotations."""
    wanted = frozenset(annotations)

    def slim(item: Any) -> Pod | None:
        metadata = _dict(item, "metadata")
        key = _key(metadata)
        if key is None:
            return None
        spec, status = _dict(item, "spec"), _dict(item, "status")
        addresses = tuple(
            _text(each, "ip") for each in _list(status, "podIPs") if isinstance(each, dict) and _text(each, "ip")
        )
        if not addresses and _text(status, "podIP"):
            addresses = (_text(status, "podIP"),)
        return Pod(
            key,
            _text(metadata, "resourceVersion"),
            _text(metadata, "uid"),
            _texts(metadata, "labels"),
            {name: text for name, text in _texts(metadata, "annotations").items() if name in wanted},
            intern(_text(spec, "nodeName")),
            intern(_text(status, "phase")),
            addresses,
            any(
                isinstance(each, dict) and each.get("type") == "Ready" and each.get("status") == "True"
                for each in _list(status, "conditions")
            ),
            metadata.get("deletionTimestamp") is not None,
            _text(spec, "hostname"),
            tuple(_container_ports(spec)),
        )

    return slim


def _container_ports(spec: dict[str, Any]) -> Iterable[ContainerPort]:
    # An init container that restarts is a sidecar: it runs as long as the pod does, and its ports are the pod's.
    containers = [each for each in _list(spec, "containers") if isinstance(each, dict)]
    for each in _list(spec, "initContainers"):
        if isinstance(each, dict) and each.get("restartPolicy") == "Always":
            containers.append(each)
    for container in containers:
        for port in _list(container, "ports"):
            if isinstance(port, dict):
                yield ContainerPort(
                    _text(port, "name"), _number(port, "containerPort"), _text(port, "protocol") or "TCP"
                )


def _key(metadata: dict[str, Any]) -> ObjectKey | None:
    name = _text(metadata, "name")
    return ObjectKey(intern(_text(metadata, "namespace")), name) if name else None


def _dict(item: Any, field: str) -> dict[str, Any]:
    value = item.get(field) if isinstance(item, dict) else None
    return value if isinstance(value, dict) else {}


def _list(item: dict[str, Any], field: str) -> list[Any]:
    value = item.get(field)
    return value if isinstance(value, list) else []


def _text(item: dict[str, Any], field: str) -> str:
    value = item.get(field)
    return value if isinstance(value, str) else ""


def _number(item: dict[str, Any], field: str) -> int:
    value = item.get(field)
    return value if type(value) is int and 0 < value < 65536 else 0


def _texts(item: dict[str, Any], field: str) -> dict[str, str]:
    return {name: text for name, text in _dict(item, field).items() if isinstance(text, str)}


def _names(hints: dict[str, Any], field: str) -> tuple[str, ...]:
    return tuple([intern(_text(each, "name")) for each in _list(hints, field) if isinstance(each, dict)])


ENDPOINT_SLICES: Final = Resource("discovery.k8s.io", "v1", "endpointslices", slim_slice)
SERVICES: Final = Resource("", "v1", "services", slim_service)


def pods(annotations: Iterable[str] = ()) -> Resource:
    """Pods, with these annotations."""
    return Resource("", "v1", "pods", slim_pod(annotations))
