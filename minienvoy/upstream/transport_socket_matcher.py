"""Which transport socket a host is spoken to with.

Envoy: `Upstream::TransportSocketMatcherImpl`; `envoy.config.cluster.v3.Cluster.TransportSocketMatch`. The first match
of which every value is in the host's metadata, under `envoy.transport_socket_match`; the cluster's own if there is
none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..config.fields import honours
from ..network.transport_socket import (
    UPSTREAM_TRANSPORT_SOCKETS,
    TransportSocketFactory,
    UpstreamTransportContext,
    create_transport_socket,
)
from .cluster_stats import TransportSocketMatchStats
from .load_assignment import plain_struct

if TYPE_CHECKING:
    from .host import Host

METADATA: Final = "envoy.transport_socket_match"

honours("envoy.config.cluster.v3.Cluster.TransportSocketMatch", "name", "transport_socket", whole=("match",))


class TransportSocketMatch(NamedTuple):
    """One that a host may ask for; `factory` is None for plain connections."""

    wanted: Mapping[str, Any]
    factory: TransportSocketFactory | None
    stats: TransportSocketMatchStats


class TransportSocketMatcher:
    """Compiled from the cluster's `transport_socket_matches`.

    Raises:
        ConfigError: a transport socket can not be had.
    """

    def __init__(self, configs: Any, context: UpstreamTransportContext, path: str) -> None:
        self._matches = [
            TransportSocketMatch(
                plain_struct(each.match),
                create_transport_socket(
                    UPSTREAM_TRANSPORT_SOCKETS, each.transport_socket, context, f"{path}[{at}].transport_socket"
                ),
                context.scope.scope(each.name).struct(TransportSocketMatchStats),
            )
            for at, each in enumerate(configs)
        ]

    @property
    def factories(self) -> list[TransportSocketFactory | None]:
        return [match.factory for match in self._matches]

    @property
    def may_be_plain(self) -> bool:
        """There is a match that nothing can be negotiated with (`allMatchesSupportAlpn`)."""
        return any(match.factory is None for match in self._matches)

    def find(self, host: Host) -> TransportSocketMatch | None:
        """None if it is the cluster's own."""
        return self.find_for(host.metadata.get(METADATA, {}))

    def find_for(self, found: Mapping[str, Any]) -> TransportSocketMatch | None:
        """As `find`, for what a host has under `METADATA`, or what a health check says instead."""
        for match in self._matches:
            if all(key in found and found[key] == value for key, value in match.wanted.items()):
                return match
        return None
