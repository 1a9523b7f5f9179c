"""What the admin interface needs of a server.

Envoy: `Server::Instance`, as its `HandlerContextBase` uses it. Protocols, so that a test needs no server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ...discovery.cds_api import CdsApi
    from ...discovery.secret_manager import SecretManager
    from ...event.dispatcher import Dispatcher
    from ...explain.log import ExplanationLog
    from ...network.address import Address
    from ...router.rds import RouteConfigProviders
    from ...stats.flush import StatsFlusher
    from ...stats.settings import StatsSettings
    from ...stats.store import Store
    from ...upstream.cluster import Cluster
    from ...upstream.faults import Faults
    from ..lds_api import LdsApi
    from ..listener_manager import StopListenersType


class AdminOptions(Protocol):
    def command_line_options(self) -> dict[str, object]:
        """`envoy.admin.v3.CommandLineOptions` as plain values."""


class AdminRuntimeSnapshot(Protocol):
    def to_json(self) -> dict[str, Any]:
        """What `/runtime` shows, as plain values."""


class AdminRuntime(Protocol):
    """As much of `config.runtime.Loader` as the interface shows and changes."""

    @property
    def snapshot(self) -> AdminRuntimeSnapshot: ...
    def modify(self, values: Mapping[str, str]) -> None:
        """Put values into the admin layer; an empty one removes. ConfigError if there is no such layer."""


class AdminListener(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def local_addresses(self) -> Sequence[Address]:
        """Where it listens; the ports are real ones."""

    @property
    def config(self) -> Any: ...
    @property
    def version_info(self) -> str:
        """Of the resource that it was made from; empty if that is part of the bootstrap."""

    @property
    def last_updated(self) -> float:
        """Seconds since the epoch."""


class AdminListenerManager(Protocol):
    def listeners(self) -> Sequence[AdminListener]:
        """Those in use, in the order of the configuration."""

    def warming_listeners(self) -> Sequence[AdminListener]: ...
    def draining_listeners(self) -> Sequence[AdminListener]: ...
    def added_via_api(self, name: str) -> bool:
        """The listener is not one of the bootstrap."""

    def drain_listeners(self, kind: StopListenersType, *, graceful: bool, skip_exit: bool) -> None:
        """Ask connections to end; accept no more at once, after the drain time (`graceful`) or never (`skip_exit`)."""


class AdminClusterManager(Protocol):
    @property
    def singletons(self) -> Mapping[str, Any]:
        """What clusters share, by name."""

    def clusters(self) -> Mapping[str, Cluster]: ...
    def warming_clusters(self) -> Mapping[str, Cluster]: ...


class AdminAccessLogs(Protocol):
    def reopen(self) -> None:
        """Open every access log file again by its name."""


class AdminServer(Protocol):
    """The server itself."""

    @property
    def options(self) -> AdminOptions: ...
    @property
    def bootstrap(self) -> Any:
        """`envoy.config.bootstrap.v3.Bootstrap`, as it is used."""

    @property
    def node(self) -> Any:
        """`envoy.config.core.v3.Node`."""

    @property
    def stats(self) -> Store: ...
    @property
    def stats_flusher(self) -> StatsFlusher: ...
    @property
    def tag_settings(self) -> StatsSettings: ...
    @property
    def runtime(self) -> AdminRuntime: ...
    @property
    def cluster_manager(self) -> AdminClusterManager: ...
    @property
    def listener_manager(self) -> AdminListenerManager: ...
    @property
    def access_logs(self) -> AdminAccessLogs: ...
    @property
    def dispatcher(self) -> Dispatcher: ...
    @property
    def secrets(self) -> SecretManager | None: ...
    @property
    def explanations(self) -> ExplanationLog | None: ...
    @property
    def faults(self) -> Faults:
        """Bad networks in front of hosts."""

    @property
    def state(self) -> str:
        """`LIVE`, `DRAINING`, `PRE_INITIALIZING` or `INITIALIZING`."""

    @property
    def health_check_failed(self) -> bool: ...
    @property
    def start_monotonic(self) -> float:
        """When the server was made, in the dispatcher's monotonic seconds."""

    @property
    def unsupported(self) -> Sequence[Any]:
        """What the configuration asks for and minienvoy does not do; each is printed as text or plain values."""

    @property
    def static_listeners(self) -> Sequence[tuple[Any, float]]:
        """`Listener` messages of the bootstrap, each with the wall time it was taken at."""

    @property
    def static_clusters(self) -> Sequence[tuple[Any, float]]:
        """`Cluster` messages of the bootstrap, each with the wall time it was taken at."""

    @property
    def route_configs(self) -> Mapping[str, tuple[Any, float]]:
        """`RouteConfiguration` messages inside listeners, by any key, each with the wall time it was taken at."""

    @property
    def cds(self) -> CdsApi | None:
        """Where clusters come from that the bootstrap does not name."""

    @property
    def lds(self) -> LdsApi | None:
        """Where listeners come from that the bootstrap does not name."""

    @property
    def route_providers(self) -> RouteConfigProviders | None:
        """Route tables that change."""

    @property
    def scoped_routes(self) -> Sequence[tuple[Any, float]]:
        """`ScopedRoutes` messages inside listeners, each with the wall time it was taken at."""

    def fail_health_check(self, fail: bool) -> None: ...
    def shutdown(self) -> None:
        """Begin to end; returns at once."""
