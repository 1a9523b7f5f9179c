"""What a factory of filters may ask for.

Envoy: `Server::Configuration::ServerFactoryContext`, `FactoryContext`; docs "Life of a request > Configuration".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..network.drain_decision import never

if TYPE_CHECKING:
    from ..access_log.access_log import AccessLogManager
    from ..config.runtime import Loader
    from ..discovery.secret_manager import SecretManager
    from ..discovery.subscription_factory import SubscriptionFactory
    from ..event.dispatcher import Dispatcher
    from ..event.init_manager import InitManager, InitTarget
    from ..event.random import RandomGenerator
    from ..explain.log import ExplanationLog
    from ..network.drain_decision import DrainState
    from ..network.overload_state import OverloadState
    from ..router.rds import RouteConfigProviders
    from ..stats.store import Scope, Store
    from ..tracing.tracer_manager import TracerManager
    from ..upstream.cluster_manager import ClusterManager
    from .listener import ConnectionLimit


Made = TypeVar("Made")


class ServerContext:
    """The parts of a running server, by their Envoy names; made by `server.Server` (`ServerFactoryContext`).

    Attributes:
        explanations: where finished explanations go; None when explaining is off.
        node: `envoy.config.core.v3.Node` with the command line's service-node, -cluster and -zone filled in.
        drain_close: should a connection that has just answered be closed, because the server drains
            (`Network::DrainDecision`)?
        drain_state: tells whether `drain_close` need be asked at all.
    """

    dispatcher: Dispatcher
    random: RandomGenerator
    stats: Store
    runtime: Loader
    cluster_manager: ClusterManager
    access_logs: AccessLogManager
    explanations: ExplanationLog | None
    node: Any
    options: Any
    drain_close: Callable[[], bool]
    drain_state: DrainState
    local_address: str = "127.0.0.1"
    """Of this machine, without a port: what `x-forwarded-for` says of a client on the loopback interface."""
    service_cluster: str = ""
    http1_codec: str = "native"
    """`native`, or `h11` for the reference codec."""
    http2_codec: str = "native"
    """`native`, or `h2` for the reference codec."""
    byte_meters: bool = False
    """Some format asks what streams take on the wire: codecs are to count it."""
    times_routes: bool = False
    """Some format asks how long it takes to find a route."""
    overload: OverloadState | None = None
    """What the overload manager has decided; None if there is none."""
    global_connections: ConnectionLimit
    """All downstream connections."""
    secrets: SecretManager | None = None
    """What TLS contexts call by name."""
    default_tracing: Any = None
    """The tracing provider of connection managers that name none (`Bootstrap.tracing`), or None."""
    tracers: TracerManager | None = None
    """Those that the connection managers have asked for; None: no request is traced."""
    spans: deque[Any] | None = None
    """Where the spans of traced requests are kept, for whoever embeds this server; None: nowhere."""
    subscriptions: SubscriptionFactory
    """Where resources come from."""
    route_providers: RouteConfigProviders | None = None
    """Route tables that change; None if no connection manager has one."""
    init_manager: InitManager
    """What listeners of the bootstrap wait for, and what is begun as soon as there are clusters."""
    _singletons: dict[Any, Any] | None = None

    def begin(self, target: Callable[[], None]) -> None:
        """Call `target` as soon as clusters are there: at once, unless the server is still starting
        (`Init::Manager`)."""

        def begun(on_ready: Callable[[], None]) -> None:
            target()
            on_ready()

        self.init_manager.add(begun)

    def singleton(self, key: Any, make: Callable[[], Made]) -> Made:
        """What several extensions of one server share under `key`; made when it is first asked for
        (`Singleton::Manager`)."""
        if self._singletons is None:
            self._singletons = {}
        if key not in self._singletons:
            self._singletons[key] = make()
        made: Made = self._singletons[key]
        return made


class FactoryContext:
    """A `ServerContext` as one listener's filters see it (`FactoryContext`).

    Attributes:
        scope: statistics of the server, empty prefix: filters add their own (`http.<stat_prefix>.`, ...).
        listener_scope: `listener.<address>.`
        http_scope: `http.<stat_prefix>.` for HTTP filters; the same as `scope` for others.
        drain_close: as in `ServerContext`, and also true while only this listener drains.
        drain_delay: when a connection that takes so many seconds to end is asked to, once something drains.
        listener_port: as configured.
        filter_name: of the filter that is being made, as the configuration has it: routes call it by that.
        overload: as in `ServerContext`; None where the overload manager has no say (`bypass_overload_manager`).
        secure: connections of the filter chain that is being made are encrypted.
        server_names: what the filter chain that is being made is for.
        explanations: as in `ServerContext`; None for the admin interface, whose requests nobody asks about.
        traced: requests of the connection manager whose filters are being made are traced.
        traffic_direction: `UNSPECIFIED`, `INBOUND` or `OUTBOUND`.
        init_manager: what the listener waits for before it accepts; that of the server where there is no listener.
        on_destroy: called when the listener is gone.
    """

    __slots__ = (
        "drain_close",
        "drain_delay",
        "explained",
        "filter_name",
        "http_scope",
        "init_manager",
        "listener_name",
        "listener_port",
        "listener_scope",
        "on_destroy",
        "overload",
        "scope",
        "secure",
        "server",
        "server_names",
        "traced",
        "traffic_direction",
    )

    def __init__(
        self,
        server: ServerContext,
        scope: Scope,
        listener_scope: Scope,
        drain_close: Callable[[], bool],
        listener_name: str = "",
        traffic_direction: str = "UNSPECIFIED",
        listener_port: int = 0,
        *,
        explained: bool = True,
        bypass_overload: bool = False,
        drain_delay: Callable[[float], float | None] = never,
        init_manager: InitManager | None = None,
    ) -> None:
        self.server = server
        self.init_manager = init_manager
        self.on_destroy: list[Callable[[], None]] = []
        self.scope = scope
        self.listener_scope = listener_scope
        self.drain_close = drain_close
        self.drain_delay = drain_delay
        self.listener_name = listener_name
        self.traffic_direction = traffic_direction
        self.listener_port = listener_port
        self.explained = explained
        self.overload = None if bypass_overload else server.overload
        self.http_scope = scope
        self.filter_name = ""
        self.secure = False
        self.server_names: tuple[str, ...] = ()
        self.traced = False

    def wait_for(self, target: InitTarget) -> None:
        """Let the listener accept no connection before `target` is ready."""
        (self.init_manager or self.server.init_manager).add(target)

    @property
    def explanations(self) -> ExplanationLog | None:
        return self.server.explanations if self.explained else None

    def copy(self, init_manager: InitManager | None = None) -> FactoryContext:
        """The same, for what waits for `init_manager` and goes by itself."""
        return FactoryContext(
            self.server,
            self.scope,
            self.listener_scope,
            self.drain_close,
            self.listener_name,
            self.traffic_direction,
            self.listener_port,
            explained=self.explained,
            bypass_overload=self.overload is None,
            drain_delay=self.drain_delay,
            init_manager=init_manager or self.init_manager,
        )

    def for_filter_chain(self) -> FactoryContext:
        """The same, for a filter chain, which may go before its listener does; with statistics of its own."""
        mine = self.copy()
        mine.scope = self.scope.scope("")
        mine.listener_scope = self.listener_scope.scope("")
        mine.http_scope = mine.scope
        mine.on_destroy += (mine.scope.remove, mine.listener_scope.remove)
        return mine

    def for_http_filters(self, http_scope: Scope) -> FactoryContext:
        """The same, for the filters of a connection manager whose stats are in `http_scope`."""
        mine = self.copy()
        mine.on_destroy = self.on_destroy
        mine.http_scope = http_scope
        return mine

    def destroy(self) -> None:
        """Whatever was made with it is gone."""
        callbacks = tuple(self.on_destroy)
        self.on_destroy.clear()
        for callback in callbacks:
            callback()
