"""A Kubernetes API server in memory: for tests of what watches one, and for trying discovery on a laptop.

`kubectl` works against it. It has the kinds of `resource_types.py`, list and watch with everything that a recorded
server was seen to do (pages, bookmarks, initial events, expired versions, tables), the controllers that make
EndpointSlices of Services and pods of Deployments, and a kubelet that only pretends.

    async with FakeKube() as kube:
        kube.apply(manifest)
        kube.set_ready("default/web-0", False)
        await kube.restart(lose_versions=True)

What differs from a real server is listed in `docs/kubernetes.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .api_error import ApiError, Object
from .faults import Faults
from .resource_types import (
    NAMESPACES,
    NODES,
    ResourceType,
    by_kind,
)
from .store import Change, Key, ObjectStore

if TYPE_CHECKING:
    from ...event.dispatcher import Dispatcher
    from .http_server import HttpServer

__all__ = ["ApiError", "FakeKube", "Faults", "Object"]

_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


class FakeKube:
    """Attributes:
    faults: what is wrong with it for now.
    port: where it listens, on 127.0.0.1; 0 before it does.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        seed: int = 0,
        nodes: Mapping[str, str] | None = None,
        pod_address: Callable[[str, str], str] | None = None,
        start_delay: float = 0.05,
        end_delay: float = 1.0,
    ) -> None:
        """`nodes`: the zone of each; two in two zones by default. `pod_address`: what gives a pod of a Deployment its
        address, by namespace and name; addresses of 10.1.0.0/16 by default, which nothing answers. With it, loopback
        addresses are allowed, which a real server refuses. `start_delay`, `end_delay`: seconds until a pod is ready,
        and until one that is to end is gone.
        """
        from ...event.random import RandomGenerator

        self._random = RandomGenerator(seed)
        self._letters = self._random.stream("fake_kube.suffix")
        self._nodes = dict(nodes or {"node-a": "zone-a", "node-b": "zone-b"})
        self._own_addresses = pod_address
        self._start_delay = start_delay
        self._end_delay = end_delay
        self._addresses: dict[tuple[str, str], str] = {}
        self._listening = False
        self._reconciling = False
        self.faults = Faults()
        self.store = ObjectStore()
        self._port = port
        self._server: HttpServer | None = None

    # -- life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        import asyncio

        from ...event.dispatcher import Dispatcher
        from .http_server import HttpServer

        self.prepare(Dispatcher(asyncio.get_running_loop()))
        self._server = HttpServer(self.api, self.faults, self._dispatcher, self._port)
        await self._server.start()

    def prepare(self, dispatcher: Dispatcher) -> None:
        """Everything but the socket: `api` answers, controllers work when `dispatcher` says so."""
        from .admission import Admission
        from .api import Api
        from .endpoint_controller import EndpointController
        from .registry import Registry
        from .workload_controller import WorkloadController

        self._dispatcher = dispatcher
        admission = Admission(
            self.now, self._random.uuid4("fake_kube.uid"), allow_loopback=self._own_addresses is not None
        )
        self.registry = Registry(self.store, admission, self.now)
        self.api = Api(self.registry, self.now, self._suffix)
        self._endpoints = EndpointController(self.registry, self.now, self._suffix)
        self._workloads = WorkloadController(
            self.registry,
            self._dispatcher,
            self.now,
            self._suffix,
            self._address,
            start_delay=self._start_delay,
            end_delay=self._end_delay,
        )
        self.store.listen(self._on_change)
        for name in ("default", "kube-system"):
            if self.store.get(Key(NAMESPACES, "", name)) is None:
                self.registry.create(NAMESPACES, "", {"metadata": {"name": name}})
        for name, zone in self._nodes.items():
            if self.store.get(Key(NODES, "", name)) is None:
                labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone}
                self.registry.create(NODES, "", {"metadata": {"name": name, "labels": labels}})

    async def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            self._workloads.close()
            await server.stop()
        await self._dispatcher.stop()

    async def restart(self, *, lose_versions: bool = False) -> None:
        """As if the process had died and come up at the same address: connections break.

        With `lose_versions` nothing is known any more of how things were before.
        """
        await self.go_away()
        if lose_versions:
            self.store.compact()
        await self.come_back()

    async def go_away(self) -> None:
        """Connections break, and nothing listens until `come_back`."""
        if self._server is not None:
            self._port = self._server.port
            await self._server.stop()

    async def come_back(self) -> None:
        from .http_server import HttpServer

        self._server = HttpServer(self.api, self.faults, self._dispatcher, self._port)
        await self._server.start()

    # -- how to reach it

    @property
    def port(self) -> int:
        return self._server.port if self._server is not None else 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests(self) -> int:
        """How many have come since it was started or restarted."""
        return self._server.requests if self._server is not None else 0

    def kubeconfig(self, path: Path | str, namespace: str = "default", token: str = "") -> Path:
        """Write the file that `kubectl` and clients want; the path, for whoever passes it on."""
        import yaml

        user = {"token": token} if token else {}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": user}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake", "namespace": namespace}}],
            "current-context": "fake",
        }
        path = Path(path)
        path.write_text(yaml.safe_dump(config))
        return path

    # -- what is in it

    def now(self) -> str:
        """The time as objects have it."""
        from datetime import UTC, datetime

        return datetime.fromtimestamp(self._dispatcher.wall_time(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def apply(self, manifest: str | Object) -> None:
        """Create or replace what a manifest (YAML, several documents) or one object says.

        Raises:
            ApiError: one of them can not be.
        """
        for each in _documents(manifest):
            type = by_kind(each["apiVersion"], each["kind"])
            namespace = each["metadata"].get("namespace", "default") if type.namespaced else ""
            key = Key(type, namespace, each["metadata"]["name"])
            before = self.store.get(key)
            if before is None:
                self.registry.create(type, namespace, each)
            else:
                kept = {"status": before.get("status")} if "status" in before else {}
                self.registry.update(key, {**kept, **each})

    def get(self, kind: str, name: str) -> Object:
        """`get("Pod", "default/web-0")`; KeyError if there is none."""
        key = self._key(kind, name)
        found = self.store.get(key)
        if found is None:
            raise KeyError(f"{kind} {name}")
        return found

    def names(self, kind: str, namespace: str = "") -> list[str]:
        """`NAMESPACE/NAME` of all of that kind."""
        return [f"{key.namespace}/{key.name}" for key, _ in self.store.of_type(_type(kind), namespace)]

    def delete(self, kind: str, name: str, *, grace: int | None = None) -> None:
        """`grace`: seconds that a pod has; its own if None."""
        key = self._key(kind, name)
        self.registry.delete(key, self.get(kind, name), grace)

    def scale(self, name: str, replicas: int) -> None:
        """Of the Deployment `NAMESPACE/NAME`."""
        deployment = self.get("Deployment", name)
        spec = {**deployment["spec"], "replicas": replicas}
        self.registry.update(self._key("Deployment", name), {**deployment, "spec": spec})

    def set_ready(self, pod: str, ready: bool, address: str = "") -> None:
        """The pod `NAMESPACE/NAME` runs, and passes its readiness probe or does not."""
        from .workload_controller import running

        key, each = self._key("Pod", pod), self.get("Pod", pod)
        address = address or each.get("status", {}).get("podIP") or self._address(key.namespace, key.name)
        self.registry.update(key, {**each, "status": running(each, address, ready=ready, now=self.now())})

    # -- what can be wrong with it; see `faults` for the rest

    def compact(self) -> None:
        """Nothing is known any more of how things were before now: who comes with an older version is told 410."""
        self.store.compact()

    def cut(self) -> None:
        """Break every connection."""
        if self._server is not None:
            self._server.cut()

    def end_watches(self) -> None:
        """Every watch ends as if its time was over."""
        if self._server is not None:
            self._server.end_watches()

    def answer_410(self) -> None:
        """Every watch is told, in its stream, that its version is too old."""
        if self._server is not None:
            self._server.expire_watches()

    # -- inside

    def _key(self, kind: str, name: str) -> Key:
        type = _type(kind)
        namespace, slash, rest = name.rpartition("/")
        return Key(type, (namespace if slash else "default") if type.namespaced else "", rest)

    def _suffix(self) -> str:
        return "".join(self._letters.choice(_SUFFIX_LETTERS) for _ in range(5))

    def _address(self, namespace: str, name: str) -> str:
        if self._own_addresses is not None:
            return self._own_addresses(namespace, name)
        number = len(self._addresses)
        return self._addresses.setdefault((namespace, name), f"10.1.{number // 250}.{number % 250 + 1}")

    def _on_change(self, change: Change) -> None:
        endpoints = self._endpoints.on_change(change)
        workloads = self._workloads.on_change(change)
        if (endpoints or workloads) and not self._reconciling:
            self._reconciling = True
            self._dispatcher.post(self._reconcile)

    def _reconcile(self) -> None:
        self._reconciling = False
        self._workloads.reconcile()
        self._endpoints.reconcile()


def _type(kind: str) -> ResourceType:
    from .resource_types import RESOURCE_TYPES

    return next(each for each in RESOURCE_TYPES if each.kind == kind)


def _documents(manifest: str | Object) -> Iterator[Any]:
    if isinstance(manifest, dict):
        yield manifest
        return
    import yaml

    for each in yaml.safe_load_all(manifest):
        if each:
            yield from each.get("items", [each]) if each.get("kind") == "List" else [each]
