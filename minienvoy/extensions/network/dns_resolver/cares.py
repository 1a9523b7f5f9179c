"""The resolver over c-ares, in the event loop.

Envoy: `Network::DnsResolverImpl` (`source/extensions/network/dns_resolver/cares/`); docs "c-ares DNS resolver".

A resolution is one lookup, or two where the family has a second choice: it is made if the first gave no address.
"Does not exist" and "has no address of this kind" are answers; only if each lookup ended so is the resolution completed
without addresses. `/etc/hosts` and literal addresses are answered by c-ares, at once.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
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

honours(CARES, "dns_resolver_options", "query_timeout_seconds", "query_tries", "resolvers", "rotate_nameservers")

_NO_RECORDS: Final = (pycares.errno.ARES_ENODATA, pycares.errno.ARES_ENOTFOUND)
_CHANNEL_IS_STALE: Final = (
    pycares.errno.ARES_ECONNREFUSED,
    pycares.errno.ARES_EREFUSED,
    pycares.errno.ARES_ESERVFAIL,
    pycares.errno.ARES_ENOTIMP,
)
"""After these the system's configuration is read anew: the servers may be others by now."""
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

    get_addr_failure: CounterValue
    not_found: CounterValue
    pending_resolutions: GaugeValue
    reinits: CounterValue
    resolve_total: CounterValue
    timeouts: CounterValue


class PendingResolution:
    """One name that is being resolved (`DnsResolverImpl::AddrInfoPendingResolution`)."""

    __slots__ = ("_callback", "_failed", "_families", "_name", "_resolver", "done")

    def __init__(
        self,
        resolver: CaresDnsResolver,
        name: str,
        families: tuple[socket.AddressFamily, ...],
        callback: ResolveCallback,
    ) -> None:
        self._resolver = resolver
        self._name = name
        self._families = families
        self._callback: ResolveCallback | None = callback
        self._failed = ""
        self.done = False

    def cancel(self) -> None:
        """c-ares can not forget a single query: it runs on, and nobody is told."""
        self._callback = None

    def start(self) -> None:
        family, self._families = self._families[0], self._families[1:]
        self._resolver.look_up(self._name, family, self._on_result)

    def _on_result(self, result: Any, error: int) -> None:
        resolver = self._resolver
        stats = resolver.stats
        stats.resolve_total += 1
        if not error:
            addresses = [_response(node) for node in result.nodes]
            if addresses:
                self._finish(ResolutionStatus.COMPLETED, "cares_success", addresses)
                return
        elif error in _NO_RECORDS:
            stats.not_found += 1
        else:
            self._failed = str(pycares.errno.errorcode[error])
            if error == pycares.errno.ARES_ETIMEOUT:
                stats.timeouts += resolver.query_tries
            else:
                stats.get_addr_failure += 1
        if self._families and not resolver.closed and self._callback is not None:
            self.start()
            return
        if error in _CHANNEL_IS_STALE:
            resolver.read_configuration_anew()
        if self._failed:
            self._finish(ResolutionStatus.FAILURE, f"cares_failure:{self._failed}", [])
        else:
            self._finish(ResolutionStatus.COMPLETED, "cares_norecords", [])

    def _finish(self, status: ResolutionStatus, details: str, addresses: list[DnsResponse]) -> None:
        self.done = True
        self._resolver.stats.pending_resolutions -= 1
        callback, self._callback = self._callback, None
        if callback is not None and not self._resolver.closed:
            callback(status, details, addresses)


class CaresDnsResolver:
    """One c-ares channel. `servers` are `host:port`; empty for those of the system."""

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
        self.closed = False
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
        self._channel = CaresChannel(self._dispatcher, self._options)
        self._stale = False

    @classmethod
    def from_proto(cls, config: Any, context: DnsResolverContext) -> CaresDnsResolver:
        """From `CaresDnsResolverConfig`."""
        servers = []
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
        )

    def resolve(self, name: str, family: DnsLookupFamily, callback: ResolveCallback) -> PendingResolution | None:
        if self._stale and not self._channel.lookups:
            self._stale = False
            self._channel.close()
            self._channel = CaresChannel(self._dispatcher, self._options)
        self.stats.pending_resolutions += 1
        pending = PendingResolution(self, name, _LOOKUPS[family], callback)
        pending.start()
        return None if pending.done else pending

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._channel.close()

    # -- for PendingResolution

    def look_up(self, name: str, family: socket.AddressFamily, callback: Callable[[Any, int], None]) -> None:
        self._channel.look_up(name, family, callback)

    def read_configuration_anew(self) -> None:
        """Before the next resolution."""
        self.stats.reinits += 1
        self._stale = True


def _response(node: Any) -> DnsResponse:
    host = node.addr[0]
    return DnsResponse(host.decode() if isinstance(host, bytes) else host, float(max(0, node.ttl)))


@DNS_RESOLVERS.register("envoy.network.dns_resolver.cares", CARES)
def create_cares_dns_resolver(config: Any, context: DnsResolverContext) -> CaresDnsResolver:
    return CaresDnsResolver(context) if config is None else CaresDnsResolver.from_proto(config, context)
