"""What the routes of a virtual host share.

Envoy: `Router::CommonVirtualHostImpl`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..record import field, record
from .retry_policy import PLAIN, AttemptSettings

if TYPE_CHECKING:
    from ..config.runtime import Loader
    from ..stats.store import Store
    from .cors_policy import CorsPolicy
    from .filter_config import FilterConfigs
    from .header_parser import HeaderParser
    from .rate_limit import RateLimitPolicy
    from .shadow_writer import ShadowPolicy
    from .virtual_cluster import VirtualClusters

MAX_DIRECT_RESPONSE_BODY: Final = 4096
"""`max_direct_response_body_size_bytes` when it is not set."""


@record
class CommonVirtualHost:
    """What the routes of a virtual host have in common (`Router::CommonVirtualHostImpl`).

    Attributes:
        metadata: `filter_metadata` as plain values.
        request_parsers, response_parsers: of the virtual host and of the route configuration; None: nothing to do.
        most_specific_wins: the route has the last word on headers, not the route configuration.
        filter_configs: of the virtual host and the route configuration.
        shadow_policies: for routes that have none of their own.
        cors_policy: of the older field, or None.
        attempts: of routes that say nothing of retries themselves.
        rate_limits: of the virtual host.
        store: for the statistics of routes that have their own.
        virtual_clusters: that its requests are counted by, or None.
        max_body: of direct responses, in bytes.
        takes_scheme_of_upstream: requests get the scheme that the connection to the upstream stands for.
    """

    name: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    request_parsers: tuple[HeaderParser | None, HeaderParser | None] = (None, None)
    response_parsers: tuple[HeaderParser | None, HeaderParser | None] = (None, None)
    most_specific_wins: bool = False
    filter_configs: FilterConfigs | None = None
    shadow_policies: tuple[ShadowPolicy, ...] = ()
    cors_policy: CorsPolicy | None = None
    attempts: AttemptSettings = PLAIN
    rate_limits: RateLimitPolicy | None = None
    max_body: int = MAX_DIRECT_RESPONSE_BODY
    takes_scheme_of_upstream: bool = False
    random: Callable[[], int] = lambda: 0
    runtime: Loader | None = None
    sources: Any = None
    store: Store | None = None
    virtual_clusters: VirtualClusters | None = None


def header_parser(to_add: Sequence[Any], to_remove: Sequence[str], path: str, sources: Any) -> HeaderParser | None:
    """What one level does to headers; None if it does nothing. Raises ConfigError below `path`."""
    if not to_add and not to_remove:
        return None
    from .header_parser import HeaderParser

    return HeaderParser.from_proto(to_add, to_remove, path, sources)
