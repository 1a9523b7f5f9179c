"""Which kinds of objects the fake API server has.

Kubernetes: `rest.Storage` of each resource, as `kubectl api-resources` lists them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .api_error import no_such_resource

VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One kind.

    Attributes:
        group: of the API; empty for the core.
        plural: the name in paths.
        subresources: paths below an object, e.g. `status`.
        fields: what field selectors may name besides the name and the namespace.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def categories(self) -> tuple[str, ...]:
        """Words that stand for several types: `kubectl get all`."""
        return ("all",) if self.plural in _ALL else ()


_PODS = ("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "status.phase",
         "status.podIP")  # fmt: skip
_EVENTS = ("involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid", "reason",
           "source", "type")  # fmt: skip
_ALL = ("pods", "services", "deployments", "replicasets", "horizontalpodautoscalers")
_GATEWAY = "gateway.networking.k8s.io"

RESOURCE_TYPES: Final = (
    ResourceType("", "v1", "namespaces", "Namespace", False, ("ns",), ("status",), ("status.phase",)),
    ResourceType("", "v1", "nodes", "Node", False, ("no",), ("status",), ("spec.unschedulable",)),
    ResourceType("", "v1", "pods", "Pod", True, ("po",), ("status",), _PODS),
    ResourceType("", "v1", "services", "Service", True, ("svc",), ("status",), ("spec.clusterIP", "spec.type")),
    ResourceType("", "v1", "endpoints", "Endpoints", True, ("ep",)),
    ResourceType("", "v1", "configmaps", "ConfigMap", True, ("cm",)),
    ResourceType("", "v1", "secrets", "Secret", True, (), (), ("type",)),
    ResourceType("", "v1", "serviceaccounts", "ServiceAccount", True, ("sa",)),
    ResourceType("", "v1", "events", "Event", True, ("ev",), (), _EVENTS),
    ResourceType("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
    ResourceType("apps", "v1", "deployments", "Deployment", True, ("deploy",), ("status", "scale")),
    ResourceType("apps", "v1", "replicasets", "ReplicaSet", True, ("rs",), ("status", "scale"), ("status.replicas",)),
    ResourceType(
        "autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True, ("hpa",), ("status",)
    ),
    ResourceType("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", True, ("pdb",), ("status",)),
    ResourceType("rbac.authorization.k8s.io", "v1", "roles", "Role"),
    ResourceType("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"),
    ResourceType("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", False),
    ResourceType("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", False),
    ResourceType("networking.k8s.io", "v1", "ingresses", "Ingress", True, ("ing",), ("status",)),
    ResourceType("networking.k8s.io", "v1", "ingressclasses", "IngressClass", False),
    ResourceType("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", True, ("netpol",)),
    ResourceType(_GATEWAY, "v1", "gatewayclasses", "GatewayClass", False, ("gc",), ("status",)),
    ResourceType(_GATEWAY, "v1", "gateways", "Gateway", True, ("gtw",), ("status",)),
    ResourceType(_GATEWAY, "v1", "httproutes", "HTTPRoute", True, (), ("status",)),
    ResourceType(_GATEWAY, "v1", "grpcroutes", "GRPCRoute", True, (), ("status",)),
    ResourceType(_GATEWAY, "v1beta1", "referencegrants", "ReferenceGrant", True, ("refgrant",)),
)  # fmt: skip

_BY_PATH: Final = {(each.group, each.version, each.plural): each for each in RESOURCE_TYPES}
_BY_KIND: Final = {(each.api_version, each.kind): each for each in RESOURCE_TYPES}


def by_path(group: str, version: str, plural: str) -> ResourceType:
    """Raises ApiError (404) for what this server does not have."""
    found = _BY_PATH.get((group, version, plural))
    if found is None:
        raise no_such_resource()
    return found


def by_kind(api_version: str, kind: str) -> ResourceType:
    """Raises ApiError (404) for what this server does not have."""
    found = _BY_KIND.get((api_version, kind))
    if found is None:
        raise no_such_resource()
    return found


def group_versions() -> list[tuple[str, str]]:
    """Of all types, each once, the core first."""
    return list(dict.fromkeys((each.group, each.version) for each in RESOURCE_TYPES))


NAMESPACES: Final = by_path("", "v1", "namespaces")
NODES: Final = by_path("", "v1", "nodes")
PODS: Final = by_path("", "v1", "pods")
SERVICES: Final = by_path("", "v1", "services")
ENDPOINTS: Final = by_path("", "v1", "endpoints")
ENDPOINT_SLICES: Final = by_path("discovery.k8s.io", "v1", "endpointslices")
DEPLOYMENTS: Final = by_path("apps", "v1", "deployments")
REPLICA_SETS: Final = by_path("apps", "v1", "replicasets")
