"""The objects that configure a proxy, as the API server tells them."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from ..discovery.kubernetes.objects import ObjectKey, Resource

_GATEWAY: Final = "gateway.networking.k8s.io"


class RawObject(NamedTuple):
    """An object, whole but for its status and what only servers need."""

    key: ObjectKey
    version: str
    kind: str
    created: str
    annotations: tuple[tuple[str, str], ...]
    body: tuple[tuple[str, Any], ...]
    """`spec`, `data` and `type`, those that there are."""

    def __str__(self) -> str:
        return f"{self.kind} {self.key}" if self.key.namespace else f"{self.kind} {self.key.name}"

    @property
    def spec(self) -> dict[str, Any]:
        return self.member("spec")

    def member(self, name: str) -> dict[str, Any]:
        """An empty mapping if it is not there, or is none."""
        found = dict(self.body).get(name)
        return found if isinstance(found, dict) else {}

    def annotation(self, name: str) -> str:
        return dict(self.annotations).get(name, "")

    @property
    def age(self) -> tuple[str, str, str]:
        """The older one goes first; of the same age, by its name."""
        return (self.created, self.key.namespace, self.key.name)


def _slim(kind: str) -> Any:
    def slim(item: Any) -> RawObject | None:
        metadata = item.get("metadata") if isinstance(item, dict) else None
        if not isinstance(metadata, dict) or not metadata.get("name"):
            return None
        annotations = metadata.get("annotations") or {}
        return RawObject(
            ObjectKey(metadata.get("namespace") or "", metadata["name"]),
            str(metadata.get("resourceVersion", "")),
            kind,
            str(metadata.get("creationTimestamp") or ""),
            tuple(sorted((str(name), str(text)) for name, text in annotations.items())),
            tuple((name, item[name]) for name in ("spec", "data", "type") if name in item),
        )

    return slim


def _resource(group: str, version: str, plural: str, kind: str) -> Resource:
    return Resource(group, version, plural, _slim(kind))


INGRESSES: Final = _resource("networking.k8s.io", "v1", "ingresses", "Ingress")
INGRESS_CLASSES: Final = _resource("networking.k8s.io", "v1", "ingressclasses", "IngressClass")
GATEWAYS: Final = _resource(_GATEWAY, "v1", "gateways", "Gateway")
HTTP_ROUTES: Final = _resource(_GATEWAY, "v1", "httproutes", "HTTPRoute")
GRPC_ROUTES: Final = _resource(_GATEWAY, "v1", "grpcroutes", "GRPCRoute")
REFERENCE_GRANTS: Final = _resource(_GATEWAY, "v1beta1", "referencegrants", "ReferenceGrant")
SERVICES: Final = _resource("", "v1", "services", "Service")
SECRETS: Final = _resource("", "v1", "secrets", "Secret")
