"""minienvoy inside your own process: the interface for tests and notebooks.

No Envoy counterpart; `envoy -c` is `cli.py`.

    async with minienvoy.Proxy.from_yaml("envoy.yaml", endpoints={"users": ["127.0.0.1:8081"]}) as proxy:
        response = await client.get(proxy.url("ingress") + "/users/7")
    assert proxy.stats["cluster.users.upstream_rq_200"] == 1
    assert str(proxy.explain.last()["cluster"].chose) == "users"
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, TypeVar, Unpack, overload

from .errors import ConfigError, UsageError
from .explain.log import ExplanationLog
from .record import replace

if TYPE_CHECKING:
    from .config.loader import LoadedConfig
    from .event.loop_thread import LoopThread
    from .network.certificate_authority import CertificateAuthority
    from .server.listener import Listener
    from .server.server import Server
    from .threaded_proxy import ThreadedProxy
    from .tracing.span import Span
    from .upstream.faults import Faults

Endpoint = str | tuple[str, int]
"""`127.0.0.1:80`, `[::1]:80`, the path of a unix socket, or what `getsockname()` returns."""
_SPANS = 1000
_T = TypeVar("_T")


class ProxyOptions(TypedDict, total=False):
    """How a `Proxy` differs from an Envoy with the same file; see `Proxy`."""

    ports: Literal["as_configured", "ephemeral"]
    endpoints: Mapping[str, Sequence[Endpoint]]
    certificates: Literal["as_configured", "generated"] | CertificateAuthority
    time: Literal["real", "simulated"]
    seed: int | None
    explain: bool
    unsupported: Literal["refuse", "warn"]
    http1_codec: Literal["native", "h11"]
    http2_codec: Literal["native", "h2"]


_CHOICES = {
    "ports": ("ephemeral", "as_configured"),
    "time": ("real", "simulated"),
    "unsupported": ("refuse", "warn"),
    "http1_codec": ("native", "h11"),
    "http2_codec": ("native", "h2"),
}


class Stats(Mapping[str, int]):
    """Counters and gauges by Envoy's names, as they are now; after the proxy was stopped, as they were then.

    Envoy makes many of its statistics when they are first needed: `stats.get(name, 0)` reads one that may not be there.
    """

    def __init__(self, server: Server) -> None:
        self._server: Server | None = server
        self._kept: dict[str, int] = {}

    def __getitem__(self, name: str) -> int:
        value = self._find(name)
        if value is None:
            raise KeyError(f"{name} (not there, or not yet){self._near(name)}")
        return value

    @overload
    def get(self, name: str, /) -> int | None: ...
    @overload
    def get(self, name: str, /, default: int | _T) -> int | _T: ...
    def get(self, name: str, /, default: Any = None) -> Any:
        """The value, or `default` while there is no such counter or gauge."""
        value = self._find(name)
        return default if value is None else value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def keep(self) -> None:
        """The server goes away: remember every value."""
        self._kept, self._server = self._all(), None

    def _find(self, name: str) -> int | None:
        server = self._server
        if server is None:
            return self._kept.get(name)
        if name.startswith(("server.", "runtime.")):
            server.refresh_stats()
        try:
            return server.stats.value(name)
        except KeyError:
            return None

    def _all(self) -> dict[str, int]:
        server = self._server
        if server is None:
            return self._kept
        server.refresh_stats()
        store = server.stats
        hosts = (metric.sample for metric in store.host_metrics())
        return {sample.name: sample.value for sample in (*store.counters(), *store.gauges(), *hosts)}

    def _near(self, name: str) -> str:
        from difflib import get_close_matches

        near = get_close_matches(name, self._all(), n=3)
        return f"; there are {', '.join(near)}" if near else ""


class Proxy:
    """A minienvoy. Enter it to start listening; leave it to stop: nothing of it is left then but what it has counted
    and explained.

    Options, all by name:
        ports: "ephemeral" (default) binds every listener to port 0 of its address, so that a production file runs in a
            test; ask `url` or `address` where it went. "as_configured" leaves them.
        endpoints: cluster name -> its hosts in place of what the file says: each `host:port` (an IP address), the path
            of a unix socket or what `getsockname()` returns. Such a cluster is STATIC.
        certificates: "generated" replaces the certificates, keys and trusted certificates that come from files and
            secrets by some of a new authority, `Proxy.ca`, so that a production file runs where those files are not;
            or an authority, from `minienvoy.testing.ca()`, to do so with. "as_configured" (default) leaves them.
        time: "simulated" stops every timer until `advance`; default "real".
        seed: makes every random choice repeatable; None (default) takes another one each time.
        explain: record decisions (default); off, it costs nothing.
        unsupported: "warn" starts even though the file asks for something that is not honoured; default "refuse".
        http1_codec, http2_codec: "h11" or "h2" for the reference codec; default "native".

    Attributes:
        ca: the authority of the certificates that were generated; None if none were.
        explain: why each request (and connection) went where it went, oldest first; the last 1000.
        spans: of the requests that were traced and sampled, in the order in which they ended; the last 1000. They are
            here whether or not the collector takes them.
    """

    def __init__(self, config: LoadedConfig, **options: Unpack[ProxyOptions]) -> None:
        """See `from_yaml`, which most callers want.

        Raises:
            ConfigError: `endpoints` does not fit the configuration.
            UsageError: an option is none, or has a value that there is not.
        """
        _check_options(options)
        self._name = config.source.name
        self._options = options
        self.ca = _authority(options)
        self._config = replace(config, message=self._adapted(config.message))
        self._server: Server | None = None
        self._stats: Stats | None = None
        self.explain = ExplanationLog()
        self.spans: deque[Span] = deque(maxlen=_SPANS)

    @classmethod
    def from_yaml(cls, config: str | Path, **options: Unpack[ProxyOptions]) -> Self:
        """Read an Envoy bootstrap; nothing listens yet.

        `config` is a path (its extension decides the format), or the YAML itself when it contains a line break.

        Raises:
            ConfigError: the file is not valid. What minienvoy does not do is told by `start`.
        """
        return cls(_load(config), **options)

    @classmethod
    def from_file(cls, path: str | Path, **options: Unpack[ProxyOptions]) -> Self:
        """A bootstrap of any format that `-c` takes: .yaml, .json, .pb, .pb_text; otherwise as `from_yaml`."""
        return cls.from_yaml(Path(path), **options)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], **options: Unpack[ProxyOptions]) -> Self:
        """A bootstrap as plain values; otherwise as `from_yaml`."""
        return cls(_load(config), **options)

    # -- life

    def in_thread(self, thread: LoopThread | None = None) -> ThreadedProxy:
        """This proxy for a program that does not await: `with Proxy.from_yaml(...).in_thread() as proxy:`.

        It runs in `thread`, or in one of its own.
        """
        from .threaded_proxy import ThreadedProxy

        return ThreadedProxy(self, thread)

    async def start(self) -> Self:
        """Listen; returns when every cluster knows its hosts. `async with` does this.

        While it starts, simulated time moves as real time does: a name server that does not answer must be given up.

        Raises:
            ConfigError: the file asks for what minienvoy does not do, or something can not be used or is taken.
            UsageError: it was started before.
        """
        from .event.dispatcher import Dispatcher
        from .event.simulated import SimulatedDispatcher
        from .extensions import register_catalogue
        from .server.options import Options
        from .server.server import Server

        if self._stats is not None:
            raise UsageError("this proxy has been started already", "make another one: they are cheap")
        register_catalogue()
        loop = asyncio.get_running_loop()
        options = self._options
        dispatcher = SimulatedDispatcher(loop) if options.get("time") == "simulated" else Dispatcher(loop)
        explaining = options.get("explain", True)
        server = Server(
            Options(
                seed=options.get("seed"),
                unsupported=options.get("unsupported", "refuse"),
                http1_codec=options.get("http1_codec", "native"),
                http2_codec=options.get("http2_codec", "native"),
                explain=explaining,
            ),
            self._config,
            dispatcher,
            explanations=self.explain if explaining else None,
            spans=self.spans,
        )
        self._server = server
        self._stats = Stats(server)
        ready = asyncio.Event()
        try:
            server.start(ready.set)
            if isinstance(dispatcher, SimulatedDispatcher):
                await dispatcher.wait(ready)
            else:
                await ready.wait()
        except BaseException:
            await self.stop()
            raise
        return self

    async def apply(self, config: str | Path | Mapping[str, Any]) -> None:
        """Change clusters and listeners to those of another configuration, given as to `from_yaml` or `from_dict`.

        What is the same stays as it is. A listener that changes keeps its port and loses no connection: those that
        exist go on with the old one while it drains. Returns when every cluster knows its hosts.

        Raises:
            ConfigError: the configuration can not be used; everything is as it was.
            UsageError: it differs in more than clusters and listeners; it does not run.
        """
        from .event.simulated import SimulatedDispatcher
        from .server.bootstrap_update import check_update, update_clusters, update_listeners

        server = self.server
        loaded = _load(config)
        loaded = replace(loaded, message=self._adapted(loaded.message))
        await check_update(server, loaded)
        ready = asyncio.Event()
        update_clusters(server, loaded, ready.set)
        if isinstance(server.dispatcher, SimulatedDispatcher):
            await server.dispatcher.wait(ready)
        else:
            await ready.wait()
        update_listeners(server, loaded)

    async def stop(self) -> None:
        """End every listener, connection, timer and task. `async with` does this; a second call does nothing."""
        server, self._server = self._server, None
        if server is not None:
            if self._stats is not None:
                self._stats.keep()
            await server.stop()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # -- what tests ask

    @property
    def server(self) -> Server:
        """The running server: everything that minienvoy is made of can be reached from here.

        Raises:
            UsageError: it does not run.
        """
        if self._server is None:
            if self._stats is None:
                raise UsageError("this proxy was not started", "use `async with`, or `await proxy.start()`")
            raise UsageError(
                "this proxy was stopped", "ask while it runs; `stats`, `explain` and `spans` are there afterwards"
            )
        return self._server

    @property
    def stats(self) -> Stats:
        """Counters and gauges by name, also after the end.

        Raises:
            UsageError: it was not started.
        """
        if self._stats is None:
            raise UsageError("this proxy was not started", "use `async with`, or `await proxy.start()`")
        return self._stats

    @property
    def faults(self) -> Faults:
        """Makes the network to hosts a bad one, and well again: `proxy.faults.add("users", "latency", latency=200)`.

        Raises:
            UsageError: it does not run.
        """
        return self.server.faults

    def address(self, listener: str | None = None) -> tuple[str, int]:
        """Where a listener listens: (IP address, port). Without a name, of the only one; `admin` is the admin's.

        Raises:
            UsageError: it does not run, there is no such listener, there is more than one to choose from, or it
                listens on a unix socket.
        """
        found = self._find_listener(listener)
        address = found.local_addresses[0]
        if address.path:
            raise UsageError(f"listener '{found.name}' listens on the unix socket {address.path}", "connect to that")
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host), address.port

    def url(self, listener: str | None = None) -> str:
        """`http://host:port` of a listener, `https` if its first filter chain speaks TLS; as `address`."""
        host, port = self.address(listener)
        found = self._find_listener(listener)
        if found.datagram:
            raise UsageError(f"listener '{found.name}' takes datagrams", "ask `address`, and send them there")
        chains = found.filter_chain_manager.filter_chains
        scheme = "https" if chains and chains[0].transport_socket is not None else "http"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    async def advance(self, seconds: float) -> None:
        """Move simulated time on; timers fire on the way, each at its own instant, and what that sets in motion on
        the sockets of this process comes to rest before the next one fires.

        Raises:
            UsageError: time is real, or it does not run.
        """
        from .event.simulated import SimulatedDispatcher

        dispatcher = self.server.dispatcher
        if not isinstance(dispatcher, SimulatedDispatcher):
            raise UsageError("time is real: it passes by itself", 'make the proxy with time="simulated" to move it')
        if seconds < 0:
            raise UsageError(f"time does not go back ({seconds:g} s)", "give the seconds from now")
        await dispatcher.advance_and_settle(seconds)

    def __repr__(self) -> str:
        server = self._server
        if server is None:
            state = "not started" if self._stats is None else "stopped"
        else:
            state = ", ".join(f"{each.name}={each.local_addresses[0]}" for each in self._listeners(server)) or "running"
        return f"<Proxy {self._name or 'of plain values'}: {state}>"

    # -- inside

    def _adapted(self, config: Any) -> Any:
        """A copy of a bootstrap with the ports, the endpoints and the certificates that the options ask for."""
        message = type(config)()
        message.CopyFrom(config)
        _replace_endpoints(message, self._options.get("endpoints") or {})
        if self._options.get("ports", "ephemeral") == "ephemeral":
            _make_ports_ephemeral(message)
        if self.ca is not None:
            from .server.generated_certificates import generate_certificates

            generate_certificates(message, self.ca)
        return message

    @staticmethod
    def _listeners(server: Server) -> list[Listener]:
        admin = [] if server.admin_listener is None else [server.admin_listener]
        return [*server.listener_manager.listeners(), *admin]

    def _find_listener(self, name: str | None) -> Listener:
        server = self.server
        listeners = self._listeners(server)
        if name is None:
            matching = server.listener_manager.listeners()
            if len(matching) == 1:
                return matching[0]
            problem = "which listener?" if matching else "there is no listener"
        else:
            for each in listeners:
                if each.name == name:
                    return each
            problem = f"there is no listener '{name}'"
        names = ", ".join(each.name for each in listeners)
        raise UsageError(problem, f"there are: {names}" if names else "the configuration has none")


def _load(config: str | Path | Mapping[str, Any]) -> LoadedConfig:
    """A bootstrap from a path, from YAML with a line break in it, or from plain values."""
    from .config.loader import BOOTSTRAP, check, load_bootstrap, load_dict, load_message

    if isinstance(config, Mapping):
        return load_dict(dict(config))
    if isinstance(config, str) and "\n" in config:
        loaded = load_message(config, BOOTSTRAP, name="<yaml>")
        check(loaded)
        return loaded
    if isinstance(config, str) and (": " in config or config[:1] in ("", "{")) and not Path(config).exists():
        raise ConfigError(f"there is no file '{config}'", remedy="YAML of one line needs a line break at its end")
    return load_bootstrap(config)


def _authority(options: ProxyOptions) -> CertificateAuthority | None:
    given = options.get("certificates", "as_configured")
    if given == "as_configured":
        return None
    from .network.certificate_authority import CertificateAuthority

    if isinstance(given, CertificateAuthority):
        return given
    if given == "generated":
        return CertificateAuthority()
    raise UsageError(f"certificates={given!r}", 'give "generated", "as_configured" or what `testing.ca()` returns')


def _check_options(options: ProxyOptions) -> None:
    for name, value in options.items():
        if name not in ProxyOptions.__annotations__:
            raise UsageError(f"there is no option '{name}'", f"there are: {', '.join(ProxyOptions.__annotations__)}")
        choices = _CHOICES.get(name)
        if choices is not None and value not in choices:
            raise UsageError(f"{name}={value!r}", "give " + " or ".join(f'"{each}"' for each in choices))


def _replace_endpoints(bootstrap: Any, endpoints: Mapping[str, Sequence[Endpoint]]) -> None:
    clusters = {cluster.name: cluster for cluster in bootstrap.static_resources.clusters}
    for name, addresses in endpoints.items():
        cluster = clusters.get(name)
        if cluster is None:
            raise ConfigError(
                f"endpoints are given for cluster '{name}', which the configuration does not have",
                remedy=f"it has: {', '.join(clusters)}" if clusters else "it has none",
            )
        cluster.type = 0
        for field in ("cluster_type", "eds_cluster_config", "load_assignment"):
            cluster.ClearField(field)
        cluster.load_assignment.cluster_name = name
        locality = cluster.load_assignment.endpoints.add()
        for each in [addresses] if isinstance(addresses, str) else addresses:
            _fill_address(locality.lb_endpoints.add().endpoint.address, name, each)


def _fill_address(address: Any, cluster: str, endpoint: Endpoint) -> None:
    from ipaddress import ip_address

    if isinstance(endpoint, str) and endpoint[:1] in ("/", "@"):
        address.pipe.path = endpoint
        return
    if isinstance(endpoint, str):
        host, _, port = endpoint.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
    else:
        host, port = endpoint[0], str(endpoint[1])
    try:
        ip_address(host)
        number = int(port)
        if not 0 < number < 65536:
            raise ValueError
    except ValueError:
        raise ConfigError(
            f"endpoints of cluster '{cluster}': {endpoint!r} is no address",
            remedy="give an IP address and a port such as '127.0.0.1:8080', or the path of a unix socket; no name is "
            "resolved here",
        ) from None
    address.socket_address.address = host
    address.socket_address.port_value = number


def _make_ports_ephemeral(bootstrap: Any) -> None:
    addresses = [listener.address for listener in bootstrap.static_resources.listeners]
    for listener in bootstrap.static_resources.listeners:
        addresses.extend(additional.address for additional in listener.additional_addresses)
    if bootstrap.HasField("admin"):
        addresses.append(bootstrap.admin.address)
    for address in addresses:
        if address.HasField("socket_address"):
            address.socket_address.port_value = 0
