"""The resolver over c-ares, in the event loop.

Envoy: `Network::DnsResolverImpl` (`source/extensions/network/dns_resolver/cares/`); docs "c-ares DNS resolver".

A resolution is one lookup, or two where the family has a second choice: it is made if the first gave no address.
"Does not exist" and "has no address of this kind" are answers; only if each lookup ended so is the resolution completed
without addresses. `/etc/hosts` and literal addresses are answered by c-ares, at once.
"""

from __future__ import annotations

import socket
from typing import Any, Final

import pycares

from ....config.fields import honours
from ....errors import ConfigError
from ....network.address import Address
from ....network.dns import (
    CARES,
    DNS_RESOLVERS,
    DnsLookupFamily,
    DnsResolverContext,
    DnsResponse,
    ResolutionStatus,
    ResolveCallback,
)
from ....stats.store import CounterValue, GaugeValue, StatsStruct
from ....upstream.duration import duration_of
from .cares_channel import CaresChannel
from .interfaces import available_families

honours(
    CARES,
    "dns_resolver_options",
    "filter_unroutable_families",
    "max_udp_channel_duration",
    "query_timeout_seconds",
    "query_tries",
    "reinit_channel_on_timeout",
    "resolvers",
    "rotate_nameservers",
    "use_resolvers_as_fallback",
    ignored={
        "udp_max_queries": "each resolution has sockets of its own",
        "edns0_max_payload_size": "what is too long for a datagram comes over TCP in any case",
    },
)

_NO_RECORDS: Final = (pycares.errno.ARES_ENODATA, pycares.errno.ARES_ENOTFOUND)
_CHANNEL_IS_STALE: Final = (
    pycares.errno.ARES_ECONNREFUSED,
    pycares.errno.ARES_EREFUSED,
    pycares.errno.ARES_ESERVFAIL,
    pycares.errno.ARES_ENOTIMP,
)
"""After these Envoy reads the system's configuration anew, and counts that."""
_LOOKUPS: Final = {
    DnsLookupFamily.AUTO: (socket.AF_INET6, socket.AF_INET),
    DnsLookupFamily.V4_ONLY: (socket.AF_INET,),
    DnsLookupFamily.V6_ONLY: (socket.AF_INET6,),
    DnsLookupFamily.V4_PREFERRED: (socket.AF_INET, socket.AF_INET6),
    DnsLookupFamily.ALL: (socket.AF_UNSPEC,),
}
DEFAULT_QUERY_TIMEOUT = 5.0
"""Seconds."""
DEFAULT_QUERY_TRIES = 4


class CaresDnsResolverStats(StatsStruct):
    """`dns.cares.*`, of all resolvers together. Lookups are counted when they end."""

    USED_WITH = {"pending_resolutions": "resolve_total"}

    get_addr_failure: CounterValue
    not_found: CounterValue
    pending_resolutions: GaugeValue
    reinits: CounterValue
    resolve_total: CounterValue
    timeouts: CounterValue


class PendingResolution:
    """One name that is being resolved (`DnsResolverImpl::AddrInfoPendingResolution`), on a channel of its own."""

    __slots__ = ("_callback", "_channel", "_failed", "_families", "_name", "_resolver", "done")

    def __init__(
        self,
        resolver: CaresDnsResolver,
        channel: CaresChannel,
        name: str,
        families: tuple[socket.AddressFamily, ...],
        callback: ResolveCallback,
    ) -> None:
        self._resolver = resolver
        self._channel = channel
        self._name = name
        self._families = families
        self._callback: ResolveCallback | None = callback
        self._failed = ""
        self.done = False

    def start(self) -> None:
        family, self._families = self._families[0], self._families[1:]
        one_family = self._resolver.filters_families and family is not socket.AF_UNSPEC
        if one_family and family not in available_families():
            self._on_result(None, pycares.errno.ARES_EBADFAMILY)
            return
        self._channel.look_up(self._name, family, self._on_result)

    def cancel(self) -> None:
        self._callback = None
        self._channel.close()

    def _on_result(self, result: Any, error: int) -> None:
        resolver = self._resolver
        stats = resolver.stats
        if error == pycares.errno.ARES_ECANCELLED:
            self._callback = None
            self._finish(ResolutionStatus.FAILURE, "cancelled", [])
            return
        stats.resolve_total += 1
        if not error:
            aliases = min((alias.ttl for alias in result.cnames), default=None)
            nodes = result.nodes
            if resolver.filters_families:
                families = available_families()
                nodes = [node for node in nodes if node.family in families]
            addresses = [_response(node, aliases) for node in nodes]
            if addresses:
                self._finish(ResolutionStatus.COMPLETED, "cares_success", addresses)
                return
        elif error in _NO_RECORDS:
            stats.not_found += 1
        else:
            self._failed = str(pycares.errno.strerror(error))
            if error == pycares.errno.ARES_ETIMEOUT:
                stats.timeouts += resolver.query_tries
                stats.reinits += resolver.renews_after_timeout
            else:
                stats.get_addr_failure += 1
        if self._families:
            self.start()
            return
        if error in _CHANNEL_IS_STALE:
            stats.reinits += 1
        if self._failed:
            self._finish(ResolutionStatus.FAILURE, f"cares_failure:{self._failed}", [])
        else:
            details = "cares_norecords:" + str(pycares.errno.strerror(error)) if error else "cares_norecords"
            self._finish(ResolutionStatus.COMPLETED, details, [])

    def _finish(self, status: ResolutionStatus, details: str, addresses: list[DnsResponse]) -> None:
        self.done = True
        self._resolver.finished(self._channel)
        callback, self._callback = self._callback, None
        if callback is not None:
            callback(status, details, addresses)


