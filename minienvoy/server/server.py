"""One minienvoy: everything that a bootstrap asks for, wired together.

Envoy: `Server::InstanceBase`; docs "Initialization". The order is Envoy's: statistics, runtime, clusters, listeners,
admin; then clusters find their first hosts; then listeners accept.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import logger
from ..access_log.file import AccessLogManager
from ..config.extension import find_extension
from ..config.loader import LoadedConfig
from ..config.runtime import Loader
from ..discovery.subscription import FileContext
from ..errors import ConfigError
from ..event.file_watcher import FileWatcher
from ..event.init_manager import InitManager
from ..event.random import RandomGenerator
from ..http.conn_manager_stats import RouterStats
from ..network.dns import DnsResolverContext, DnsResolvers
from ..network.drain_decision import DrainState
from ..network.local_address import local_address
from ..stats.flush import StatsFlusher
from ..stats.store import Store
from ..upstream.cluster import ClusterContext
from ..upstream.cluster_manager import ClusterManager
from .bootstrap_fields import check_supported
from .drain_manager import DrainManager, DrainStrategy
from .factory_context import ServerContext
from .listener import ConnectionLimit
from .listener_manager import ListenerManager, connection_managers
from .local_info import locality_of, set_build_version
from .server_stats import (
    CompilationSettingsStats,
    OverloadActionStats,
    OverloadManagerStats,
    RuntimeStats,
    ServerStats,
    WatchdogStats,
)
from .stats_settings import compile_stats_settings
from .xds_manager import XdsManager

if TYPE_CHECKING:
    from ..discovery.cds_api import CdsApi
    from ..discovery.secret_manager import SecretManager
    from ..event.dispatcher import Dispatcher
    from ..explain.log import ExplanationLog
    from ..upstream.faults import Faults
    from ..upstream.outlier_event_logger import OutlierEventLogger
    from .admin.admin import Admin
    from .lds_api import LdsApi
    from .listener import Listener
    from .options import Options
    from .overload_manager import OverloadManager

_log = logger.get("main")
_config_log = logger.get("config")
_admin_log = logger.get("admin")


class Server(ServerContext):
    """Made from a configuration; `start` makes it listen, `stop` ends it.

    Attributes:
        state: `INITIALIZING`, `LIVE` or `DRAINING`, as `/server_info` and `/ready` tell it.
        unsupported: what the configuration asks for and is not honoured; empty unless it was allowed.
        on_shutdown: called by `/quitquitquit` and by signals.
    """

    make_access_logs = AccessLogManager

    def __init__(
        self,
        options: Options,
        loaded: LoadedConfig,
        dispatcher: Dispatcher,
        *,
        explanations: ExplanationLog | None = None,
        spans: deque[Any] | None = None,
        bind: bool = True,
    ) -> None:
        """Compile everything; addresses are bound unless `bind` is False.

        Raises:
            ConfigError: with the place in the file, for whatever can not be used.
        """
        self.options = options
        self.loaded = loaded
        self.bootstrap: Any = loaded.message
        self.dispatcher = dispatcher
        self.random = RandomGenerator(options.seed)
        self.explanations = explanations
        self.spans = spans
        self.http1_codec = options.http1_codec
        self.http2_codec = options.http2_codec
        self.start_monotonic = dispatcher.monotonic_time()
        self.state = "INITIALIZING"
        self.health_check_failed = False
        self.drain_state = DrainState()
        self.on_shutdown: Callable[[], None] = lambda: None
        self.admin_listener: Listener | None = None
        self.admin: Admin | None = None
        self._bind = bind
        self.cds: CdsApi | None = None
        self.lds: LdsApi | None = None
        self._faults: Faults | None = None
        self._overload_manager: OverloadManager | None = None
        self.unsupported = check_supported(self.bootstrap, loaded.source, warn=options.unsupported == "warn")
        self.node = self._make_node()
        self.service_cluster: str = self.node.cluster
        self.local_address = local_address(options.local_address_ip_version)
        self.stats = Store()
        self._stats = self.stats.scope("server").struct(ServerStats)
        self.stats.scope("server.compilation_settings").struct(CompilationSettingsStats)
        for thread in ("main_thread", "workers", "server.main_thread", "server.worker_0"):
            self.stats.scope(thread).struct(WatchdogStats)
        self.stats.scope("overload").struct(OverloadManagerStats)
        self.stats.scope("envoy.overload_actions.reset_high_memory_stream").struct(OverloadActionStats)
        self.stats.scope("http.async-client").struct(RouterStats)
        if self.bootstrap.HasField("stats_server_version_override"):
            self._stats.version = self.bootstrap.stats_server_version_override.value
        self._runtime_stats = self.stats.scope("runtime").struct(RuntimeStats)
        try:
            self._compile()
        except ConfigError as error:
            raise self._located(error) from None

    def _compile(self) -> None:
        bootstrap, options = self.bootstrap, self.options
        if bootstrap.HasField("application_log_config"):
            from .application_log import set_log_format

            set_log_format(bootstrap, options)
        self.tag_settings = compile_stats_settings(bootstrap, options.stats_tags)
        self.stats.configure(self.tag_settings.matcher, self.tag_settings.histogram_buckets)
        self.stats_flusher = StatsFlusher(
            self.stats,
            self.dispatcher,
            interval=self.tag_settings.flush_interval,
            on_admin=self.tag_settings.flush_on_admin,
            refresh=self.refresh_stats,
        )
        self.runtime = Loader(
            bootstrap.layered_runtime if bootstrap.HasField("layered_runtime") else None, self.service_cluster
        )
        if bootstrap.tracing.HasField("http"):
            from ..tracing.tracer_manager import TRACERS

            find_extension(TRACERS, bootstrap.tracing.http, "tracing.http")
            self.default_tracing = bootstrap.tracing.http
        self.file_watcher = FileWatcher(self.dispatcher)
        files = FileContext(
            self.file_watcher,
            self.dispatcher.wall_time,
            warn=options.unsupported == "warn",
            on_unknown_fields=self._count_unknown_fields,
        )
        self.init_manager = InitManager()
        secrets = self.secrets = self._secret_manager()
        _config_log.info(f"loading {len(bootstrap.static_resources.secrets)} static secret(s)")
        self.global_connections = ConnectionLimit(self.runtime)
        if bootstrap.HasField("overload_manager"):
            from .overload_manager import OverloadManager

            self._overload_manager = OverloadManager(bootstrap.overload_manager, self)
            self.overload = self._overload_manager.state
        self.access_logs = self.make_access_logs(
            self.dispatcher,
            self.stats.scope(""),
            flush_interval=options.file_flush_interval,
            flush_min_size=options.file_flush_min_size,
        )
        if bootstrap.bootstrap_extensions:
            from .bootstrap_extension import create_bootstrap_extensions

            create_bootstrap_extensions(bootstrap, self)
        self.dns_resolvers = DnsResolvers(DnsResolverContext(self.dispatcher, self.stats), bootstrap)
        self.cluster_manager = ClusterManager(
            ClusterContext(
                self.dispatcher,
                self.random,
                self.stats,
                self.runtime,
                self.dns_resolvers,
                local_locality=locality_of(self.node),
                bind_config=(
                    bootstrap.cluster_manager.upstream_bind_config
                    if bootstrap.cluster_manager.HasField("upstream_bind_config")
                    else None
                ),
                access_logs=self.access_logs,
                outlier_event_logger=self._outlier_event_logger(),
                journal=None if self.explanations is None else self.explanations.journal,
                secrets=self.secrets,
                overload=self.overload,
                http2_codec=self.http2_codec,
                sources=self,
            ),
            bootstrap.cluster_manager.local_cluster_name,
        )
        self._take_resources()
        _config_log.info(f"loading {len(self.static_clusters)} cluster(s)")
        self._xds = XdsManager(self, bootstrap.dynamic_resources, files)
        self.subscriptions = secrets.subscriptions = self._xds.subscriptions
        self.cluster_manager.load(bootstrap.static_resources.clusters)
        self.cds = self._xds.create_cds()
        self.drain_manager = DrainManager(
            self.dispatcher,
            self.random.stream("drain"),
            options.drain_time,
            DrainStrategy(options.drain_strategy),
            health_check_failed=lambda: self.health_check_failed,
            state=self.drain_state,
        )
        self.drain_close = self.drain_manager.drain_close
        self.listener_manager = ListenerManager(self, self.drain_manager, bind=self._bind)
        try:
            if bootstrap.HasField("admin") and bootstrap.admin.HasField("address"):
                from .admin.admin_listener import create_admin_listener

                self.admin_listener = create_admin_listener(self)
                if self._bind:
                    self.admin_listener.bind()
                    _admin_log.info(f"admin address: {self.admin_listener.local_addresses[0]}")
            _config_log.info(f"loading {len(self.static_listeners)} listener(s)")
            self.listener_manager.load(bootstrap.static_resources.listeners)
            self.lds = self._xds.create_lds(self.listener_manager)
            if bootstrap.stats_sinks:
                from .stat_sinks import create_stat_sinks

                self.stats_flusher.sinks = create_stat_sinks(bootstrap, self)
        except BaseException:
            self.listener_manager.stop()
            if self.admin_listener is not None:
                self.admin_listener.remove()
            self.access_logs.close()
            raise

    @property
    def faults(self) -> Faults:
        """Bad networks in front of hosts; none at first."""
        if self._faults is None:
            from ..upstream.faults import Faults

            self._faults = Faults(self.cluster_manager, self.random)
        return self._faults

    # -- life

    def _secret_manager(self) -> SecretManager:
        from ..discovery.secret_manager import SecretManager

        return SecretManager(
            self.bootstrap.static_resources.secrets, self.file_watcher, self.stats.scope(""), self.dispatcher, self.node
        )

    def start(self, on_ready: Callable[[], None] | None = None) -> None:
        """Accept on the admin listener now, on the others once every cluster knows its hosts."""
        if self.admin_listener is not None:
            self.admin_listener.start()
            if self.options.admin_address_path:
                self._write_admin_address()
        self.stats_flusher.start()
        if self.tracers is not None:
            self.tracers.start()
        if self._overload_manager is not None:
            self._overload_manager.start()
        for path in self.runtime.watched:
            self.file_watcher.add_watch(path, self._reload_runtime)
        _log.info("starting main dispatch loop")
        self._xds.start(lambda: self._initialize(on_ready))

    def _initialize(self, on_ready: Callable[[], None] | None) -> None:
        _log.info("all clusters initialized. initializing init manager")
        self.initialize_targets(lambda: self._start_listeners(on_ready))

    def _start_listeners(self, on_ready: Callable[[], None] | None) -> None:
        self.listener_manager.start()
        self.state = "LIVE"
        self._stats.initialization_time_ms.record(int((self.dispatcher.monotonic_time() - self.start_monotonic) * 1000))
        _config_log.info("all dependencies initialized. starting workers")
        if on_ready is not None:
            on_ready()

    def initialize_targets(self, on_initialized: Callable[[], None] = lambda: None) -> None:
        """Ask for listeners and routes that stand elsewhere, now that there are clusters."""
        if self.lds is not None:
            self.init_manager.add(self.lds.start)
        self.init_manager.initialize(on_initialized)

    def take_bootstrap(self, loaded: LoadedConfig) -> None:
        """The clusters and listeners in use are those of `loaded` from now on (`bootstrap_update`)."""
        node = self.bootstrap.node
        self.loaded, self.bootstrap = loaded, loaded.message
        self.bootstrap.node.CopyFrom(node)
        self._take_resources()

    def _take_resources(self) -> None:
        """What `/config_dump` shows of the bootstrap, and since when."""
        now = self.dispatcher.wall_time()
        resources = self.bootstrap.static_resources
        self.static_clusters = [(each, now) for each in resources.clusters]
        self.static_listeners = [(each, now) for each in resources.listeners]
        self.scoped_routes: list[tuple[Any, float]] = []
        self.route_configs: dict[str, tuple[Any, float]] = self._find_route_configs(now)

    def _count_unknown_fields(self, count: int) -> None:
        self._stats.dynamic_unknown_fields += count

    def _reload_runtime(self) -> None:
        self.runtime.reload()

    def fail_health_check(self, fail: bool) -> None:
        """`/healthcheck/fail` and `/healthcheck/ok`: while it fails, connections are asked to end."""
        self.health_check_failed = fail
        self.drain_state.active = self.drain_state.active or fail
        self.state = "DRAINING" if fail else "LIVE"

    def shutdown(self) -> None:
        """Ask whoever runs this server to stop it."""
        _log.info("shutting down server instance")
        self.on_shutdown()

    async def stop(self) -> None:
        """End everything: nothing listens, nothing is connected, no timer and no task is left. Logs are complete."""
        try:
            self.init_manager.cancel()
            self._xds.stop()
            self.listener_manager.stop()
            if self.admin_listener is not None:
                self.admin_listener.remove()
            if self.tracers is not None:
                self.tracers.close()
            self.stats_flusher.stop()
            for cluster in self.cluster_manager.clusters().values():
                for host in cluster.hosts():
                    close_pools(host)
            self.cluster_manager.stop()
            if self._overload_manager is not None:
                self._overload_manager.stop()
            self.file_watcher.stop()
            self.dns_resolvers.close()
        finally:
            try:
                await self.dispatcher.stop()
            finally:
                # Connections that end have their say in the access log a turn later.
                self.access_logs.close()

    def refresh_stats(self) -> None:
        """Take down what is measured rather than counted, such as memory and the time since the start."""
        stats = self._stats
        stats.uptime = int(self.dispatcher.monotonic_time() - self.start_monotonic)
        stats.live = int(self.state == "LIVE")
        stats.state = ("LIVE", "DRAINING", "PRE_INITIALIZING", "INITIALIZING").index(self.state)
        stats.concurrency = self.options.concurrency
        if self.secrets is not None:
            stats.days_until_first_cert_expiring = self.secrets.days_until_first_expiration(self.dispatcher.wall_time())
        stats.total_connections = sum(each.connections for each in self.listener_manager.listeners())
        physical = resident_memory()
        stats.memory_physical_size = physical
        stats.memory_heap_size = physical
        stats.memory_allocated = physical
        runtime, loader = self._runtime_stats, self.runtime.stats
        for name in (*RuntimeStats.COUNTERS, *RuntimeStats.GAUGES):
            if hasattr(loader, name):
                setattr(runtime, name, getattr(loader, name))

    # -- inside

    def _located(self, error: ConfigError) -> ConfigError:
        if error.location or not error.path:
            return error
        return ConfigError(error.problem, error.path, self.loaded.source.locate(error.path), error.remedy)

    def _make_node(self) -> Any:
        """The bootstrap's node, which is completed, with what the command line says over it."""
        set_build_version(self.bootstrap.node)
        options = self.options
        if not (options.service_node or options.service_cluster or options.service_zone):
            return self.bootstrap.node
        node = type(self.bootstrap.node)()
        node.CopyFrom(self.bootstrap.node)
        if options.service_node:
            node.id = options.service_node
        if options.service_cluster:
            node.cluster = options.service_cluster
        if options.service_zone:
            node.locality.zone = options.service_zone
        return node

    def _outlier_event_logger(self) -> OutlierEventLogger | None:
        path = self.bootstrap.cluster_manager.outlier_detection.event_log_path
        if not path:
            return None
        from ..upstream.outlier_event_logger import OutlierEventLogger

        field = "cluster_manager.outlier_detection.event_log_path"
        return OutlierEventLogger(self.access_logs.create_access_log(path, field).write, self.dispatcher)

    def _find_route_configs(self, now: float) -> dict[str, tuple[Any, float]]:
        """Route configurations inside connection managers, and what chooses among several, for `/config_dump`."""
        found: dict[str, tuple[Any, float]] = {}
        for listener, _ in self.static_listeners:
            for manager in connection_managers(listener):
                if manager.HasField("route_config"):
                    found[f"{manager.route_config.name}/{len(found)}"] = (manager.route_config, now)
                elif manager.HasField("scoped_routes"):
                    self.scoped_routes.append((manager.scoped_routes, now))
        return found

    def _write_admin_address(self) -> None:
        assert self.admin_listener is not None
        path = self.options.admin_address_path
        try:
            with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
                file.write(str(self.admin_listener.local_addresses[0]))
        except OSError as error:
            raise ConfigError(
                f"cannot open admin address output file {path} for writing.", remedy=error.strerror or ""
            ) from None


def close_pools(host: Any) -> None:
    """Close every connection to a host."""
    for pool in tuple(host.http_pools.values()):
        pool.close()
    host.http_pools.clear()
    # A TCP connection ends with the downstream connection that it belongs to; in stock are those that belong to none.
    for pool in host.tcp_pools.values():
        pool.drain()
    host.tcp_pools.clear()


def resident_memory() -> int:
    """Bytes of this process that are in memory; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
