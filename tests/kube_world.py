"""A cluster that follows Kubernetes, in time that stands still, beside an API server that is a few functions.

No socket and no client library: `FakeApi` gives bytes, and breaks in any way that a test asks for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from minienvoy.config.loader import load_dict
from minienvoy.discovery.kubernetes.discovery import KubernetesDiscovery
from minienvoy.errors import KubernetesError
from minienvoy.event.random import RandomGenerator
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.stats.store import Store
from minienvoy.upstream.cluster import Cluster, ClusterContext, create_cluster

from .kube_server import GROUPS, event

Answer = Callable[[str, dict[str, str]], "FakeResponse | None"]


class FakeResponse:
    """A body in pieces; then it ends, breaks (`cut`), or says nothing more (`hang`)."""

    def __init__(self, status: int = 200, *pieces: bytes, cut: bool = False, hang: bool = False) -> None:
        self.status = status
        self.retry_after: float | None = None
        self.closed = False
        self._pieces = list(pieces)
        self._cut = cut
        self._hang = hang
        self._more = asyncio.Event()

    def send(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._more.set()

    def end(self, *, cut: bool = True) -> None:
        self._hang, self._cut = False, cut
        self._more.set()

    async def chunk(self) -> bytes:
        while not self._pieces:
            if not self._hang:
                if self._cut:
                    raise KubernetesError("the connection broke")
                return b""
            self._more.clear()
            await self._more.wait()
        return self._pieces.pop(0)

    def close(self) -> None:
        self.closed = True


class FakeApi:
    """Attributes:
    answer: asked first; what it returns, or raises, takes the place of the usual answer.
    requests: (when, path, query) of each.
    """

    def __init__(self, now: Callable[[], float], *, version: int = 100, watch_list: bool = False) -> None:
        self.version = version
        self.answer: Answer | None = None
        self.requests: list[tuple[float, str, dict[str, str]]] = []
        self.forgotten = 0
        self.closed = False
        self._now = now
        self._watch_list = watch_list
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.watches: list[tuple[str, dict[str, str], FakeResponse]] = []

    # -- what discovery asks

    def default_namespace(self) -> str:
        return "shop"

    async def has_watch_list(self) -> bool:
        return self._watch_list

    def forget_credentials(self) -> None:
        self.forgotten += 1

    def close(self) -> None:
        self.closed = True

    async def get(self, path: str, query: tuple[tuple[str, str], ...]) -> FakeResponse:
        asked = dict(query)
        self.requests.append((self._now(), path, asked))
        if self.answer is not None:
            answer = self.answer(path, asked)
            if answer is not None:
                return answer
        kind = path.rpartition("/")[2]
        if asked.get("watch") == "true":
            if int(asked.get("resourceVersion", "0")) < self.version and "sendInitialEvents" not in asked:
                # Kept simple: a test that changes something while nobody watches wants it to be listed.
                return FakeResponse(200, event("ERROR", {"kind": "Status", "code": 410, "message": "too old"}))
            stream = FakeResponse(hang=True)
            if "sendInitialEvents" in asked:
                for item in self._matching(kind, asked):
                    stream.send(event("ADDED", item))
                end = {"resourceVersion": str(self.version), "annotations": {"k8s.io/initial-events-end": "true"}}
                stream.send(event("BOOKMARK", {"metadata": end}))
            self.watches.append((kind, asked, stream))
            return stream
        body = {"kind": f"{GROUPS[kind][1]}List", "metadata": {"resourceVersion": str(self.version)}}
        return FakeResponse(200, json.dumps({**body, "items": self._matching(kind, asked)}).encode())

    # -- what a test does

    def put(self, kind: str, item: dict[str, Any]) -> None:
        self.version += 1
        item["metadata"] = {"namespace": "shop", **item["metadata"], "resourceVersion": str(self.version)}
        key = (kind, item["metadata"]["name"])
        self._tell("MODIFIED" if key in self.objects else "ADDED", kind, item)
        self.objects[key] = item

    def delete(self, kind: str, name: str) -> None:
        self.version += 1
        item = self.objects.pop((kind, name))
        self._tell("DELETED", kind, {**item, "metadata": {**item["metadata"], "resourceVersion": str(self.version)}})

    def cut(self) -> None:
        """Every watch breaks."""
        watches, self.watches = self.watches, []
        for _, _, stream in watches:
            stream.end()

    def stall(self) -> None:
        """Every watch stays open, and nothing comes by it any more."""
        self.watches = []

    def _tell(self, what: str, kind: str, item: dict[str, Any]) -> None:
        for of, asked, stream in self.watches:
            if of == kind and _wanted(item, asked):
                stream.send(event(what, item))
            elif of == kind:
                stream.send(event("BOOKMARK", {"metadata": {"resourceVersion": str(self.version)}}))
            else:
                asked["resourceVersion"] = str(self.version)

    def _matching(self, kind: str, asked: dict[str, str]) -> list[dict[str, Any]]:
        return [item for (of, _), item in self.objects.items() if of == kind and _wanted(item, asked)]


def _wanted(item: dict[str, Any], asked: dict[str, str]) -> bool:
    name, _, value = asked.get("labelSelector", "").partition("=")
    labels = item["metadata"].get("labels", {})
    if name and (name not in labels or (value and labels[name] != value)):
        return False
    field = asked.get("fieldSelector", "").removeprefix("metadata.name=")
    return not field or item["metadata"]["name"] == field


class KubeWorld:
    """One cluster called `c`; `api` is its API server."""

    def __init__(self, **options: Any) -> None:
        self.dispatcher = SimulatedDispatcher(asyncio.get_running_loop())
        self.api = FakeApi(self.dispatcher.monotonic_time, **options)
        self.store = Store()
        self.random = RandomGenerator(7)
        self.discovery = KubernetesDiscovery(self.dispatcher, self.random, self.store, lambda source, _: self.api)
        self.initialized: list[str] = []
        self.clusters: dict[str, Cluster] = {}
        self.dns_resolvers: Any = None

    @property
    def cluster(self) -> Any:
        return self.clusters["c"]

    def create(self, value: dict[str, Any] | None = None, name: str = "c", **fields: Any) -> Cluster:
        typed = {
            "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
            "type_url": "type.googleapis.com/minienvoy.clusters.Kubernetes",
            "value": {"service": "shop/web", "port": "http", **(value or {})},
        }
        cluster_type = {"name": "minienvoy.clusters.kubernetes", "typed_config": typed}
        config = load_dict({"name": name, "cluster_type": cluster_type, **fields}, "envoy.config.cluster.v3.Cluster")
        manager: Any = SimpleNamespace(singletons={"kubernetes": self.discovery})
        context = ClusterContext(
            self.dispatcher,
            self.random,
            self.store,
            path="clusters[0]",
            cluster_manager=manager,
            dns_resolvers=self.dns_resolvers,
        )
        self.clusters[name] = create_cluster(config.message, context)
        return self.clusters[name]

    async def start(self, value: dict[str, Any] | None = None, name: str = "c", **fields: Any) -> Any:
        cluster = self.create(value, name, **fields)
        cluster.initialize(lambda: self.initialized.append(name))
        await self.settle()
        return cluster

    async def settle(self) -> None:
        for _ in range(30):
            await asyncio.sleep(0)

    async def advance(self, seconds: float = 0.1) -> None:
        """Time passes; each timer fires at its own instant, and tasks come to rest before the next."""
        left = seconds
        await self.settle()
        while (step := self.dispatcher.next_deadline()) is not None and step <= left:
            self.dispatcher.advance(step)
            left -= step
            await self.settle()
        self.dispatcher.advance(left)
        await self.settle()

    async def stop(self) -> None:
        for cluster in self.clusters.values():
            cluster.stop()
        self.discovery.stop()
        await self.dispatcher.stop()

    def hosts(self, name: str = "c") -> list[str]:
        return [str(host) for host in self.clusters[name].hosts()]

    def healthy(self) -> list[str]:
        return [str(host) for each in self.cluster.priority_set.host_sets for host in each.healthy_hosts]
