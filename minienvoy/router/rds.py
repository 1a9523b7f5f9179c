"""RDS: route tables that change while connections live.

Envoy: `Router::RdsRouteConfigSubscription`, `RdsRouteConfigProviderImpl`, `RouteConfigProviderManagerImpl`; docs "Route
discovery service (RDS)".

Connection managers that name the same table of the same source share a subscription. Each compiles the table for
itself, and only if all of them can does any of them use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..config.fields import honours
from ..config.schema import message_class
from ..discovery.subscription import DecodedResource, SubscriptionStats, require_node
from ..errors import ConfigError
from ..stats.store import CounterValue, GaugeValue

if TYPE_CHECKING:
    from ..discovery.subscription_factory import SubscriptionFactory
    from ..stats.store import Scope
    from .config import RouteConfig

ROUTE_CONFIGURATION: Final = "envoy.config.route.v3.RouteConfiguration"

honours(
    "envoy.extensions.filters.network.http_connection_manager.v3.Rds",
    "config_source",
    "route_config_name",
)


class RdsStats(SubscriptionStats):
    """`http.PREFIX.rds.NAME.*`"""

    config_reload: CounterValue
    config_reload_time_ms: GaugeValue
    update_empty: CounterValue


class RouteConfigUser:
    """A connection manager, as its subscription knows it."""

    __slots__ = ("make", "use")

    def __init__(self, make: Callable[[Any, str], RouteConfig], use: Callable[[RouteConfig], None]) -> None:
        """`make` compiles a `RouteConfiguration` at a path and raises ConfigError; `use` takes what it has made."""
        self.make = make
        self.use = use


class RouteConfigProvider:
    """One table of one source.

    Attributes:
        proto: the `RouteConfiguration` in use; without routes while there is none.
        version: of the response that brought it; empty while there is none.
        updated: when it came, seconds since the epoch.
        users: who uses it.
    """

    def __init__(self, rds: Any, path: str, subscriptions: SubscriptionFactory, scope: Scope) -> None:
        self.name: str = rds.route_config_name
        self.proto: Any = message_class(ROUTE_CONFIGURATION)(name=self.name)
        self.version = ""
        self.updated = 0.0
        self.users: dict[RouteConfigUser, None] = {}
        self._begun = self._answered = False
        self._waiting: list[Callable[[], None]] = []
        self._now = subscriptions.files.now
        self._scope = scope.scope(f"rds.{self.name}")
        self._stats = self._scope.struct(RdsStats)
        self._subscription = subscriptions.subscribe(
            rds.config_source, f"{path}.config_source", ROUTE_CONFIGURATION, self, self._scope, self._stats
        )

    def initialize(self, on_ready: Callable[[], None]) -> None:
        """The first one has the subscription started; `on_ready` is called when there is an answer, be it that there
        is none."""
        if self._answered:
            on_ready()
            return
        self._waiting.append(on_ready)
        if not self._begun:
            self._begun = True
            self._subscription.start((self.name,))

    def stop(self) -> None:
        """Nobody uses it any more."""
        self._waiting.clear()
        self._subscription.stop()
        self._scope.remove()

    def on_config_update_failed(self) -> None:
        self._ready()

    def _ready(self) -> None:
        self._answered = True
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each()

    def on_delta_config_update(self, added: Sequence[DecodedResource], removed: Sequence[str], version: str) -> None:
        # A table that is gone goes on: what should become of its requests is for listeners to say.
        if added:
            self.on_config_update([each.message for each in added], added[0].version)

    def on_config_update(self, resources: Sequence[Any], version: str) -> None:
        stats = self._stats
        if not resources:
            stats.update_empty += 1
            self._ready()
            return
        if len(resources) > 1:
            raise ConfigError(f"Unexpected RDS resource length: {len(resources)}")
        (proto,) = resources
        if proto.name != self.name:
            raise ConfigError(f"Unexpected RDS configuration (expecting {self.name}): {proto.name}")
        if proto != self.proto or not self.updated:
            made = [(user, user.make(proto, "resources[0]")) for user in self.users]
            for user, route_config in made:
                user.use(route_config)
            self.proto, self.version, self.updated = proto, version, self._now()
            stats.config_reload += 1
            stats.config_reload_time_ms = int(self.updated * 1000)
        self._ready()


class RouteConfigProviders:
    """Those of a server, by table and source."""

    def __init__(self, subscriptions: SubscriptionFactory, node: Any) -> None:
        self._subscriptions = subscriptions
        self._node = node
        self._providers: dict[tuple[str, bytes], RouteConfigProvider] = {}

    def providers(self) -> Iterable[RouteConfigProvider]:
        return self._providers.values()

    def get(self, rds: Any, path: str, scope: Scope) -> RouteConfigProvider:
        """For an `Rds` message at `path`; `scope` is `http.PREFIX.`.

        Raises:
            ConfigError: there is no such source.
        """
        require_node(self._node, "rds", f"{path}.config_source")
        key = _key(rds)
        found = self._providers.get(key)
        if found is None:
            found = self._providers[key] = RouteConfigProvider(rds, path, self._subscriptions, scope)
        return found

    def release(self, provider: RouteConfigProvider, user: RouteConfigUser) -> None:
        """`user` is gone; so is what nobody else uses."""
        provider.users.pop(user, None)
        if not provider.users:
            for key, each in tuple(self._providers.items()):
                if each is provider:
                    del self._providers[key]
                    provider.stop()


def _key(rds: Any) -> tuple[str, bytes]:
    return rds.route_config_name, rds.config_source.SerializeToString(deterministic=True)
