"""RDS: route tables that change while connections live.

Envoy: `Router::RdsRouteConfigSubscription`, `RdsRouteConfigProviderImpl`, `RouteConfigProviderManagerImpl`; docs "Route
discovery service (RDS)".

Connection managers that name the same table of the same source share a subscription. Each compiles the table for
itself, and only if all of them can does any of them use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from ..config.fields import honours
from ..config.schema import message_class
from ..discovery.filesystem import FilesystemSubscription
from ..discovery.subscription import FileContext, SubscriptionStats, file_of, require_node
from ..errors import ConfigError
from ..stats.store import CounterValue, GaugeValue

if TYPE_CHECKING:
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
    """A connection manager, as its subscription knows it: kept by the connection manager alone."""

    __slots__ = ("__weakref__", "make", "use")

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

    def __init__(self, name: str, file: tuple[str, str], context: FileContext, scope: Scope) -> None:
        self.name = name
        self.proto: Any = message_class(ROUTE_CONFIGURATION)(name=name)
        self.version = ""
        self.updated = 0.0
        self.users: WeakSet[RouteConfigUser] = WeakSet()
        self._begun = False
        self._now = context.now
        self._scope = scope.scope(f"rds.{name}")
        self._stats = self._scope.struct(RdsStats)
        self._subscription = FilesystemSubscription(
            file, ROUTE_CONFIGURATION, context, self._scope, self._on_config_update, self._stats
        )

    def add_user(self, user: RouteConfigUser, begin: Callable[[Callable[[], None]], None]) -> None:
        """The first one has the subscription started: `begin` is given what does that."""
        self.users.add(user)
        if not self._begun:
            self._begun = True
            begin(self._subscription.start)

    def stop(self) -> None:
        """Nobody uses it any more."""
        self._subscription.stop()
        self._scope.remove()

    def _on_config_update(self, resources: Sequence[Any], version: str) -> None:
        stats = self._stats
        if not resources:
            stats.update_empty += 1
            return
        if len(resources) > 1:
            raise ConfigError(f"Unexpected RDS resource length: {len(resources)}")
        (proto,) = resources
        if proto.name != self.name:
            raise ConfigError(f"Unexpected RDS configuration (expecting {self.name}): {proto.name}")
        if proto == self.proto and self.updated:
            return
        made = [(user, user.make(proto, "resources[0]")) for user in self.users]
        for user, route_config in made:
            user.use(route_config)
        self.proto, self.version, self.updated = proto, version, self._now()
        stats.config_reload += 1
        stats.config_reload_time_ms = int(self.updated * 1000)


class RouteConfigProviders:
    """Those of a server, by table and source."""

    def __init__(self, context: FileContext, node: Any) -> None:
        self._context = context
        self._node = node
        self._providers: dict[tuple[str, str, str], RouteConfigProvider] = {}

    def providers(self) -> Iterable[RouteConfigProvider]:
        return self._providers.values()

    def get(self, rds: Any, path: str, scope: Scope) -> RouteConfigProvider:
        """For an `Rds` message at `path`; `scope` is `http.PREFIX.`.

        Raises:
            ConfigError: there is no such file.
        """
        require_node(self._node, "rds", f"{path}.config_source")
        self._forget_unused()
        file = file_of(rds.config_source, f"{path}.config_source")
        key = (rds.route_config_name, *file)
        found = self._providers.get(key)
        if found is None:
            found = self._providers[key] = RouteConfigProvider(rds.route_config_name, file, self._context, scope)
        return found

    def _forget_unused(self) -> None:
        for key, provider in tuple(self._providers.items()):
            if not provider.users:
                provider.stop()
                del self._providers[key]
