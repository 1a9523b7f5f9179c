"""The objects as the API changes them: what is created is completed and checked, what is deleted may take its time.

Kubernetes: `k8s.io/apiserver/pkg/registry/generic/registry.Store`, over which handlers and controllers work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .admission import Admission
from .api_error import Object, already_exists, not_found
from .resource_types import NAMESPACES, NODES, PODS, ResourceType
from .store import Key, ObjectStore

_DEFAULT_GRACE: Final = 30


class Registry:
    """One server's."""

    def __init__(self, store: ObjectStore, admission: Admission, now: Callable[[], str]) -> None:
        self.store = store
        self._admission = admission
        self._now = now

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


def _without_version(each: Object) -> Object:
    return {**each, "metadata": {**each["metadata"], "resourceVersion": ""}}
