"""Listeners and clusters in a loop of the test's own, without the rest of a server."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

from minienvoy.access_log.file import AccessLogManager
from minienvoy.config.loader import load_dict
from minienvoy.config.runtime import Loader
from minienvoy.event.dispatcher import Dispatcher
from minienvoy.event.random import RandomGenerator
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.explain.log import ExplanationLog
from minienvoy.extensions import register_catalogue
from minienvoy.server.drain_manager import DrainManager
from minienvoy.server.factory_context import ServerContext
from minienvoy.server.listener import ConnectionLimit
from minienvoy.server.listener_manager import ListenerManager
from minienvoy.stats.store import Store
from minienvoy.upstream.cluster import ClusterContext
from minienvoy.upstream.cluster_manager import ClusterManager

register_catalogue()
LISTENER = "envoy.config.listener.v3.Listener"
CLUSTER = "envoy.config.cluster.v3.Cluster"
ECHO = {"name": "echo", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"}}
ANYWHERE = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}


def run(main: Callable[[], Awaitable[None]], loop: str = "uvloop") -> None:
    """Run on `uvloop` or on `asyncio`; nothing may be left open, and nothing may take longer than 30 seconds."""

    async def limited() -> None:
        async with asyncio.timeout(30):
            await main()

    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(limited())


def tcp_proxy(cluster: str = "backend", **fields: Any) -> dict[str, Any]:
    """The filter; `log` is a path for its access log."""
    log = fields.pop("log", None)
    config: dict[str, Any] = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "t",
        **({} if "weighted_clusters" in fields else {"cluster": cluster}),
        **fields,
    }
    if log:
        config["access_log"] = [file_log(log)]
    return {"name": "tcp", "typed_config": config}


def file_log(path: Path) -> dict[str, Any]:
    line = "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DOWNSTREAM_LOCAL_CLOSE_REASON% %ACCESS_LOG_TYPE%\n"
    return {
        "name": "file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(path),
            "log_format": {"text_format_source": {"inline_string": line}},
        },
    }


def cluster(*ports: int, name: str = "backend", **fields: Any) -> dict[str, Any]:
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}} for port in ports
    ]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        **fields,
    }


class L4Server(ServerContext):
    """Has the parts of a server that L4 needs."""

    def __init__(self, runtime: Any = None, drain_time: float = 0.3, simulated: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self.dispatcher = SimulatedDispatcher(loop) if simulated else Dispatcher(loop)
        self.random = RandomGenerator(1)
        self.stats = Store()
        self.runtime = Loader(runtime)
        self.cluster_manager = ClusterManager(ClusterContext(self.dispatcher, self.random, self.stats))
        self.access_logs = AccessLogManager(self.dispatcher, self.stats.scope(""), 0.01)
        self.explanations = ExplanationLog()
        self.global_connections = ConnectionLimit(self.runtime)
        self.listener_manager = ListenerManager(
            self, DrainManager(self.dispatcher, self.random.stream("drain"), drain_time)
        )

    def add_listener(self, *filters: dict[str, Any], via_api: bool = False, **fields: Any) -> None:
        """With `filters` as its only chain, unless `fields` has chains."""
        config = {"name": "l", "address": ANYWHERE, **fields}
        if filters:
            config["filter_chains"] = [{"filters": list(filters)}]
        message = load_dict(config, LISTENER).message
        self.listener_manager.add_or_update_listener(message, "listeners[0]", added_via_api=via_api)

    def port(self, name: str = "l", at: int = 0) -> int:
        listener = next(each for each in self.listener_manager.listeners() if each.name == name)
        return listener.local_addresses[at].port

    def value(self, name: str) -> int:
        return self.stats.value(name)

    async def advance(self, seconds: float) -> None:
        """Move simulated time on."""
        assert isinstance(self.dispatcher, SimulatedDispatcher)
        await self.dispatcher.advance_and_settle(seconds)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that other ends of sockets make happen."""
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@asynccontextmanager
async def l4_server(
    *filters: dict[str, Any],
    clusters: list[dict[str, Any]] | None = None,
    runtime: dict[str, Any] | None = None,
    simulated: bool = False,
    **listener: Any,
) -> AsyncIterator[L4Server]:
    """A server with one started listener, or none if nothing is said about it; `simulated` time moves by `advance`."""
    layers = {"layers": [{"name": "static", "static_layer": runtime or {}}]}
    server = L4Server(load_dict(layers, "envoy.config.bootstrap.v3.LayeredRuntime").message, simulated=simulated)
    try:
        server.cluster_manager.load([load_dict(config, CLUSTER).message for config in clusters or ()])
        server.cluster_manager.start(lambda: None)
        if filters or listener:
            server.add_listener(*filters, **listener)
        server.listener_manager.start()
        yield server
    finally:
        server.listener_manager.stop()
        await asyncio.sleep(0.02)
        server.cluster_manager.stop()
        server.access_logs.close()
        await server.dispatcher.stop()


class Peer:
    """A blocking socket in a thread's hands, so that it does exactly what it is told."""

    def __init__(self, raw: socket.socket) -> None:
        self.raw = raw
        raw.settimeout(10)

    @classmethod
    async def connect(cls, address: Any, family: int = socket.AF_INET) -> Peer:
        raw = socket.socket(family)
        raw.settimeout(10)
        try:
            await asyncio.to_thread(raw.connect, address)
        except OSError:
            raw.close()
            raise
        return cls(raw)

    async def send(self, data: bytes) -> None:
        await asyncio.to_thread(self.raw.sendall, data)

    async def receive(self, size: int) -> bytes:
        """Exactly `size` bytes, or what comes before the end."""

        def read() -> bytes:
            got = bytearray()
            while len(got) < size:
                data = self.raw.recv(size - len(got))
                if not data:
                    break
                got += data
            return bytes(got)

        return await asyncio.to_thread(read)

    async def end(self) -> tuple[bytes, str]:
        """What comes until the end, and how it ends: FIN or RST."""

        def read() -> tuple[bytes, str]:
            got = bytearray()
            try:
                while data := self.raw.recv(1 << 20):
                    got += data
            except ConnectionResetError:
                return bytes(got), "RST"
            return bytes(got), "FIN"

        return await asyncio.to_thread(read)

    def fin(self) -> None:
        self.raw.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.raw.close()

    def close(self) -> None:
        self.raw.close()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.raw.close()


class Backend:
    """A listening socket whose connections the test handles itself."""

    def __init__(self, backlog: int = 16) -> None:
        self.raw = socket.socket()
        self.raw.bind(("127.0.0.1", 0))
        self.raw.listen(backlog)
        self.raw.settimeout(10)
        self.port: int = self.raw.getsockname()[1]

    async def accept(self) -> Peer:
        raw, _ = await asyncio.to_thread(self.raw.accept)
        return Peer(raw)

    def __enter__(self) -> Backend:
        return self

    def __exit__(self, *exc: object) -> None:
        self.raw.close()


def refused_port() -> int:
    """A port on which nobody listens, for a moment at least."""
    with socket.socket() as raw:
        raw.bind(("127.0.0.1", 0))
        port: int = raw.getsockname()[1]
        return port
