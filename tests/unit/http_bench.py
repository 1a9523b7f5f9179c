"""The whole HTTP data path, from downstream bytes to upstream bytes, without a loop, a socket or a clock.

A `Bench` compiles a connection manager and clusters as a server does; its connections are real ones over transports
that only remember. Clients and upstream hosts are moved by the test, and so is time.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

from minienvoy.config.api import message_class
from minienvoy.config.loader import load_dict
from minienvoy.config.runtime import Loader
from minienvoy.event.random import RandomGenerator
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.explain.log import ExplanationLog
from minienvoy.extensions.filters.network.http_connection_manager import CONFIG_TYPE, compile_connection_manager
from minienvoy.http.conn_manager import ConnectionManager
from minienvoy.http.conn_manager_config import ConnectionManagerConfig
from minienvoy.http.filter import HttpFilterFactory
from minienvoy.http.filter_manager import FilterChain
from minienvoy.http.filtered_stream import FilteredStream
from minienvoy.http.shedding_connection import SheddingConnectionManager
from minienvoy.network.address import Address
from minienvoy.network.client_connection import ClientConnection
from minienvoy.network.connection import DEFAULT_BUFFER_LIMIT, Connection
from minienvoy.network.drain_decision import DrainState
from minienvoy.network.overload_state import OverloadState
from minienvoy.server.factory_context import FactoryContext, ServerContext
from minienvoy.stats.store import Store
from minienvoy.stream_info import ConnectionInfo, StreamInfo
from minienvoy.upstream.cluster import Cluster, ClusterContext
from minienvoy.upstream.cluster_manager import ClusterManager
from minienvoy.upstream.host import Host

GET = b"GET / HTTP/1.1\r\nhost: a.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Turns:
    """An event loop whose turns a test makes."""

    def __init__(self) -> None:
        self.posted: list[Callable[[], None]] = []

    def time(self) -> float:
        return 0.0

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.posted.append(callback)

    def settle(self) -> None:
        while self.posted:
            self.posted.pop(0)()


class FakeSocket:
    family = socket.AF_INET

    def __init__(self, transport: FakeTransport) -> None:
        self.transport = transport

    def setsockopt(self, level: int, name: int, value: bytes) -> None:
        self.transport.will_reset = True


class FakeTransport:
    """Sends at once, unless the peer is `blocked`; then bytes stay in its buffer."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.connection: Connection | None = None
        self.sent: list[bytes] = []
        self.buffer = b""
        self.unread: list[bytes] = []
        self.high = 0
        self.above = False
        self.blocked = False
        self.reading = True
        self.closing = False
        self.gone = False
        self.will_reset = False

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        self.high = high

    def get_write_buffer_size(self) -> int:
        return len(self.buffer)

    def write(self, data: bytes) -> None:
        assert not self.gone
        if not self.blocked:
            self.sent.append(data)
            return
        self.buffer += data
        if len(self.buffer) > self.high and not self.above:
            self.above = True
            assert self.connection is not None
            self.connection.pause_writing()

    def unblock(self) -> None:
        self.blocked = False
        if self.buffer:
            self.sent.append(self.buffer)
            self.buffer = b""
        if self.above:
            self.above = False
            if self.connection is not None and not self.gone:
                self.connection.resume_writing()
        if self.closing:
            self._lose()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True
        while self.unread and self.reading and not self.gone:
            self.deliver(self.unread.pop(0))

    def deliver(self, data: bytes) -> None:
        if not self.reading:
            self.unread.append(data)
        elif not self.gone and not self.closing:
            assert self.connection is not None
            self.connection.data_received(data)

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True
        if not self.buffer:
            self._lose()

    def abort(self) -> None:
        self.closing = True
        self.buffer = b""
        self._lose()

    def _lose(self) -> None:
        if not self.gone:
            self.gone = True
            connection = self.connection
            assert connection is not None
            self.turns.call_soon(lambda: connection.connection_lost(None))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return FakeSocket(self) if name == "socket" else default


