"""minienvoy inside your own process: the interface for tests and notebooks.

No Envoy counterpart; `envoy -c` is `cli.py`.

    async with minienvoy.Proxy.from_yaml("envoy.yaml", endpoints={"users": ["127.0.0.1:8081"]}) as proxy:
        response = await client.get(proxy.url("ingress") + "/users/7")
    assert proxy.stats["cluster.users.upstream_rq_200"] == 1
    assert proxy.explain.last()["route"].chose == "users"
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from .errors import ConfigError, MinienvoyError
from .explain.log import ExplanationLog

if TYPE_CHECKING:
    from .config.loader import LoadedConfig
    from .server.server import Server

Ports = Literal["as_configured", "ephemeral"]
Time = Literal["real", "simulated"]


class Stats(Mapping[str, int]):
    """Counters and gauges by Envoy's names, as they are now. What does not exist (yet) is 0 with `get(name, 0)`."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def __getitem__(self, name: str) -> int:
        return self._server.stats.value(name)

    def __iter__(self) -> Iterator[str]:
        store = self._server.stats
        for sample in (*store.counters(), *store.gauges()):
            yield sample.name

    def __len__(self) -> int:
        store = self._server.stats
        return len(store.counters()) + len(store.gauges())


class Proxy:
    """A minienvoy. Enter it to start listening; leave it to stop: nothing of it is left then.

    Attributes:
        explain: why each request (and connection) went where it went, oldest first; the last 1000.
        stats: counters and gauges by name.
    """

    def __init__(
        self,
        config: LoadedConfig,
        *,
        ports: Ports = "ephemeral",
        endpoints: Mapping[str, list[str]] | None = None,
        time: Time = "real",
        seed: int | None = None,
        explain: bool = True,
        unsupported: Literal["refuse", "warn"] = "refuse",
        http1_codec: Literal["native", "h11"] = "native",
    ) -> None:
        """See `from_yaml`, which most callers want."""
        self._config = config
        self._time = time
        self._seed = seed
        self._unsupported: Literal["refuse", "warn"] = unsupported
        self._http1_codec: Literal["native", "h11"] = http1_codec
        self._server: Server | None = None
        self.explain = ExplanationLog()
        self._explaining = explain
        self._replace_endpoints(endpoints or {})
        if ports == "ephemeral":
            self._make_ports_ephemeral()

    @classmethod
    def from_yaml(
        cls,
        config: str | Path,
        *,
        ports: Ports = "ephemeral",
        endpoints: Mapping[str, list[str]] | None = None,
        time: Time = "real",
        seed: int | None = None,
        explain: bool = True,
        unsupported: Literal["refuse", "warn"] = "refuse",
        http1_codec: Literal["native", "h11"] = "native",
    ) -> Self:
        """Read an Envoy bootstrap; nothing listens yet.

        Args:
            config: a path (its extension decides the format), or the YAML itself when it contains a newline.
            ports: "ephemeral" binds every listener to port 0 of its address, so that a production file runs
                in a test; ask `url` or `address` where it went.
            endpoints: cluster name -> list of `host:port` (an IP address, or a unix socket's path), in place of what
                the file says; such a cluster is STATIC.
            time: "simulated" stops every timer until `advance`.
            seed: makes every random choice repeatable.
            explain: record decisions; off, it costs nothing.
            unsupported: "warn" starts even though the file asks for something that is not honoured.
            http1_codec: "h11" for the reference codec.

        Raises:
            ConfigError: the file is not valid, or asks for what minienvoy does not do.
        """
        from .config.loader import BOOTSTRAP, check, load_bootstrap, load_message

        if isinstance(config, str) and "\n" in config:
            loaded = load_message(config, BOOTSTRAP, name="<yaml>")
            check(loaded)
        else:
            loaded = load_bootstrap(config)
        return cls(
            loaded,
            ports=ports,
            endpoints=endpoints,
            time=time,
            seed=seed,
            explain=explain,
            unsupported=unsupported,
            http1_codec=http1_codec,
        )

    @classmethod
    def from_dict(cls, config: dict[str, Any], **options: Any) -> Self:
        """A bootstrap as plain values; otherwise as `from_yaml`."""
        from .config.loader import load_dict

        return cls(load_dict(config), **options)

    from_file = from_yaml

    # -- life

    async def start(self) -> Self:
        """Listen; returns when every cluster knows its hosts. `async with` does this.

        Raises:
            ConfigError: something can not be used, or an address is taken.
        """
        from .event.dispatcher import Dispatcher
        from .event.simulated import SimulatedDispatcher
        from .extensions import register_catalogue
        from .server.options import Options
        from .server.server import Server

        if self._server is not None:
            raise MinienvoyError("this proxy has been started already")
        register_catalogue()
        loop = asyncio.get_running_loop()
        dispatcher = SimulatedDispatcher(loop) if self._time == "simulated" else Dispatcher(loop)
        options = Options(
            seed=self._seed, unsupported=self._unsupported, http1_codec=self._http1_codec, explain=self._explaining
        )
        server = Server(options, self._config, dispatcher, explanations=self.explain if self._explaining else None)
        self._server = server
        ready = asyncio.Event()
        try:
            server.start(ready.set)
            await ready.wait()
        except BaseException:
            await self.stop()
            raise
        return self

    async def stop(self) -> None:
        """End every listener, connection, timer and task. `async with` does this; a second call does nothing."""
        server = self._server
        if server is not None and server.state != "STOPPED":
            await server.stop()
            server.state = "STOPPED"

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # -- what tests ask

    @property
    def server(self) -> Server:
        """The running server: everything below is reached from here.

        Raises:
            MinienvoyError: it was not started.
        """
        if self._server is None:
            raise MinienvoyError("this proxy was not started: use `async with`")
        return self._server

    @property
    def stats(self) -> Stats:
        return Stats(self.server)

    def address(self, listener: str | None = None) -> tuple[str, int]:
        """Where a listener listens: (IP address, port). Without a name, of the only one; `admin` is the admin's.

        Raises:
            KeyError: there is no such listener, or more than one to choose from.
        """
        server = self.server
        if listener == "admin" and server.admin_listener is not None:
            found = server.admin_listener
        else:
            listeners = server.listener_manager.listeners()
            matching = [each for each in listeners if listener is None or each.name == listener]
            if len(matching) != 1:
                names = ", ".join(each.name for each in listeners)
                raise KeyError(f"listener {listener!r}; there are: {names}")
            found = matching[0]
        address = found.local_addresses[0]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
        return host, address.port

    def url(self, listener: str | None = None) -> str:
        """`http://host:port` of a listener; as `address`."""
        host, port = self.address(listener)
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def advance(self, seconds: float) -> None:
        """Move simulated time on; timers fire on the way, and what that sets in motion on the sockets settles.

        Raises:
            MinienvoyError: time is real.
        """
        from .event.simulated import SimulatedDispatcher

        dispatcher = self.server.dispatcher
        if not isinstance(dispatcher, SimulatedDispatcher):
            raise MinienvoyError('time is real: only a proxy with time="simulated" can advance')
        await dispatcher.settle()
        end = dispatcher.monotonic_time() + seconds
        while True:
            step = dispatcher.next_deadline()
            left = end - dispatcher.monotonic_time()
            if step is None or step > left:
                dispatcher.advance(max(0.0, left))
                break
            dispatcher.advance(step)
            await dispatcher.settle()
        await dispatcher.settle()

    # -- inside

    def _replace_endpoints(self, endpoints: Mapping[str, list[str]]) -> None:
        clusters = {cluster.name: cluster for cluster in self._config.message.static_resources.clusters}
        for name, addresses in endpoints.items():
            cluster = clusters.get(name)
            if cluster is None:
                raise ConfigError(
                    f"endpoints are given for cluster '{name}', which the configuration does not have",
                    remedy=f"it has: {', '.join(clusters)}",
                )
            cluster.type = 0
            cluster.ClearField("cluster_type")
            cluster.ClearField("load_assignment")
            cluster.load_assignment.cluster_name = name
            locality = cluster.load_assignment.endpoints.add()
            for text in addresses:
                address = locality.lb_endpoints.add().endpoint.address
                if text[:1] in ("/", "@"):
                    address.pipe.path = text
                    continue
                host, _, port = text.rpartition(":")
                address.socket_address.address = host.strip("[]")
                address.socket_address.port_value = int(port)

    def _make_ports_ephemeral(self) -> None:
        message = self._config.message
        addresses = [listener.address for listener in message.static_resources.listeners]
        for listener in message.static_resources.listeners:
            addresses.extend(additional.address for additional in listener.additional_addresses)
        if message.HasField("admin"):
            addresses.append(message.admin.address)
        for address in addresses:
            if address.HasField("socket_address"):
                address.socket_address.port_value = 0
