"""Names that requests bring, and where they lead: looked up once, kept as long as they are used.

Envoy: `Common::DynamicForwardProxy::DnsCacheImpl`, `DnsCacheManagerImpl`; docs "Dynamic forward proxy". A cache is
shared by its name: between the filter that waits for names and the cluster whose hosts they are. A name that could not
be resolved is remembered as such, and tried again after a back-off; a name that has an address keeps it until it gets
another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from ...config.fields import honours
from ...errors import ConfigError
from ...network.address import Address
from ...network.cidr import CidrSet
from ...network.dns import ActiveDnsQuery, DnsLookupFamily, DnsResponse, ResolutionStatus
from ...stats.store import CounterValue, GaugeValue, StatsStruct
from ...upstream.backoff_strategy import BackOffStrategy, FixedBackOffStrategy, JitteredExponentialBackOffStrategy
from ...upstream.duration import duration_of
from ...upstream.resource_manager import Resource

if TYPE_CHECKING:
    from ...upstream.cluster import ClusterContext
    from ...upstream.cluster_manager import ClusterManager

TYPE: Final = "envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheConfig"
honours(
    TYPE,
    "name",
    "dns_lookup_family",
    "dns_refresh_rate",
    "dns_min_refresh_rate",
    "host_ttl",
    "max_hosts",
    "disable_dns_refresh_on_failure",
    "dns_failure_refresh_rate",
    "dns_cache_circuit_breaker",
    "use_tcp_for_dns_lookups",
    "dns_resolution_config",
    "typed_dns_resolver_config",
    "preresolve_hostnames",
    "dns_query_timeout",
    "resolved_address_filter",
)
honours("envoy.type.matcher.v3.AddressMatcher", "invert_match", "ranges")
honours("envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheCircuitBreakers", "max_pending_requests")

_SINGLETON: Final = "dns_cache_manager"


class DnsCacheStats(StatsStruct):
    """`dns_cache.<name>.*`"""

    cache_load: CounterValue
    dns_address_filter_out: CounterValue
    dns_query_attempt: CounterValue
    dns_query_failure: CounterValue
    dns_query_success: CounterValue
    dns_query_timeout: CounterValue
    dns_rq_pending_overflow: CounterValue
    host_added: CounterValue
    host_address_changed: CounterValue
    host_overflow: CounterValue
    host_removed: CounterValue
    num_hosts: GaugeValue


class DnsCacheUser(Protocol):
    """Who wants to hear of hosts, e.g. a cluster (`DnsCache::UpdateCallbacks`)."""

    def on_dns_host_add_or_update(self, host: CachedHost) -> None: ...
    def on_dns_host_remove(self, host: CachedHost) -> None: ...


class CachedHost:
    """One name with its port (`DnsHostInfo`).

    Attributes:
        key: `name:port`.
        addresses: in the order of the answer; empty while there has been none.
        awaited: a cluster has waited for it.
        resolved: it has been looked up once, with whatever result.
        failed: the last look-up was no answer.
        details: of the last failure; `address_denied` if there was an answer, and none of its addresses may be gone to.
        last_used: monotonic seconds.
    """

    __slots__ = (
        "_cache",
        "_query",
        "_timeout",
        "_timer",
        "_waiting",
        "addresses",
        "awaited",
        "back_off",
        "details",
        "failed",
        "key",
        "last_used",
        "name",
        "port",
        "resolved",
    )

    def __init__(self, cache: DnsCache, key: str, name: str, port: int) -> None:
        self._cache = cache
        self.key = key
        self.name = name
        self.port = port
        self.addresses: tuple[Address, ...] = ()
        self.resolved = self.awaited = self.failed = False
        self.details = ""
        self.last_used = cache.dispatcher.monotonic_time()
        self.back_off = cache.new_back_off()
        self._query: ActiveDnsQuery | None = None
        self._waiting: list[Callable[[CachedHost], None]] = []
        self._timer = cache.dispatcher.create_timer(self._on_refresh)
        self._timeout = cache.dispatcher.create_timer(self._on_timeout)

    def touch(self) -> None:
        self.last_used = self._cache.dispatcher.monotonic_time()

    def wait(self, callback: Callable[[CachedHost], None]) -> None:
        """Called once, when the first look-up is over."""
        self._waiting.append(callback)

    def tell_soon(self, callback: Callable[[CachedHost], None]) -> Callable[[], None]:
        """What is known already, in the next turn of the event loop; returns what prevents it."""
        timer = self._cache.dispatcher.create_timer(lambda: callback(self))
        timer.enable(0.0)
        return timer.disable

    def stop_waiting(self, callback: Callable[[CachedHost], None]) -> None:
        if callback in self._waiting:
            self._waiting.remove(callback)

    def resolve(self) -> None:
        cache = self._cache
        cache.stats.dns_query_attempt += 1
        self._timeout.enable(cache.query_timeout)
        query = cache.resolve(self.name, self._on_resolved)
        if query is not None:
            self._query = query

    def stop(self) -> None:
        self._timer.disable()
        self._timeout.disable()
        if self._query is not None:
            self._query.cancel()
            self._query = None

    def _on_refresh(self) -> None:
        cache = self._cache
        if cache.dispatcher.monotonic_time() - self.last_used > cache.host_ttl:
            cache.remove(self)
        else:
            self.resolve()

    def _on_timeout(self) -> None:
        if self._query is not None:
            self._query.cancel()
            self._query = None
        self._cache.stats.dns_query_timeout += 1
        self._finish(ResolutionStatus.FAILURE, "resolve_timeout", [])

    def _on_resolved(self, status: ResolutionStatus, details: str, responses: list[DnsResponse]) -> None:
        self._query = None
        self._finish(status, details, responses)

    def _finish(self, status: ResolutionStatus, details: str, responses: list[DnsResponse]) -> None:
        self._timeout.disable()
        cache, stats = self._cache, self._cache.stats
        failed = self.failed = status is ResolutionStatus.FAILURE
        if failed:
            stats.dns_query_failure += 1
        else:
            stats.dns_query_success += 1
        self.details = details
        answered = [Address(each.host, self.port) for each in responses]
        allowed = [address for address in answered if cache.allows(address)]
        stats.dns_address_filter_out += len(answered) - len(allowed)
        addresses = tuple(dict.fromkeys(allowed))
        if answered and not addresses:
            self.details = "address_denied"
        first, self.resolved = not self.resolved, True
        if addresses and addresses != self.addresses:
            changed = not self.addresses or addresses[0] != self.addresses[0]
            self.addresses = addresses
            if changed:
                stats.host_address_changed += 1
            cache.tell_update(self)
        if failed:
            if not cache.disable_refresh_on_failure:
                self._timer.enable(max(self.back_off.next_back_off(), cache.min_refresh_rate))
        else:
            # "Does not exist" is an answer, too, but has no TTL that the least one could be compared with.
            self.back_off.reset()
            self._timer.enable(max(responses[0].ttl, cache.min_refresh_rate) if addresses else cache.refresh_rate)
        if first:
            waiting, self._waiting = self._waiting, []
            for callback in waiting:
                callback(self)


class DnsCache:
    """`max_hosts` names at most; a further one is refused.

    Attributes:
        pending_requests: requests that wait for a name.
    """

    def __init__(self, config: Any, context: ClusterContext, path: str) -> None:
        assert context.dns_resolvers is not None
        self.config = config
        self.dispatcher = context.dispatcher
        self._random = context.random.stream(f"dns_cache.{config.name}")
        self._family = DnsLookupFamily(config.dns_lookup_family)
        self._own_resolver = context.dns_resolvers.for_config(config, path)
        self._resolvers = context.dns_resolvers
        self.refresh_rate = duration_of(config, "dns_refresh_rate", 60.0)
        self.min_refresh_rate = duration_of(config, "dns_min_refresh_rate", 5.0)
        self.host_ttl = duration_of(config, "host_ttl", 300.0)
        self.query_timeout = duration_of(config, "dns_query_timeout", 5.0)
        self.max_hosts: int = config.max_hosts.value if config.HasField("max_hosts") else 1024
        self.disable_refresh_on_failure: bool = config.disable_dns_refresh_on_failure
        self._denied = CidrSet.from_protos(
            config.resolved_address_filter.ranges, f"{path}.resolved_address_filter.ranges"
        )
        self._denies_others: bool = config.resolved_address_filter.invert_match
        breaker = config.dns_cache_circuit_breaker
        self.pending_requests = Resource(
            breaker.max_pending_requests.value if breaker.HasField("max_pending_requests") else 1024
        )
        scope = context.stats.scope(f"dns_cache.{config.name}")
        self.stats = scope.struct(DnsCacheStats)
        scope.scope("circuit_breakers").provider(self._breaker_gauges, gauges=True)
        self._hosts: dict[str, CachedHost] = {}
        self._users: list[DnsCacheUser] = []
        for each in config.preresolve_hostnames:
            self._add(f"{each.address}:{each.port_value}", each.address, each.port_value).resolve()

    def new_back_off(self) -> BackOffStrategy:
        if not self.config.HasField("dns_failure_refresh_rate"):
            return FixedBackOffStrategy(self.refresh_rate)
        rate = self.config.dns_failure_refresh_rate
        base = duration_of(rate, "base_interval", 0.0)
        return JitteredExponentialBackOffStrategy(base, duration_of(rate, "max_interval", base * 10), self._random)

    def resolve(
        self, name: str, callback: Callable[[ResolutionStatus, str, list[DnsResponse]], None]
    ) -> ActiveDnsQuery | None:
        return (self._own_resolver or self._resolvers.shared()).resolve(name, self._family, callback)

    def allows(self, address: Address) -> bool:
        """Whether a name may lead to `address`: not to one in the ranges of the filter, or, inverted, to no other."""
        return not self._denied or (address in self._denied) is self._denies_others

    def get(self, key: str) -> CachedHost | None:
        """The host `name:port`; None if nobody has asked for it."""
        return self._hosts.get(key)

    def load(self, authority: str, default_port: int) -> CachedHost | None:
        """The host of an `authority`, which is looked up if it is new; None if there are too many."""
        name, port = parse_authority(authority)
        port = default_port if port is None else port
        key = host_key(authority, default_port)
        host = self._hosts.get(key)
        if host is not None and self.disable_refresh_on_failure and host.failed and not host.addresses:
            self.remove(host)  # nobody else would ask again
            host = None
        if host is None:
            if len(self._hosts) >= self.max_hosts:
                self.stats.host_overflow += 1
                return None
            host = self._add(key, name, port)
            host.resolve()
        host.touch()
        return host

    def add_user(self, user: DnsCacheUser) -> None:
        self._users.append(user)
        for host in self._hosts.values():
            if host.addresses:
                user.on_dns_host_add_or_update(host)

    def remove_user(self, user: DnsCacheUser) -> None:
        if user in self._users:
            self._users.remove(user)

    def tell_update(self, host: CachedHost) -> None:
        for user in tuple(self._users):
            user.on_dns_host_add_or_update(host)

    def remove(self, host: CachedHost) -> None:
        """Nobody has used it for long."""
        host.stop()
        del self._hosts[host.key]
        self.stats.host_removed += 1
        self.stats.num_hosts -= 1
        if host.addresses:
            for user in tuple(self._users):
                user.on_dns_host_remove(host)

    def stop(self) -> None:
        for host in self._hosts.values():
            host.stop()
        self._hosts.clear()
        if self._own_resolver is not None:
            self._own_resolver.close()

    def _add(self, key: str, name: str, port: int) -> CachedHost:
        host = self._hosts[key] = CachedHost(self, key, name, port)
        self.stats.host_added += 1
        self.stats.num_hosts += 1
        return host

    def _breaker_gauges(self) -> list[tuple[str, int]]:
        pending = self.pending_requests
        return [("rq_pending_open", int(pending.open)), ("rq_pending_remaining", pending.remaining)]


class DnsCacheManager:
    """The caches of a server, by name (`DnsCacheManagerImpl`)."""

    def __init__(self) -> None:
        self._caches: dict[str, DnsCache] = {}

    def get_cache(self, config: Any, context: ClusterContext, path: str) -> DnsCache:
        """The cache of that name.

        Raises:
            ConfigError: somebody else has asked for one of that name with other settings.
        """
        cache = self._caches.get(config.name)
        if cache is None:
            cache = self._caches[config.name] = DnsCache(config, context, path)
        elif cache.config != config:
            raise ConfigError(f"config specified DNS cache '{config.name}' with different settings", path)
        return cache

    def stop(self) -> None:
        for cache in self._caches.values():
            cache.stop()
        self._caches.clear()


def dns_cache_manager(clusters: ClusterManager) -> DnsCacheManager:
    """The one of the server."""
    manager: DnsCacheManager | None = clusters.singletons.get(_SINGLETON)
    if manager is None:
        manager = clusters.singletons[_SINGLETON] = DnsCacheManager()
    return manager


def parse_authority(authority: str) -> tuple[str, int | None]:
    """Host and port of a `host` header; brackets are taken off (`Http::Utility::parseAuthority`)."""
    if authority.startswith("["):
        name, bracket, rest = authority[1:].partition("]")
        if bracket and (not rest or rest.startswith(":")):
            return name, _port(rest[1:])
        return authority, None
    name, colon, port = authority.rpartition(":")
    if not colon or ":" in name:
        return authority, None
    number = _port(port)
    return (name, number) if number is not None else (authority, None)


def host_key(authority: str, default_port: int) -> str:
    """What a host is known by: its authority, with a port (`DnsHostInfo::normalizeHostForDfp`)."""
    return f"{authority}:{default_port}" if parse_authority(authority)[1] is None else authority


def _port(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and int(text) < 65536 else None
