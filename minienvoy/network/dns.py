"""Names to addresses: what a resolver is, and which one the configuration asks for.

Envoy: `envoy/network/dns.h`, `Network::DnsResolverFactory`; docs "DNS resolution".
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..config.api import message_class, unpack
from ..config.fields import honours
from ..errors import ConfigError
from ..record import record
from ..registry import Registry

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher
    from ..stats.store import Store

honours("envoy.config.core.v3.DnsResolutionConfig", "dns_resolver_options", "resolvers")
honours("envoy.config.core.v3.DnsResolverOptions", "no_default_search_domain", "use_tcp_for_dns_lookups")

CARES: Final = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
"""The resolver that is used where none is named, and its configuration."""


class DnsLookupFamily(Enum):
    """`envoy.config.cluster.v3.Cluster.DnsLookupFamily`, with its numbers."""

    AUTO = 0
    """IPv6, and IPv4 if that gives nothing."""
    V4_ONLY = 1
    V6_ONLY = 2
    V4_PREFERRED = 3
    """IPv4, and IPv6 if that gives nothing."""
    ALL = 4


class ResolutionStatus(Enum):
    COMPLETED = "completed"
    """The answer is known; the name may have no address, or not exist."""
    FAILURE = "failure"
    """Nothing is known: no server answered, or one could not."""


@record
class DnsResponse:
    """One address of a name. `ttl` is seconds; 0 where nothing tells it (`/etc/hosts`, literal addresses)."""

    host: str
    ttl: float


ResolveCallback = Callable[[ResolutionStatus, str, list[DnsResponse]], None]
"""(status, details for the log, addresses in the order of the answer)"""


class ActiveDnsQuery(Protocol):
    def cancel(self) -> None:
        """The callback will not be called."""


class DnsResolver(Protocol):
    def resolve(self, name: str, family: DnsLookupFamily, callback: ResolveCallback) -> ActiveDnsQuery | None:
        """Look `name` up. None if that took no time: then `callback` has been called already."""

    def close(self) -> None:
        """Cancel everything and let go of the sockets."""


@record
class DnsResolverContext:
    """What a factory of resolvers may ask for."""

    dispatcher: Dispatcher
    stats: Store


DNS_RESOLVERS: Registry[Callable[[Any, DnsResolverContext], DnsResolver]] = Registry("envoy.network.dns_resolver")
"""(configuration message or None, `DnsResolverContext`) -> DnsResolver"""


class DnsResolvers:
    """Makes resolvers, and keeps the one that all who have no wishes share.

    `bootstrap` is the message whose `typed_dns_resolver_config` (or older fields) says what the shared one is like.
    """

    def __init__(self, context: DnsResolverContext, bootstrap: Any | None = None) -> None:
        self._context = context
        self._bootstrap = bootstrap
        self._shared: DnsResolver | None = None

    def shared(self) -> DnsResolver:
        """Made when it is first needed: a server whose hosts are all literal loads no resolver."""
        if self._shared is None:
            found = None if self._bootstrap is None else self._make(self._bootstrap)
            self._shared = found or DNS_RESOLVERS.find(CARES).factory(None, self._context)
        return self._shared

    def for_config(self, config: Any, path: str = "") -> DnsResolver | None:
        """The resolver that `config`, a `Cluster` or `DnsCluster`, asks for; None if the shared one will do.

        The caller closes it.

        Raises:
            ConfigError: below `path`, if there is no such resolver or its settings can not be used.
        """
        return self._make(config, path)

    def close(self) -> None:
        if self._shared is not None:
            self._shared.close()
            self._shared = None

    def _make(self, config: Any, path: str = "") -> DnsResolver | None:
        if config.HasField("typed_dns_resolver_config"):
            packed = config.typed_dns_resolver_config.typed_config
            where = f"{path}.typed_dns_resolver_config.typed_config".lstrip(".")
            entry = DNS_RESOLVERS.find(packed.type_url, where)
            settings = unpack(packed, where, validate=True)
            try:
                return entry.factory(settings, self._context)
            except ConfigError as error:
                raise ConfigError(error.problem, f"{where}.{error.path}", remedy=error.remedy) from None
        settings = _deprecated_settings(config)
        return None if settings is None else DNS_RESOLVERS.find(CARES).factory(settings, self._context)


def _deprecated_settings(config: Any) -> Any | None:
    """A `CaresDnsResolverConfig` that says what the fields before it said; None if none of them is set."""
    fields = config.DESCRIPTOR.fields_by_name
    resolution = None
    if "dns_resolution_config" in fields and config.HasField("dns_resolution_config"):
        resolution = config.dns_resolution_config
    use_tcp = "use_tcp_for_dns_lookups" in fields and config.use_tcp_for_dns_lookups
    resolvers = config.dns_resolvers if "dns_resolvers" in fields else ()
    if resolution is None and not use_tcp and not resolvers:
        return None
    settings = message_class(CARES)()
    if resolution is not None:
        settings.resolvers.extend(resolution.resolvers)
        settings.dns_resolver_options.CopyFrom(resolution.dns_resolver_options)
    else:
        settings.resolvers.extend(resolvers)
        settings.dns_resolver_options.use_tcp_for_dns_lookups = use_tcp
    return settings
