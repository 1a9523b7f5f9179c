"""Who can say what of the configuration, for `/config_dump`.

Envoy: `Server::ConfigTracker` (`envoy/server/config_tracker.h`). A subscription adds itself under Envoy's key and gives
an `envoy.admin.v3.*ConfigDump` when asked; what the bootstrap alone decides is here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ...config.schema import message_class
from ...discovery.subscription_factory import SDS_TYPE as SECRET
from ...stats.params import NameFilter
from ..listener_manager import connection_managers
from ..local_info import add_extensions
from .proto_json import pack, timestamp

if TYPE_CHECKING:
    from ..lds_api import LdsApi, ListenerFailure
    from .admin_server import AdminListenerManager, AdminServer

NameMatcher = NameFilter
ConfigDumper = Callable[[NameMatcher], Any]
"""Gives the dump message with the resources whose names the matcher takes."""


class ConfigTracker:
    def __init__(self, server: AdminServer) -> None:
        self._server = server
        self._dumpers: dict[str, ConfigDumper] = {
            "bootstrap": self._bootstrap,
            "clusters": self._clusters,
            "listeners": self._listeners,
            "route_scopes": self._route_scopes,
            "routes": self._routes,
            "secrets": self._secrets,
        }

    def add(self, key: str, dumper: ConfigDumper) -> None:
        """Let `dumper` say what is configured under `key`, e.g. `listeners`, instead of who did so far."""
        self._dumpers[key] = dumper

    def dumpers(self, *, include_eds: bool = False) -> Mapping[str, ConfigDumper]:
        """By key, in the order in which Envoy prints them; endpoints only if they are asked for."""
        dumpers = {**self._dumpers, "endpoints": self._endpoints} if include_eds else self._dumpers
        return {key: dumpers[key] for key in sorted(dumpers)}

    def _endpoints(self, matcher: NameMatcher) -> Any:
        """The hosts of every cluster, for `include_eds` (`ConfigDumpHandler::dumpEndpointConfigs`)."""
        dump = _new("EndpointsConfigDump")
        for name, cluster in self._server.cluster_manager.clusters().items():
            if not matcher(name):
                continue
            eds = cluster.config.type == 3 and not cluster.config.HasField("cluster_type")
            configs = dump.dynamic_endpoint_configs if eds else dump.static_endpoint_configs
            pack(_load_assignment(cluster), configs.add().endpoint_config)
        return dump

    def _bootstrap(self, matcher: NameMatcher) -> Any:
        server = self._server
        dump = _new("BootstrapConfigDump")
        # The node as it was configured: what the command line says instead is in /server_info.
        add_extensions(server.bootstrap.node)
        dump.bootstrap.CopyFrom(server.bootstrap)
        dispatcher = server.dispatcher
        timestamp(dispatcher.wall_time() - dispatcher.monotonic_time() + server.start_monotonic, dump.last_updated)
        return dump

    def _clusters(self, matcher: NameMatcher) -> Any:
        dump = _new("ClustersConfigDump")
        cds = self._server.cds
        if cds is not None:
            dump.version_info = cds.version
        for config, updated in self._server.static_clusters:
            if matcher(config.name):
                _add(dump.static_clusters, "cluster", config, updated)
        manager = self._server.cluster_manager
        for clusters, configs in (
            (manager.clusters(), dump.dynamic_active_clusters),
            (manager.warming_clusters(), dump.dynamic_warming_clusters),
        ):
            for name, cluster in clusters.items():
                if cluster.added_via_api and matcher(name):
                    entry = configs.add()
                    pack(cluster.config, entry.cluster)
                    if cds is not None:
                        entry.version_info = cds.versions.get(name, "")
                        timestamp(cds.updated.get(name, 0.0), entry.last_updated)
        return dump

    def _listeners(self, matcher: NameMatcher) -> Any:
        dump = _new("ListenersConfigDump")
        for config, updated in self._server.static_listeners:
            if matcher(config.name):
                _add(dump.static_listeners, "listener", config, updated)
        if self._server.lds is not None:
            _add_dynamic_listeners(dump, self._server.lds, self._server.listener_manager, matcher)
        return dump

    def _routes(self, matcher: NameMatcher) -> Any:
        dump = _new("RoutesConfigDump")
        listeners = self._server.listener_manager
        for listener in (*listeners.listeners(), *listeners.warming_listeners()):
            if not listeners.added_via_api(listener.name):
                continue
            for manager in connection_managers(listener.config):
                if manager.HasField("route_config") and matcher(manager.route_config.name):
                    _add(dump.static_route_configs, "route_config", manager.route_config, listener.last_updated)
        for config, updated in self._server.route_configs.values():
            if matcher(config.name):
                _add(dump.static_route_configs, "route_config", config, updated)
        providers = self._server.route_providers
        for provider in () if providers is None else providers.providers():
            if provider.updated and matcher(provider.name):
                _add(dump.dynamic_route_configs, "route_config", provider.proto, provider.updated)
                dump.dynamic_route_configs[-1].version_info = provider.version
        return dump

    def _route_scopes(self, matcher: NameMatcher) -> Any:
        """Scopes are what is named; who chooses among them is told in any case."""
        dump = _new("ScopedRoutesConfigDump")
        for config, updated in self._server.scoped_routes:
            entry = dump.inline_scoped_route_configs.add()
            entry.name = config.name
            for scope in config.scoped_route_configurations_list.scoped_route_configurations:
                if matcher(scope.name):
                    pack(scope, entry.scoped_route_configs.add())
            timestamp(updated, entry.last_updated)
        return dump

    def _secrets(self, matcher: NameMatcher) -> Any:
        dump = _new("SecretsConfigDump")
        for secret in self._server.bootstrap.static_resources.secrets:
            if matcher(secret.name):
                entry = dump.static_secrets.add()
                entry.name = secret.name
                pack(secret, entry.secret)
        manager = self._server.secrets
        for provider in () if manager is None else manager.dynamic():
            if not matcher(provider.name):
                continue
            there = provider.secret is not None
            entry = (dump.dynamic_active_secrets if there else dump.dynamic_warming_secrets).add()
            entry.name = provider.name
            entry.version_info = provider.version if there else "uninitialized"
            timestamp(provider.last_updated, entry.last_updated)
            secret = provider.secret if there else message_class(SECRET)(name=provider.name)
            pack(secret, entry.secret)
        return dump


def _new(name: str) -> Any:

    return message_class(f"envoy.admin.v3.{name}")()


def _add(configs: Any, field: str, config: Any, updated: float) -> None:
    entry = configs.add()
    pack(config, getattr(entry, field))
    timestamp(updated, entry.last_updated)


def _add_dynamic_listeners(dump: Any, lds: LdsApi, manager: AdminListenerManager, matcher: NameMatcher) -> None:
    dump.version_info = lds.version
    entries: dict[str, Any] = {}

    def entry_of(name: str) -> Any:
        if name not in entries:
            entries[name] = dump.dynamic_listeners.add(name=name)
        return entries[name]

    for listeners, field in (
        (manager.listeners(), "active_state"),
        (manager.warming_listeners(), "warming_state"),
        (manager.draining_listeners(), "draining_state"),
    ):
        for listener in sorted(listeners, key=lambda each: each.name):
            if not manager.added_via_api(listener.name) or not matcher(listener.name):
                continue
            state = getattr(entry_of(listener.name), field)
            state.version_info = listener.version_info
            pack(listener.config, state.listener)
            timestamp(listener.last_updated, state.last_updated)
    for failure in lds.failures:
        if failure.tried and matcher(failure.config.name):
            entry = entry_of(failure.config.name)
            _add_failure(entry.error_state, failure)
            timestamp(failure.attempted, entry.error_state.last_update_attempt)
    # Once more: listeners and LDS both keep what went wrong.
    for failure in lds.failures:
        if matcher(failure.config.name):
            _add_failure(dump.dynamic_listeners.add().error_state, failure)


def _add_failure(state: Any, failure: ListenerFailure) -> None:
    pack(failure.config, state.failed_configuration)
    state.details = failure.details


def _load_assignment(cluster: Any) -> Any:
    """`ClusterLoadAssignment` of the hosts as they are now, one group for each priority and locality."""

    assignment = message_class("envoy.config.endpoint.v3.ClusterLoadAssignment")()
    assignment.cluster_name = cluster.name
    for host_set in cluster.priority_set.host_sets:
        weights = host_set.locality_weights or {}
        groups: dict[Any, Any] = {}
        for host in host_set.hosts:
            group = groups.get(host.locality)
            if group is None:
                group = groups[host.locality] = assignment.endpoints.add()
                group.locality.SetInParent()
                group.locality.region, group.locality.zone, group.locality.sub_zone = host.locality
                group.priority = host_set.priority
                group.load_balancing_weight.value = weights.get(host.locality, 0)
            added = group.lb_endpoints.add()
            endpoint = added.endpoint
            if host.address.is_internal:
                endpoint.address.envoy_internal_address.server_listener_name = host.address.internal_listener
                endpoint.address.envoy_internal_address.endpoint_id = host.address.endpoint_id
            elif host.address.path:
                endpoint.address.pipe.path = host.address.path
            else:
                endpoint.address.socket_address.address = host.address.host
                endpoint.address.socket_address.port_value = host.address.port
            endpoint.health_check_config.SetInParent()
            endpoint.health_check_config.hostname = host.health_check_hostname
            if host.health_check_address != host.address:
                endpoint.health_check_config.port_value = host.health_check_address.port
            endpoint.hostname = host.hostname
            # HEALTHY, DEGRADED, UNHEALTHY of envoy.config.core.v3.HealthStatus
            added.health_status = 1 if host.healthy else 5 if host.degraded else 2
            added.load_balancing_weight.value = host.weight
            if host.metadata or cluster.resolves_names:
                # Envoy has one for each host of a name, even without anything in it.
                added.metadata.SetInParent()
            for namespace, values in host.metadata.items():
                added.metadata.filter_metadata[namespace].update(values)
        assignment.policy.overprovisioning_factor.value = int(host_set.overprovisioning_factor)
    return assignment