class Peer:
    """The other end of a connection."""

    transport: FakeTransport

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def send(self, *pieces: bytes) -> Any:
        """Each piece arrives by itself. Returns the peer."""
        for data in pieces:
            self.transport.deliver(data)
            self.bench.turns.settle()
        return self

    def received(self) -> bytes:
        """What has come since the last time."""
        sent, self.transport.sent = self.transport.sent, []
        return b"".join(sent)

    def writes(self) -> list[bytes]:
        sent, self.transport.sent = self.transport.sent, []
        return sent

    def block(self) -> None:
        """Take no more bytes."""
        self.transport.blocked = True

    def unblock(self) -> None:
        self.transport.unblock()
        self.bench.turns.settle()

    @property
    def reading(self) -> bool:
        """Whether the proxy still takes what this end sends."""
        connection = self.transport.connection
        assert connection is not None
        return not connection._read_disable_count

    @property
    def gone(self) -> bool:
        """The proxy has closed the connection."""
        return self.transport.gone

    def close(self) -> None:
        """FIN."""
        if not self.transport.gone:
            assert self.transport.connection is not None
            if not self.transport.connection.eof_received():
                self.transport.abort()
            self.bench.turns.settle()

    def reset(self) -> None:
        if not self.transport.gone:
            self.transport.gone = self.transport.closing = True
            assert self.transport.connection is not None
            self.transport.connection.connection_lost(ConnectionResetError())
            self.bench.turns.settle()


class Client(Peer):
    """A downstream connection; made by `Bench.client()`."""

    def __init__(self, bench: Bench, remote: str, buffer_limit: int) -> None:
        super().__init__(bench)
        info = ConnectionInfo(Address("127.0.0.1", 10000), Address(remote, 40000), len(bench.clients) + 1)
        self.connection = Connection(bench.dispatcher, info, buffer_limit)
        kind = ConnectionManager if bench.config.overload is None else SheddingConnectionManager
        self.manager = kind(bench.config)
        self.connection.add_read_filter(self.manager)
        self.transport = FakeTransport(bench.turns)
        self.transport.connection = self.connection
        self.connection.connection_made(cast(asyncio.Transport, self.transport))

    def get(self, path: str = "/", *headers: str) -> Client:
        lines = [f"GET {path} HTTP/1.1", "host: a.com", *headers, "", ""]
        self.send("\r\n".join(lines).encode())
        return self


class FakeClientConnection(ClientConnection):
    """Does not connect: the test says what becomes of it."""

    bench: Bench

    def connect(self, timeout: float = 0.0) -> None:
        self.connect_start_time = self.dispatcher.monotonic_time()
        if timeout:
            self._connect_timer = self.dispatcher.create_timer(self._on_connect_timeout)
            self._connect_timer.enable(timeout)
        upstream = Upstream(self.bench, self)
        self.bench.upstreams.append(upstream)
        if self.bench.accepts:
            self.bench.turns.call_soon(upstream.accept)


class Upstream(Peer):
    """An upstream connection, connecting at first; they are in `Bench.upstreams` in the order they were asked for."""

    def __init__(self, bench: Bench, connection: FakeClientConnection) -> None:
        super().__init__(bench)
        self.connection = connection
        self.transport = FakeTransport(bench.turns)
        self.transport.connection = connection
        self.address = connection._address

    def accept(self) -> None:
        if not self.connection.closed:
            self.connection._stop_connect_timer()
            self.connection.info.local_address = Address("127.0.0.1", 50000 + len(self.bench.upstreams))
            self.connection.connection_made(cast(asyncio.Transport, self.transport))
            self.bench.turns.settle()

    def refuse(self) -> None:
        self.connection._fail("delayed connect error: Connection refused")
        self.bench.turns.settle()

    @property
    def closed(self) -> bool:
        return self.connection.closed


class Log:
    """An access log that keeps what it was given."""

    def __init__(self) -> None:
        self.streams: list[Any] = []

    def log(self, request: Any, response: Any, trailers: Any, stream_info: StreamInfo, access_log_type: str) -> None:
        self.streams.append(stream_info)