class CaresDnsResolver:
    """Resolves each name on a fresh channel: c-ares keeps answers in a cache that pycares can not switch off, and an
    answer must be seen when it changes, not when its TTL is over. Making a channel also reads the configuration of the
    system anew, which Envoy does only after a failure. `servers` are `host:port`; empty for those of the system.

    Attributes:
        query_tries: how often a server is asked.
        filters_families: addresses of a family that this machine has no address of are left out.
        renews_after_timeout: Envoy would make a new channel after a time-out, and counts that.
    """

    def __init__(
        self,
        context: DnsResolverContext,
        *,
        servers: tuple[str, ...] = (),
        use_tcp: bool = False,
        no_default_search_domain: bool = False,
        query_timeout: float = DEFAULT_QUERY_TIMEOUT,
        query_tries: int = DEFAULT_QUERY_TRIES,
        rotate_nameservers: bool = False,
        fallback: bool = False,
        filters_families: bool = False,
        renews_after_timeout: bool = False,
        renewal_interval: float = 0.0,
    ) -> None:
        """`fallback`: the servers are those of the system, and `servers` only where it has none. `renewal_interval`:
        seconds after which Envoy makes a new channel for UDP, and counts that; 0 for never."""
        self.query_tries = query_tries
        self.filters_families = filters_families
        self.renews_after_timeout = renews_after_timeout
        self.stats = context.stats.scope("dns.cares").struct(CaresDnsResolverStats)
        self._dispatcher = context.dispatcher
        flags = 0
        if use_tcp:
            flags |= pycares.ARES_FLAG_USEVC
        if no_default_search_domain:
            flags |= pycares.ARES_FLAG_NOSEARCH
        self._options: dict[str, Any] = {
            "flags": flags,
            "timeout": query_timeout,
            "tries": query_tries,
            "rotate": rotate_nameservers,
        }
        if servers and not (fallback and _system_has_servers()):
            self._options["servers"] = list(servers)
        self._channels: set[CaresChannel] = set()
        self._renewal_interval = renewal_interval
        self._renewal = self._dispatcher.create_timer(self._on_renewal)
        if renewal_interval:
            self._renewal.enable(renewal_interval)

    @classmethod
    def from_proto(cls, config: Any, context: DnsResolverContext) -> CaresDnsResolver:
        """From `CaresDnsResolverConfig`."""
        servers: list[str] = []
        for index, each in enumerate(config.resolvers):
            where = each.socket_address
            try:
                servers.append(Address.ip(where.address, where.port_value or 53).text)
            except ValueError:
                raise ConfigError(
                    f"malformed IP address: {where.address}", f"resolvers[{index}].socket_address.address"
                ) from None
        return cls(
            context,
            servers=tuple(servers),
            use_tcp=config.dns_resolver_options.use_tcp_for_dns_lookups,
            no_default_search_domain=config.dns_resolver_options.no_default_search_domain,
            query_timeout=(
                float(config.query_timeout_seconds.value)
                if config.HasField("query_timeout_seconds")
                else DEFAULT_QUERY_TIMEOUT
            ),
            query_tries=config.query_tries.value if config.HasField("query_tries") else DEFAULT_QUERY_TRIES,
            rotate_nameservers=config.rotate_nameservers,
            fallback=config.use_resolvers_as_fallback,
            filters_families=config.filter_unroutable_families,
            renews_after_timeout=config.reinit_channel_on_timeout,
            renewal_interval=duration_of(config, "max_udp_channel_duration", 0.0),
        )

    def resolve(self, name: str, family: DnsLookupFamily, callback: ResolveCallback) -> PendingResolution | None:
        channel = CaresChannel(self._dispatcher, self._options)
        self._channels.add(channel)
        self.stats.pending_resolutions += 1
        pending = PendingResolution(self, channel, name, _LOOKUPS[family], callback)
        pending.start()
        return None if pending.done else pending

    def close(self) -> None:
        self._renewal.disable()
        for channel in tuple(self._channels):
            channel.close()
        self._channels.clear()

    def finished(self, channel: CaresChannel) -> None:
        """A resolution is over; its channel may still be at work on the stack."""
        self.stats.pending_resolutions -= 1
        self._dispatcher.post(lambda: self._forget(channel))

    def _on_renewal(self) -> None:
        self.stats.reinits += 1
        self._renewal.enable(self._renewal_interval)

    def _forget(self, channel: CaresChannel) -> None:
        channel.close()
        self._channels.discard(channel)


def _system_has_servers() -> bool:
    """Whether c-ares knows of a name server but for the one that it takes where there is none
    (`isCaresDefaultTheOnlyNameserver`)."""
    channel = pycares.Channel()
    try:
        return [each.removesuffix(":53") for each in channel.servers] != ["127.0.0.1"]
    finally:
        channel.close()


def _response(node: Any, aliases: int | None) -> DnsResponse:
    """`aliases` is the least TTL of the aliases that lead to the address: it is good for no longer than they are."""
    host = node.addr[0]
    ttl = node.ttl if aliases is None else min(node.ttl, aliases)
    return DnsResponse(host.decode() if isinstance(host, bytes) else host, float(max(0, ttl)))


@DNS_RESOLVERS.register("envoy.network.dns_resolver.cares", CARES)
def create_cares_dns_resolver(config: Any, context: DnsResolverContext) -> CaresDnsResolver:
    return CaresDnsResolver(context) if config is None else CaresDnsResolver.from_proto(config, context)
