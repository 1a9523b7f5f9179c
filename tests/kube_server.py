"""A small API server for tests: objects in memory, lists, watches, and the faults that a test asks for.

It knows nothing but what discovery asks: GET of a collection, by label or name, in pages, and as a watch. What a real
server does beyond that is `minienvoy.testing`'s to imitate.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

if TYPE_CHECKING:
    from minienvoy import Proxy

GROUPS = {
    "endpointslices": ("discovery.k8s.io/v1", "EndpointSlice"),
    "services": ("v1", "Service"),
    "pods": ("v1", "Pod"),
}


class KubeServer:
    """`async with KubeServer() as kube:` then `put`, `delete`; `requests` are (path, query) as they came.

    Attributes:
        answer: called with the request before anything else; a response of its own takes the place of the usual.
        forget_before: watches from an older version are told 410.
        minor: the minor version; from 34 on, WatchList is there.
    """

    def __init__(
        self, *, version: int = 100, minor: int = 30, certificate: Path | None = None, key: Path | None = None
    ) -> None:
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._tls.load_cert_chain(certificate, key)
        self.version = version
        self.minor = minor
        self.forget_before = 0
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.answer: Any = None
        self.url = ""
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.tokens: list[str] = []
        self._log: list[tuple[int, str, str, dict[str, Any]]] = []
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._port = 0
        self._streams: set[web.StreamResponse] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True, ssl_context=self._tls)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http{'s' if self._tls else ''}://127.0.0.1:{self._port}"

    async def stop(self) -> None:
        """Cut every connection and listen no more; `start` begins again at the same port."""
        if self._runner is not None:
            self.cut()
            runner, self._runner = self._runner, None
            await runner.cleanup()

    def cut(self) -> None:
        """End every watch in the middle."""
        for stream in tuple(self._streams):
            request = stream._req
            if request is not None and request.transport is not None:
                request.transport.abort()

    def kubeconfig(self, directory: Path, *, authority: str = "", **user: Any) -> str:
        """Write one and return its path."""
        path = directory / "kubeconfig"
        cluster = {"server": self.url, **({"certificate-authority": authority} if authority else {})}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
        }
        path.write_text(json.dumps(config))
        return str(path)

    def put(self, kind: str, item: dict[str, Any]) -> None:
        """Create or change an object."""
        self.version += 1
        metadata = item["metadata"] = {"namespace": "shop", **item["metadata"], "resourceVersion": str(self.version)}
        key = (kind, metadata["namespace"], metadata["name"])
        self._tell("MODIFIED" if key in self.objects else "ADDED", kind, item)
        self.objects[key] = item

    def delete(self, kind: str, name: str, namespace: str = "shop") -> None:
        self.version += 1
        item = self.objects.pop((kind, namespace, name))
        gone = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self.version)}}
        self._tell("DELETED", kind, gone)

    async def followed(self, proxy: Proxy) -> None:
        """Until the proxy has heard of everything, and has made its update of it."""
        discovery = proxy._server.cluster_manager.singletons["kubernetes"]  # type: ignore[union-attr]
        for watch in discovery.watches():
            reflector = watch.reflector
            kind = reflector.resource.plural
            newest = max((version for version, _, of, _ in self._log if of == kind), default=0)
            for _ in range(500):
                if reflector.stats.connected and int(reflector._version) >= newest:
                    break
                await proxy.advance(0.01)
        await proxy.advance(0.1)

    def forget(self) -> None:
        """Compact: watches from before now are told 410."""
        self.forget_before = self.version

    def _tell(self, event: str, kind: str, item: dict[str, Any]) -> None:
        self._log.append((self.version, event, kind, item))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        self.requests.append((request.path, query))
        self.tokens.append(request.headers.get("Authorization", ""))
        if self.answer is not None:
            answer: web.StreamResponse | None = await self.answer(request)
            if answer is not None:
                return answer
        if request.path == "/version":
            return web.json_response({"major": "1", "minor": str(self.minor)})
        parts = request.path.strip("/").split("/")
        kind = parts[-1]
        if kind not in GROUPS:
            return status(404, "the server could not find the requested resource")
        namespace = parts[-2] if "namespaces" in parts else ""
        if query.get("watch") == "true":
            return await self._watch(request, kind, namespace, query)
        found = self._find(kind, namespace, query)
        at, limit = int(query.get("continue", "0")), int(query.get("limit", "0")) or len(found) or 1
        metadata = {"resourceVersion": str(self.version)}
        if at + limit < len(found):
            metadata["continue"] = str(at + limit)
        return web.json_response(
            {"kind": f"{GROUPS[kind][1]}List", "apiVersion": GROUPS[kind][0], "metadata": metadata}
            | {"items": found[at : at + limit]}
        )

    def _find(self, kind: str, namespace: str, query: dict[str, str]) -> list[dict[str, Any]]:
        return [
            item
            for (of, own, _), item in self.objects.items()
            if of == kind and _matches(item, namespace or own, query)
        ]

    async def _watch(
        self, request: web.Request, kind: str, namespace: str, query: dict[str, str]
    ) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"content-type": "application/json"})
        stream.enable_chunked_encoding()
        await stream.prepare(request)
        at = int(query.get("resourceVersion", "0") or 0)
        self._streams.add(stream)
        try:
            if query.get("sendInitialEvents") == "true":
                at = self.version
                for item in self._find(kind, namespace, query):
                    await stream.write(event("ADDED", item))
                end = {"resourceVersion": str(at), "annotations": {"k8s.io/initial-events-end": "true"}}
                await stream.write(event("BOOKMARK", {"metadata": end}))
            elif at < self.forget_before:
                await stream.write(event("ERROR", {"kind": "Status", "code": 410, "message": "too old"}))
                return stream
            while True:
                changed = self._changed
                for version, what, of, item in list(self._log):
                    if version > at:
                        at = version
                        if of == kind and _matches(item, namespace or item["metadata"]["namespace"], query):
                            await stream.write(event(what, item))
                await changed.wait()
        finally:
            self._streams.discard(stream)


def event(kind: str, item: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


def status(code: int, message: str, **headers: str) -> web.Response:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
    return web.json_response(body, status=code, headers=headers)


def _matches(item: dict[str, Any], namespace: str, query: dict[str, str]) -> bool:
    metadata = item["metadata"]
    if metadata["namespace"] != namespace:
        return False
    labels = metadata.get("labels", {})
    for wanted in filter(None, query.get("labelSelector", "").split(",")):
        name, equals, value = wanted.partition("=")
        if name not in labels or (equals and labels[name] != value):
            return False
    field = query.get("fieldSelector", "").removeprefix("metadata.name=")
    return not field or metadata["name"] == field


def slice_of(service: str, name: str, *endpoints: dict[str, Any], port: int = 8080, **fields: Any) -> dict[str, Any]:
    """An EndpointSlice with one port called `http`."""
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "protocol": "TCP", "port": port}],
        "endpoints": list(endpoints),
        **fields,
    }


def endpoint(address: str, *, ready: bool = True, serving: bool | None = None, **fields: Any) -> dict[str, Any]:
    conditions = {"ready": ready, "serving": ready if serving is None else serving, "terminating": False}
    return {"addresses": [address], "conditions": {**conditions, **fields.pop("conditions", {})}, **fields}


def service(name: str, **spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": "http"}]
    return {
        "metadata": {"name": name},
        "spec": {"ports": ports, "clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], **spec},
    }


def pod(
    name: str, address: str, *, port: int = 8080, labels: dict[str, str] | None = None, **metadata: Any
) -> dict[str, Any]:
    """A pod that is ready, with one port called `http`."""
    return {
        "metadata": {"name": name, "uid": name, "labels": labels or {}, **metadata},
        "spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": port}]}]},
        "status": {
            "phase": "Running",
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
