"""What the kinds of DNS clusters share: settings, the rhythm of resolving, and `DnsCluster`, which stands for both.

Envoy: `Upstream::DnsClusterImpl` (`source/extensions/clusters/dns/`), `envoy.extensions.clusters.dns.v3.DnsCluster`;
docs "Service discovery".

Every name is resolved on its own: at the start, then `dns_refresh_rate` after each answer (or after the smallest TTL of
it), or after a back-off where there was none. The cluster is ready after the first answer or failure of any name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...config.fields import honours
from ...errors import ConfigError
from ...network.address import Address
from ...network.dns import ActiveDnsQuery, DnsLookupFamily, DnsResolver, DnsResponse, ResolutionStatus
from ...record import record
from ...upstream.backoff_strategy import BackOffStrategy, FixedBackOffStrategy, JitteredExponentialBackOffStrategy
from ...upstream.cluster import CLUSTERS, Cluster, ClusterContext
from ...upstream.duration import duration_of
from ...upstream.host import Host
from ...upstream.load_assignment import EndpointSettings, LocalityEndpoints

honours(
    "envoy.extensions.clusters.dns.v3.DnsCluster",
    "all_addresses_in_single_endpoint",
    "dns_failure_refresh_rate",
    "dns_jitter",
    "dns_lookup_family",
    "dns_min_refresh_rate",
    "dns_refresh_rate",
    "respect_dns_ttl",
    "typed_dns_resolver_config",
)
_LEAST_TTL = "dns_min_refresh_rate"
DEFAULT_REFRESH_RATE = 5.0
"""Seconds."""


@record
class DnsSettings:
    """Times are seconds. `failure_refresh_rate` is (base, maximum), or None for the refresh rate; a TTL that is less
    than `least_ttl` counts as that."""

    refresh_rate: float
    failure_refresh_rate: tuple[float, float] | None
    jitter: float
    respect_ttl: bool
    family: DnsLookupFamily
    least_ttl: float = 0.0

    @classmethod
    def from_proto(cls, config: Any, path: str) -> DnsSettings:
        """From a `Cluster` or a `DnsCluster`, which have the same fields but for the least TTL."""
        failure = None
        if config.HasField("dns_failure_refresh_rate"):
            rate = config.dns_failure_refresh_rate
            base = duration_of(rate, "base_interval", 0.0)
            failure = (base, duration_of(rate, "max_interval", base * 10))
            if failure[1] < base:
                raise ConfigError(
                    "dns_failure_refresh_rate must have max_interval greater than or equal to the base_interval",
                    f"{path}.dns_failure_refresh_rate",
                )
        return cls(
            duration_of(config, "dns_refresh_rate", DEFAULT_REFRESH_RATE),
            failure,
            duration_of(config, "dns_jitter", 0.0),
            config.respect_dns_ttl,
            _lookup_family(config),
            duration_of(config, _LEAST_TTL, 0.0) if _LEAST_TTL in config.DESCRIPTOR.fields_by_name else 0.0,
        )


def _lookup_family(config: Any) -> DnsLookupFamily:
    """`DnsCluster` counts from an additional `UNSPECIFIED`, which means AUTO."""
    numbers = config.DESCRIPTOR.fields_by_name["dns_lookup_family"].enum_type.values_by_number
    name = numbers[config.dns_lookup_family].name
    return DnsLookupFamily.AUTO if name == "UNSPECIFIED" else DnsLookupFamily[name]


class ResolveTarget:
    """One name of a cluster (`StrictDnsClusterImpl::ResolveTarget`), and the hosts it gave."""

    __slots__ = ("_cluster", "_query", "_timer", "endpoint", "hosts", "locality")

    def __init__(self, cluster: DnsCluster, locality: LocalityEndpoints, endpoint: EndpointSettings) -> None:
        self._cluster = cluster
        self.locality = locality
        self.endpoint = endpoint
        self.hosts: tuple[Host, ...] = ()
        self._query: ActiveDnsQuery | None = None
        self._timer = cluster.dispatcher.create_timer(self.start)

    def start(self) -> None:
        cluster = self._cluster
        cluster.stats.config_update.update_attempt += 1
        query = cluster.resolver.resolve(self.endpoint.target, cluster.settings.family, self._on_resolved)
        if query is not None and not cluster.stopped:
            self._query = query

    def stop(self) -> None:
        self._timer.disable()
        if self._query is not None:
            self._query.cancel()
            self._query = None

    def host_at(self, addresses: tuple[Address, ...]) -> Host:
        endpoint = self.endpoint
        return endpoint.host_at(
            addresses,
            endpoint.hostname or endpoint.target,
            self.locality.priority,
            self.locality.locality,
            self._cluster.initial_health_flags,
        )

    def _on_resolved(self, status: ResolutionStatus, details: str, responses: list[DnsResponse]) -> None:
        self._query = None
        cluster = self._cluster
        settings = cluster.settings
        update = cluster.stats.config_update
        if status is ResolutionStatus.COMPLETED and (responses or cluster.empty_is_an_answer):
            update.update_success += 1
            addresses = tuple(dict.fromkeys(Address(each.host, self.endpoint.port) for each in responses))
            hosts = cluster.hosts_for(self, addresses)
            if hosts is None:
                update.update_no_rebuild += 1
            else:
                self.hosts = hosts
                cluster.publish(self.locality.priority)
            cluster.failure_back_off.reset()
            delay = settings.refresh_rate
            if settings.respect_ttl:
                ttl = min((each.ttl for each in responses), default=0.0)
                delay = max(ttl, settings.least_ttl) if ttl else delay
            if settings.jitter:
                delay += cluster.random.random() * settings.jitter
        else:
            update.update_failure += 1
            delay = cluster.failure_back_off.next_back_off()
        if not cluster.stopped:
            self._timer.enable(delay)
            cluster.initialized()


class DnsCluster(Cluster):
    """A cluster whose endpoints are names; what an answer means is the subclass's."""

    __slots__ = ("_on_initialized", "_own_resolver", "_wait", "failure_back_off", "resolver", "settings", "targets")

    resolves_names = True
    empty_is_an_answer = True
    """Whether a name that has no address loses its hosts; otherwise that is a failure."""

    def __init__(self, config: Any, typed_config: Any, context: ClusterContext) -> None:
        source = config if typed_config is None else typed_config
        path = context.path if typed_config is None else f"{context.path}.cluster_type.typed_config"
        self.settings = DnsSettings.from_proto(source, path)
        super().__init__(config, context)
        self._check_endpoints(context.path)
        if context.dns_resolvers is None:
            raise ConfigError("there is no DNS resolver here", context.path)
        self._own_resolver: DnsResolver | None = context.dns_resolvers.for_config(source, path)
        self.resolver = self._own_resolver or context.dns_resolvers.shared()
        failure = self.settings.failure_refresh_rate
        self.failure_back_off: BackOffStrategy = (
            FixedBackOffStrategy(self.settings.refresh_rate)
            if failure is None
            else JitteredExponentialBackOffStrategy(*failure, self.random)
        )
        self._wait = config.wait_for_warm_on_init.value if config.HasField("wait_for_warm_on_init") else True
        self._on_initialized: Callable[[], None] | None = None
        self.targets = [
            ResolveTarget(self, locality, endpoint)
            for locality in self.load_assignment.localities
            for endpoint in locality.endpoints
        ]

    def start(self, on_initialized: Callable[[], None]) -> None:
        self._on_initialized = on_initialized
        for target in self.targets:
            target.start()
        if not self.targets or not self._wait:
            self.initialized()

    def stop(self) -> None:
        if not self.stopped:
            super().stop()
            self._on_initialized = None
            for target in self.targets:
                target.stop()
            if self._own_resolver is not None:
                self._own_resolver.close()

    def hosts_for(self, target: ResolveTarget, addresses: tuple[Address, ...]) -> tuple[Host, ...] | None:
        """The hosts of `target` now that it has these addresses; None if nothing changes."""
        raise NotImplementedError

    def remove_host(self, host: Host) -> None:
        for target in self.targets:
            target.hosts = tuple(each for each in target.hosts if each is not host)
        super().remove_host(host)

    def publish(self, priority: int) -> None:
        """Tell the priority set what all names of `priority` gave."""
        hosts = tuple(host for target in self.targets if target.locality.priority == priority for host in target.hosts)
        self.priority_set.update_hosts(self.load_assignment.host_set(priority, hosts))

    def initialized(self) -> None:
        callback, self._on_initialized = self._on_initialized, None
        if callback is not None:
            callback()

    def _check_endpoints(self, path: str) -> None:
        for locality in self.load_assignment.localities:
            for endpoint in locality.endpoints:
                if endpoint.additional_targets:
                    raise ConfigError(
                        "additional_addresses can not be used with names",
                        endpoint.config_path,
                        remedy="use the type STATIC",
                    )


@CLUSTERS.register("envoy.cluster.dns", "envoy.extensions.clusters.dns.v3.DnsCluster")
def create_dns_cluster(config: Any, typed_config: Any, context: ClusterContext) -> Cluster:
    if typed_config.all_addresses_in_single_endpoint:
        from .logical_dns import LogicalDnsCluster

        return LogicalDnsCluster(config, typed_config, context)
    from .strict_dns import StrictDnsCluster

    return StrictDnsCluster(config, typed_config, context)
