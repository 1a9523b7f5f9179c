"""A Deployment that rolls, goes to zero and comes back, under steady traffic: real time, real sockets, real pods.

Each pod is a server on a loopback address of its own, and ends as a well-made one does. Told to end, it goes on
serving; then its readiness fails, and it still serves; when nobody sends it anything any more and what it had is done,
it listens no more and is gone. Each of these steps waits for what has to come before it, none for a clock: how fast the
machine is does not matter. At zero there is nobody to ask, which is said at once (503 `UH`, a TCP connection that
ends); at every other time no request fails.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from minienvoy import Proxy
from minienvoy.testing.fake_kube import FakeKube
from minienvoy.upstream.host import Host
from tests.bootstraps import kubernetes_proxy
from tests.kube_manifests import WEB_SERVICE, web_deployment
from tests.waiting import until

pytestmark = pytest.mark.asyncio

REPLICAS = 100
LONG = 600
"""Seconds; more than the whole test takes. A hang ends it earlier."""


class Pod:
    """A server that listens from when it is made.

    Attributes:
        key: its address and port, as the proxy knows it.
        told_to_end: Kubernetes wants it gone; it serves nevertheless.
        ready: what it says of itself.
        connections: those that are open.
        host: the proxy's, as it was last seen.
    """

    def __init__(self, address: str, port: int) -> None:
        self.key = (address, port)
        self.told_to_end = False
        self.ready = True
        self.connections = 0
        self.host: Host | None = None
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(self.key)
        self._socket.listen(128)
        self._socket.setblocking(False)
        self._starting = asyncio.ensure_future(asyncio.start_server(self._serve, sock=self._socket))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"POST"):
                    await reader.readexactly(4)
                await asyncio.sleep(0.005)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        self.connections -= 1
        writer.close()

    @property
    def idle(self) -> bool:
        """Nobody has a connection to it, nor one that it has not accepted yet."""
        return not self.connections and (self.host is None or not self.host.stats.cx_active)

    async def close(self) -> None:
        server = await self._starting
        server.close()


class Nodes:
    """What runs the pods of a FakeKube: a listening socket for each, and an orderly end.

    Attributes:
        serve_on: pods that are told to end do not let their readiness fail yet.
    """

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("", 0))
            self.port: int = probe.getsockname()[1]
        self.pods: dict[str, Pod] = {}
        self.started = 0
        self.serve_on = False

    @asynccontextmanager
    async def kube(self) -> AsyncIterator[FakeKube]:
        """They have as long as they want: it is `tend` that has them end."""
        async with FakeKube(pod_address=self._start, end_delay=LONG) as kube:
            stop = kube.store.listen(self._on_change)
            self.deploy(kube, 1)
            kube.apply(WEB_SERVICE)
            yield kube
            stop()
        await asyncio.gather(*(pod.close() for pod in self.pods.values()))

    def deploy(self, kube: FakeKube, version: int) -> None:
        kube.apply(web_deployment(REPLICAS, port=self.port, version=version, grace=LONG))

    def _start(self, namespace: str, name: str) -> str:
        pod = f"{namespace}/{name}"
        if pod not in self.pods:
            self.started += 1
            self.pods[pod] = Pod(f"127.77.{self.started // 250}.{self.started % 250 + 1}", self.port)
        return self.pods[pod].key[0]

    def _on_change(self, change: Any) -> None:
        if change.key.type.kind == "Pod" and "deletionTimestamp" in change.object["metadata"]:
            pod = self.pods.get(f"{change.key.namespace}/{change.key.name}")
            if pod is not None:
                pod.told_to_end = True

    @asynccontextmanager
    async def tend(self, kube: FakeKube, proxy: Proxy) -> AsyncIterator[None]:
        """Lead the pods that are told to end to it, each step when the proxy has heard of the one before."""

        async def tend() -> None:
            while True:
                await self._look(kube, proxy)
                await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as group:
            tending = group.create_task(tend())
            yield
            tending.cancel()

    async def _look(self, kube: FakeKube, proxy: Proxy) -> None:
        cluster: Any = proxy.server.cluster_manager.clusters()["web"]
        hosts = {(host.address.host, host.address.port): host for host in cluster.hosts()}
        endpoints = cluster.subscription.assignment.hosts
        for name, pod in tuple(self.pods.items()):
            host = hosts.get(pod.key)
            pod.host = host or pod.host
            if not pod.told_to_end:
                continue
            if pod.ready:
                told = pod.key in endpoints and endpoints[pod.key].condition == "terminating, serving"
                if told and not self.serve_on:
                    pod.ready = False
                    kube.set_ready(name, False)
            elif host is None and pod.idle:
                del self.pods[name]
                await pod.close()
                kube.delete("Pod", name, grace=0)


class Traffic:
    """Clients that ask again and again; what came of it, by the phase in which it was asked or answered."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._over = False
        self._zeros = 0
        self._at_zero = False
        self.steady: Counter[str] = Counter()
        self.at_zero: Counter[str] = Counter()

    async def __aenter__(self) -> Traffic:
        self._session = aiohttp.ClientSession()
        self._clients = [asyncio.ensure_future(self._ask(number)) for number in range(8)]
        self._clients += [asyncio.ensure_future(self._talk(exchanges)) for exchanges in (1, 1, 3, 3, 10, 10)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over = True
        await asyncio.gather(*self._clients)
        await self._session.close()

    def zero(self, begins: bool) -> None:
        self._at_zero = begins
        self._zeros += 1

    async def more(self, count: int = 20) -> None:
        """Until so many further answers of both kinds have come."""
        seen = self._seen()
        await until(lambda: all(now - before >= count for now, before in zip(self._seen(), seen, strict=True)))

    def _seen(self) -> list[int]:
        both = self.steady + self.at_zero
        return [sum(count for what, count in both.items() if what.startswith(kind)) for kind in ("http", "tcp")]

    def _count(self, what: str, zeros: int) -> None:
        (self.at_zero if self._at_zero or zeros != self._zeros else self.steady)[what] += 1

    async def _ask(self, number: int) -> None:
        while not self._over:
            zeros = self._zeros
            method, data = ("POST", b"body") if number % 2 else ("GET", None)
            try:
                async with self._session.request(method, self._proxy.url("web"), data=data) as response:
                    body = (await response.read()).decode()
                    self._count(f"http {response.status} {body}", zeros)
            except aiohttp.ClientError as error:
                self._count(f"http {error!r}", zeros)
            await asyncio.sleep(0.01)

    async def _talk(self, exchanges: int) -> None:
        while not self._over:
            zeros = self._zeros
            reader, writer = await asyncio.open_connection(*self._proxy.address("tcp"))
            try:
                for _ in range(exchanges):
                    writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
                    answer = await reader.read(1000)
                    if not answer:
                        break
                    await asyncio.sleep(0.01)
                self._count(f"tcp {answer[:15].decode() or 'closed'}", zeros)
            except ConnectionError:
                self._count("tcp closed", zeros)
            writer.close()
            await asyncio.sleep(0.01)


async def test_a_rollout_of_a_hundred_pods_to_zero_and_back_fails_no_request(tmp_path: Path) -> None:
    nodes = Nodes()
    async with nodes.kube() as kube:
        value = f"service: web, port: http, kubeconfig: {kube.kubeconfig(tmp_path / 'kubeconfig')}"
        async with Proxy.from_yaml(kubernetes_proxy(value) + "    lb_policy: LEAST_REQUEST\n") as proxy:

            def healthy() -> int:
                return int(proxy.stats["cluster.web.membership_healthy"])

            async with nodes.tend(kube, proxy), Traffic(proxy) as traffic, asyncio.timeout(LONG / 4):
                traffic.zero(True)
                await until(lambda: healthy() == REPLICAS)
                traffic.zero(False)
                await traffic.more()
                old = set(nodes.pods)
                nodes.deploy(kube, 2)
                await until(lambda: old.isdisjoint(kube.names("Pod")) and healthy() == REPLICAS == len(nodes.pods))
                kube.scale("web", REPLICAS // 4)
                await until(lambda: healthy() == REPLICAS // 4 == len(nodes.pods))
                await traffic.more()
                # What ends serves on, and is asked as nobody else is there.
                nodes.serve_on = True
                kube.scale("web", 0)
                await until(lambda: all(pod.told_to_end for pod in nodes.pods.values()))
                await traffic.more()
                # Then there is nobody.
                traffic.zero(True)
                nodes.serve_on = False
                await until(lambda: not nodes.pods and not kube.names("Pod"))
                await traffic.more()
                kube.scale("web", REPLICAS)
                await until(lambda: healthy() > 0)
                traffic.zero(False)
                await until(lambda: healthy() == REPLICAS)
                await traffic.more()
            nobody = proxy.stats["cluster.web.upstream_cx_none_healthy"]
            refused = proxy.stats["cluster.web.upstream_cx_connect_fail"]
    assert set(traffic.steady) == {"http 200 ok", "tcp HTTP/1.1 200 OK"}, traffic.steady
    told = {"http 503 no healthy upstream", "tcp closed"}
    assert told <= set(traffic.at_zero) <= {"http 200 ok", "tcp HTTP/1.1 200 OK", *told}, traffic.at_zero
    assert nobody == traffic.at_zero["http 503 no healthy upstream"] + traffic.at_zero["tcp closed"]
    assert refused == 0
    assert nodes.started == 3 * REPLICAS
