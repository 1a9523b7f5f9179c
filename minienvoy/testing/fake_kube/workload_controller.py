"""Makes pods of Deployments, by way of ReplicaSets, and a pretended kubelet that starts and ends them.

Kubernetes: the deployment and replicaset controllers, the scheduler, the kubelet, the garbage collector; as much of
them as discovery sees: rollouts with surge and unavailability, readiness, graceful ends.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from .api_error import Object
from .registry import Registry
from .resource_types import DEPLOYMENTS, NODES, PODS, REPLICA_SETS, ResourceType
from .store import DELETED, Change, Key

if TYPE_CHECKING:
    from ...event.dispatcher import Dispatcher

HASH_LABEL: Final = "pod-template-hash"


class WorkloadController:
    """`on_change` hears of changes; `reconcile` does what follows from them.

    Attributes:
        address: what gives a pod its address, by its namespace and name.
        start_delay: seconds until a pod is ready.
        end_delay: seconds that a pod which is to end goes on serving; its grace period is the bound.
    """

    def __init__(
        self,
        registry: Registry,
        dispatcher: Dispatcher,
        now: Callable[[], str],
        suffix: Callable[[], str],
        address: Callable[[str, str], str],
        *,
        start_delay: float,
        end_delay: float,
    ) -> None:
        self._registry = registry
        self._store = registry.store
        self._dispatcher = dispatcher
        self._now = now
        self._suffix = suffix
        self.address = address
        self.start_delay = start_delay
        self.end_delay = end_delay
        self._dirty: dict[Key, None] = {}
        self._waiting: dict[Key, Any] = {}

    def on_change(self, change: Change) -> bool:
        """True if there is something to reconcile."""
        key = change.key
        if key.type in (DEPLOYMENTS, REPLICA_SETS):
            self._dirty[key] = None
            self._mark_owner(key, change.object)
        elif key.type is PODS:
            self._dirty[key] = None
            self._mark_owner(key, change.object)
            if change.kind == DELETED and key in self._waiting:
                self._waiting.pop(key).disable()
        return bool(self._dirty)

    def _mark_owner(self, key: Key, each: Object) -> None:
        for owner in each["metadata"].get("ownerReferences") or ():
            type = {"Deployment": DEPLOYMENTS, "ReplicaSet": REPLICA_SETS}.get(owner["kind"])
            if type is not None:
                self._dirty[Key(type, key.namespace, owner["name"])] = None

    def reconcile(self) -> None:
        dirty, self._dirty = self._dirty, {}
        for key in dirty:
            each = self._store.get(key)
            if each is None:
                self._collect(key)
            elif key.type is DEPLOYMENTS:
                self._reconcile_deployment(key, each)
            elif key.type is REPLICA_SETS:
                self._reconcile_replica_set(key, each)
            else:
                self._reconcile_pod(key, each)

    def close(self) -> None:
        for timer in self._waiting.values():
            timer.disable()
        self._waiting.clear()

    # -- what belongs to what

    def _owned(self, type: ResourceType, owner: Key) -> list[tuple[Key, Object]]:
        """Of that type, those that `owner` made."""
        return [
            (key, each)
            for key, each in self._store.of_type(type, owner.namespace)
            if any(
                (reference["kind"], reference["name"]) == (owner.type.kind, owner.name)
                for reference in each["metadata"].get("ownerReferences") or ()
            )
        ]

    def _collect(self, owner: Key) -> None:
        for type in (REPLICA_SETS, PODS):
            for key, each in self._owned(type, owner):
                self._registry.delete(key, each)

    def _owner(self, key: Key, each: Object) -> list[Object]:
        return [
            {
                "apiVersion": key.type.api_version,
                "kind": key.type.kind,
                "name": key.name,
                "uid": each["metadata"]["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]

    # -- deployments

    def _reconcile_deployment(self, key: Key, deployment: Object) -> None:
        spec = deployment["spec"]
        wanted = spec["replicas"]
        template = spec["template"]
        hashed = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]
        sets = self._owned(REPLICA_SETS, key)
        current = next((pair for pair in sets if pair[0].name == f"{key.name}-{hashed}"), None)
        if current is None:
            current = self._new_replica_set(key, deployment, hashed, 0)
            sets.append(current)
        old = [pair for pair in sets if pair[0] != current[0]]
        surge, unavailable = _limits(spec, wanted)
        running = sum(each["spec"]["replicas"] for _, each in sets)
        ready = sum((each.get("status") or {}).get("readyReplicas", 0) for _, each in sets)
        grown = min(wanted, current[1]["spec"]["replicas"] + max(0, wanted + surge - running))
        if grown > current[1]["spec"]["replicas"] or current[1]["spec"]["replicas"] > wanted:
            self._scale(current[0], current[1], grown)
        spare = max(0, ready - (wanted - unavailable))
        for old_key, each in old:
            replicas = each["spec"]["replicas"]
            idle = replicas - (each.get("status") or {}).get("readyReplicas", 0)
            fewer = min(replicas, idle + spare)
            spare -= max(0, fewer - idle)
            if fewer and replicas:
                self._scale(old_key, each, replicas - fewer)
        self._write_deployment_status(key)

    def _new_replica_set(self, key: Key, deployment: Object, hashed: str, replicas: int) -> tuple[Key, Object]:
        template = deployment["spec"]["template"]
        labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH_LABEL: hashed}
        selector = {**(deployment["spec"].get("selector") or {})}
        selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH_LABEL: hashed}
        name = f"{key.name}-{hashed}"
        new = {
            "metadata": {"name": name, "labels": labels, "ownerReferences": self._owner(key, deployment)},
            "spec": {
                "replicas": replicas,
                "selector": selector,
                "template": {**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}},
            },
        }
        return Key(REPLICA_SETS, key.namespace, name), self._registry.create(REPLICA_SETS, key.namespace, new)

    def _scale(self, key: Key, each: Object, replicas: int) -> None:
        self._registry.update(key, {**each, "spec": {**each["spec"], "replicas": replicas}})

    def _write_deployment_status(self, key: Key) -> None:
        deployment = self._store.get(key)
        if deployment is None:
            return
        template = deployment["spec"]["template"]
        hashed = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]
        status: Object = {"observedGeneration": deployment["metadata"]["generation"]}
        replicas = ready = updated = 0
        for set_key, each in self._owned(REPLICA_SETS, key):
            counts = each.get("status") or {}
            replicas += counts.get("replicas", 0)
            ready += counts.get("readyReplicas", 0)
            if set_key.name == f"{key.name}-{hashed}":
                updated = counts.get("replicas", 0)
        wanted = deployment["spec"]["replicas"]
        if replicas:
            status["replicas"] = replicas
        if updated:
            status["updatedReplicas"] = updated
        if ready:
            status["readyReplicas"] = status["availableReplicas"] = ready
        if wanted > ready:
            status["unavailableReplicas"] = wanted - ready
        available = "True" if ready >= wanted - _limits(deployment["spec"], wanted)[1] else "False"
        done = ready == replicas == updated == wanted
        reason = "NewReplicaSetAvailable" if done else "ReplicaSetUpdated"
        status["conditions"] = [
            {"type": "Available", "status": available, "reason": "MinimumReplicasAvailable"},
            {"type": "Progressing", "status": "True", "reason": reason},
        ]
        self._put_status(key, deployment, status)

    # -- replica sets

    def _reconcile_replica_set(self, key: Key, each: Object) -> None:
        pods = [pair for pair in self._owned(PODS, key) if "deletionTimestamp" not in pair[1]["metadata"]]
        wanted = each["spec"]["replicas"]
        for _ in range(wanted - len(pods)):
            self._new_pod(key, each)
        # Those that are not ready go first.
        for pod_key, pod in sorted(pods, key=lambda pair: _is_ready(pair[1]))[: max(0, len(pods) - wanted)]:
            self._registry.delete(pod_key, pod)
        pods = [pair for pair in self._owned(PODS, key) if "deletionTimestamp" not in pair[1]["metadata"]]
        ready = sum(_is_ready(pod) for _, pod in pods)
        status: Object = {"replicas": len(pods), "observedGeneration": each["metadata"]["generation"]}
        if ready:
            status["readyReplicas"] = status["availableReplicas"] = ready
        self._put_status(key, each, status)

    def _new_pod(self, key: Key, each: Object) -> None:
        template = each["spec"]["template"]
        metadata = dict(template.get("metadata") or {})
        metadata["name"] = f"{key.name}-{self._suffix()}"
        metadata["generateName"] = f"{key.name}-"
        metadata["ownerReferences"] = self._owner(key, each)
        self._registry.create(PODS, key.namespace, {"metadata": metadata, "spec": dict(template.get("spec") or {})})

    # -- pods

    def _reconcile_pod(self, key: Key, pod: Object) -> None:
        """The scheduler's and the kubelet's part."""
        if not pod["metadata"].get("ownerReferences"):
            return  # made by hand: whoever made it says how it is
        if not pod["spec"].get("nodeName"):
            node = self._next_node(key)
            if node:
                self._registry.update(key, {**pod, "spec": {**pod["spec"], "nodeName": node}})
        elif "deletionTimestamp" in pod["metadata"]:
            grace = float(pod["metadata"].get("deletionGracePeriodSeconds", 30))
            self._later(key, min(grace, self.end_delay), "ends")
        elif pod["status"]["phase"] == "Pending":
            self._later(key, self.start_delay, "starts")

    def _next_node(self, key: Key) -> str:
        nodes = [each.name for each, _ in self._store.of_type(NODES)]
        pods = [pod["spec"].get("nodeName") for _, pod in self._store.of_type(PODS)]
        return min(nodes, key=pods.count) if nodes else ""

    def _later(self, key: Key, delay: float, what: str) -> None:
        waiting = self._waiting.get(key)
        if waiting is not None:
            if what == "starts":
                return
            waiting.disable()
        timer = self._dispatcher.create_timer(lambda: self._due(key, what))
        self._waiting[key] = timer
        timer.enable(delay)

    def _due(self, key: Key, what: str) -> None:
        self._waiting.pop(key, None)
        pod = self._store.get(key)
        if pod is None:
            return
        if what == "ends":
            self._registry.delete(key, pod, 0)
        elif "deletionTimestamp" not in pod["metadata"]:
            self._put_status(key, pod, running(pod, self.address(key.namespace, key.name), ready=True, now=self._now()))

    def _put_status(self, key: Key, each: Object, status: Object) -> None:
        current = self._store.get(key)
        if current is not None:
            self._registry.update(key, {**current, "status": status})


def running(pod: Object, address: str, *, ready: bool, now: str) -> Object:
    """The status of a pod that runs."""
    word = "True" if ready else "False"
    conditions = [
        {"type": name, "status": "True" if name in ("Initialized", "PodScheduled") else word, "lastTransitionTime": now}
        for name in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    ]
    return {
        "phase": "Running",
        "conditions": conditions,
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": now,
        "containerStatuses": [
            {"name": each["name"], "ready": ready, "restartCount": 0, "image": each.get("image", ""), "imageID": "",
             "state": {"running": {"startedAt": now}}}
            for each in pod["spec"].get("containers") or ()
        ],
        "qosClass": "BestEffort",
    }  # fmt: skip


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _limits(spec: Object, wanted: int) -> tuple[int, int]:
    """`maxSurge` and `maxUnavailable` as numbers of pods."""
    strategy = spec.get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return 0, wanted
    rolling = strategy.get("rollingUpdate") or {}

    def number(value: Any, *, up: bool) -> int:
        if isinstance(value, str):
            exact = wanted * int(value.rstrip("%"))
            return -(-exact // 100) if up else exact // 100
        return int(value)

    surge = number(rolling.get("maxSurge", "25%"), up=True)
    unavailable = number(rolling.get("maxUnavailable", "25%"), up=False)
    return surge, unavailable or (0 if surge else 1)
