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
from .cares_channel import CaresChannel

honours(
    CARES,
    "dns_resolver_options",
    "query_timeout_seconds",
    "query_tries",
    "resolvers",
    "rotate_nameservers",
    "use_resolvers_as_fallback",
    ignored={
        "udp_max_queries": "every look-up has sockets of its own",
        "max_udp_channel_duration": "every look-up has a channel of its own",
        "reinit_channel_on_timeout": "every look-up has a channel of its own",
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
            addresses = [_response(node, aliases) for node in result.nodes]
            if addresses:
                self._finish(ResolutionStatus.COMPLETED, "cares_success", addresses)
                return
        elif error in _NO_RECORDS:
            stats.not_found += 1
        else:
            self._failed = str(pycares.errno.strerror(error))
            if error == pycares.errno.ARES_ETIMEOUT:
                stats.timeouts += resolver.query_tries
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
    system anew, which Envoy does only after a failure. `servers` are `host:port`; empty for those of the system."""

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
    ) -> None:
        self.query_tries = query_tries
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
            "servers": list(servers) or None,
            "rotate": rotate_nameservers,
        }
        self._channels: set[CaresChannel] = set()

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
        if config.use_resolvers_as_fallback and _system_has_servers():
            servers = []
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
        )

    def resolve(self, name: str, family: DnsLookupFamily, callback: ResolveCallback) -> PendingResolution | None:
        channel = CaresChannel(self._dispatcher, self._options)
        self._channels.add(channel)
        self.stats.pending_resolutions += 1
        pending = PendingResolution(self, channel, name, _LOOKUPS[family], callback)
        pending.start()
        return None if pending.done else pending

    def close(self) -> None:
        for channel in tuple(self._channels):
            channel.close()
        self._channels.clear()

    def finished(self, channel: CaresChannel) -> None:
        """A resolution is over; its channel may still be at work on the stack."""
        self.stats.pending_resolutions -= 1
        self._dispatcher.post(lambda: self._forget(channel))

    def _forget(self, channel: CaresChannel) -> None:
        channel.close()
        self._channels.discard(channel)


def _system_has_servers() -> bool:
    """c-ares takes the machine itself for one where the system names none."""
    channel = pycares.Channel()
    try:
        servers = [each.decode() if isinstance(each, bytes) else each for each in channel.servers]
    finally:
        channel.close()
    return any(each.removesuffix(":53") != "127.0.0.1" for each in servers)


def _response(node: Any, aliases: int | None) -> DnsResponse:
    """`aliases` is the least TTL of the aliases that lead to the address: it is good for no longer than they are."""
    host = node.addr[0]
    ttl = node.ttl if aliases is None else min(node.ttl, aliases)
    return DnsResponse(host.decode() if isinstance(host, bytes) else host, float(max(0, ttl)))


@DNS_RESOLVERS.register("envoy.network.dns_resolver.cares", CARES)
def create_cares_dns_resolver(config: Any, context: DnsResolverContext) -> CaresDnsResolver:
    return CaresDnsResolver(context) if config is None else CaresDnsResolver.from_proto(config, context)