class Bench:
    """See `conftest.bench`.

    `http_filters` is a mapping of the names of filters (`fault`) to their settings; they stand before the router.
    `runtime` has the keys of an admin layer, which `runtime.modify` changes.

    Attributes:
        accepts: upstream connections are established at once; False leaves it to the test.
        log: the streams that have ended.
        draining: what the server answers when a response asks whether its connection should end.
    """

    def __init__(
        self,
        routes: list[Any] | None = None,
        *,
        hcm: dict[str, Any] | None = None,
        route_config: dict[str, Any] | None = None,
        cluster: dict[str, Any] | None = None,
        endpoints: tuple[str, ...] = ("10.0.0.1:80",),
        filters: list[HttpFilterFactory] | None = None,
        http_filters: dict[str, dict[str, Any]] | None = None,
        runtime: dict[str, Any] | None = None,
        accepts: bool = True,
        buffer_limit: int = DEFAULT_BUFFER_LIMIT,
        router: dict[str, Any] | None = None,
        overload: OverloadState | None = None,
    ) -> None:
        self.turns = Turns()
        self.dispatcher = SimulatedDispatcher(cast(asyncio.AbstractEventLoop, self.turns))
        self.store = Store()
        self.accepts = accepts
        self.buffer_limit = buffer_limit
        self.clients: list[Client] = []
        self.upstreams: list[Upstream] = []
        self.log = Log()
        self.draining = False
        self.drain_delay: float | None = None
        self.drain_state = DrainState()
        random = RandomGenerator(7)
        self.runtime = _runtime(runtime or {})
        context = ClusterContext(self.dispatcher, random, self.store, self.runtime, overload=overload)
        self.cluster_manager = ClusterManager(context)
        self.cluster_manager.load([_cluster("a", endpoints, cluster or {}), _cluster("empty", (), {})])
        self.cluster_manager.start(lambda: None)
        self.explanations = ExplanationLog()
        self.server = server = SimpleNamespace(
            dispatcher=self.dispatcher,
            random=random,
            stats=self.store,
            runtime=self.runtime,
            cluster_manager=self.cluster_manager,
            explanations=self.explanations,
            node=message_class("envoy.config.core.v3.Node")(id="node"),
            drain_state=self.drain_state,
            local_address="192.0.2.2",
            service_cluster="service",
            http1_codec="native",
            overload=overload,
            byte_meters=False,
            times_routes=False,
            health_check_failed=False,
            _singletons=None,
            tracers=None,
            default_tracing=None,
            spans=deque(),
        )
        server.singleton = partial(ServerContext.singleton, server)
        listener_scope = self.store.scope("listener.127.0.0.1_10000")
        factory_context = FactoryContext(
            cast(Any, server),
            self.store.scope(""),
            listener_scope,
            lambda: self.draining,
            "listener",
            "INBOUND",
            10000,
            drain_delay=lambda drain_timeout: self.drain_delay,
        )
        self.config: ConnectionManagerConfig = compile_connection_manager(
            load_dict(connection_manager(routes, hcm, route_config, router, http_filters), CONFIG_TYPE).message,
            factory_context,
        )
        self.config.access_logs = (self.log,)
        if filters:
            self.config.filter_chain = FilterChain([*filters, self.config.filter_chain.make_terminal])
            self.config.stream_class, self.config.filtered = FilteredStream, True

    # -- acting

    def client(self, remote: str = "127.0.0.1") -> Client:
        made = Client(self, remote, self.buffer_limit)
        self.clients.append(made)
        return made

    def advance(self, seconds: float) -> None:
        self.dispatcher.advance(seconds)
        self.turns.settle()

    def create_connection(self, cluster: Cluster, host: Host) -> FakeClientConnection:
        """In place of `upstream.host_connection.create_connection`."""
        return self._connection_to(cluster, host.address)

    def create_own_connection(
        self, cluster: Cluster, host: Host, address: Address, criteria: object, alpn: object
    ) -> FakeClientConnection:
        """In place of `upstream.host_connection.create_own_connection`."""
        return self._connection_to(cluster, address)

    def _connection_to(self, cluster: Cluster, address: Address) -> FakeClientConnection:
        made = FakeClientConnection(cluster.dispatcher, address, buffer_limit=cluster.per_connection_buffer_limit)
        made.bench = self
        return made

    # -- looking

    @property
    def upstream(self) -> Upstream:
        """The newest upstream connection."""
        return self.upstreams[-1]

    @property
    def cluster(self) -> Cluster:
        return self.cluster_manager.clusters()["a"]

    @property
    def stream(self) -> Any:
        """The stream that ended last."""
        return self.log.streams[-1]

    def stat(self, name: str) -> int:
        """A counter or gauge; `http.` is of the connection manager, `cluster.` of the cluster; 0 if there is none."""
        full = name.replace("http.", "http.test.", 1) if name.startswith("http.") else name
        full = full.replace("cluster.", "cluster.a.", 1) if full.startswith("cluster.") else full
        try:
            return self.store.value(full)
        except KeyError:
            return 0

    def stats(self, *names: str) -> list[int]:
        return [self.stat(name) for name in names]

    def finish(self) -> None:
        """Everybody leaves; nothing may be left behind."""
        for client in self.clients:
            client.unblock()
            client.close()
        self.cluster_manager.stop()
        for upstream in self.upstreams:
            if upstream.connection.transport is None and not upstream.closed:
                upstream.refuse()
            upstream.close()
        self.turns.settle()

    def leftovers(self) -> dict[str, object]:
        """What should be nothing once everybody has left."""
        found: dict[str, object] = {}
        stats = self.config.stats
        for struct, prefix in ((stats, "http"), *((each, "cluster") for each in self.traffic)):
            for name in struct.GAUGES:
                if getattr(struct, name):
                    found[f"{prefix}.{name}"] = getattr(struct, name)
        for resources in self.resources:
            for name in ("connections", "pending_requests", "requests", "retries"):
                if getattr(resources, name).current:
                    found[name] = getattr(resources, name).current
        for peer in (*self.clients, *self.upstreams):
            connection = peer.connection
            if connection._read_disable_count < 0:
                found[f"read_disable of {connection.info.remote_address}"] = connection._read_disable_count
            if not connection.closed:
                found["open"] = connection.info.remote_address
        for host in self.hosts:
            for name in ("cx_active", "rq_active"):
                if getattr(host.stats, name):
                    found[f"host {name}"] = getattr(host.stats, name)
        if self.config.connections:
            found["connections of the manager"] = self.config.connections
        deadline = self.dispatcher.next_deadline()
        if deadline is not None:
            found["a timer"] = deadline
        return found

    def remember(self) -> None:
        """What `leftovers` asks, while it can be found."""
        clusters = self.cluster_manager.clusters().values()
        self.traffic = [each.stats.traffic for each in clusters]
        self.resources = [manager for each in clusters for manager in each.resource_managers]
        self.hosts = [host for each in clusters for host in each.hosts()]


def connection_manager(
    routes: list[Any] | None = None,
    hcm: dict[str, Any] | None = None,
    route_config: dict[str, Any] | None = None,
    router: dict[str, Any] | None = None,
    http_filters: dict[str, dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """The configuration of one; `hcm` and `route_config` are merged over what is usual here."""
    if routes is None:
        routes = [{"match": {"prefix": "/"}, "route": {"cluster": "a"}}]
    return {
        "stat_prefix": "test",
        "route_config": {
            "validate_clusters": False,
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}],
            **(route_config or {}),
        },
        "http_filters": [
            *(
                {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": filter_type(name), **config}}
                for name, config in (http_filters or {}).items()
            ),
            {
                "name": "router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                    **(router or {}),
                },
            },
        ],
        **(hcm or {}),
    }


def filter_type(name: str) -> str:
    """The type URL of the HTTP filter of that name."""
    messages = {
        "adaptive_concurrency": "AdaptiveConcurrency",
        "admission_control": "AdmissionControl",
        "bandwidth_limit": "BandwidthLimit",
        "basic_auth": "BasicAuth",
        "buffer": "Buffer",
        "compressor": "Compressor",
        "cors": "Cors",
        "csrf": "CsrfPolicy",
        "decompressor": "Decompressor",
        "ext_authz": "ExtAuthz",
        "fault": "HTTPFault",
        "grpc_http1_reverse_bridge": "FilterConfig",
        "header_mutation": "HeaderMutation",
        "health_check": "HealthCheck",
        "local_ratelimit": "LocalRateLimit",
        "ratelimit": "RateLimit",
        "rbac": "RBAC",
        "set_metadata": "Config",
    }
    return f"type.googleapis.com/envoy.extensions.filters.http.{name}.v3.{messages[name]}"


def _runtime(keys: dict[str, Any]) -> Loader:
    layers = {"layers": [{"name": "admin", "admin_layer": {}}]}
    loader = Loader(load_dict(layers, "envoy.config.bootstrap.v3.LayeredRuntime").message)
    if keys:
        loader.modify({key: str(value) for key, value in keys.items()})
    return loader


def _cluster(name: str, endpoints: tuple[str, ...], fields: dict[str, Any]) -> Any:
    value: dict[str, Any] = {"name": name, **fields}
    if endpoints:
        addresses = [each.rpartition(":") for each in endpoints]
        value["load_assignment"] = {
            "cluster_name": name,
            "endpoints": [
                {
                    "lb_endpoints": [
                        {"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(port)}}}}
                        for host, _, port in addresses
                    ]
                }
            ],
        }
    return load_dict(value, "envoy.config.cluster.v3.Cluster").message
