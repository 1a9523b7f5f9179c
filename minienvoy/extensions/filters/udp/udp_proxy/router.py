"""Which cluster a datagram goes to.

Envoy: `Extensions::UdpFilters::UdpProxy::Router::RouterImpl`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from .....config.api import unpack
from .....config.extension import find_extension
from .....config.fields import honours
from .....matchers.match_tree import MatchContext, compile_match_tree
from .....registry import Registry
from .....server.udp_matching import UDP_CUSTOM_MATCHERS, UDP_INPUTS, UdpMatchingData

if TYPE_CHECKING:
    from .....network.address import Address

ROUTE_TYPE: Final = "envoy.extensions.filters.udp.udp_proxy.v3.Route"
UDP_ROUTES: Registry[Callable[[Any], str]] = Registry("envoy.matching.action.udp_route")
"""Takes the configuration of an action; gives the name of the cluster."""

honours(ROUTE_TYPE, "cluster")


@UDP_ROUTES.register("route", ROUTE_TYPE)
def _cluster(config: Any) -> str:
    return str(config.cluster)


class Router:
    """Attributes:
    clusters: all that a datagram may go to.
    only: where every datagram goes, empty for nowhere; None where the matcher has to be asked.
    """

    def __init__(self, config: Any, server: Any) -> None:
        """By an `UdpProxyConfig`: the cluster that it names, or what its `matcher` chooses.

        Raises:
            ConfigError: the matcher asks for what datagrams do not have, or chooses what is no cluster.
        """
        self.clusters: set[str] = set()
        self.only: str | None = None
        if config.WhichOneof("route_specifier") == "cluster":
            self.clusters.add(config.cluster)
            self.only = config.cluster
            return
        context = MatchContext(UDP_INPUTS, UDP_CUSTOM_MATCHERS, self._compile_action, server)
        self._match = compile_match_tree(config.matcher, "matcher", context)
        if config.matcher.WhichOneof("matcher_type") is None:
            self.only = self._match(None) or ""

    def route(self, local_address: Address, peer_address: Address) -> str:
        """The cluster of a datagram, by where it was sent to and who has sent it; empty for none."""
        found = self._match(UdpMatchingData(local_address, peer_address))
        return found if isinstance(found, str) else ""

    def _compile_action(self, action: Any, where: str) -> str:
        entry = find_extension(UDP_ROUTES, action, where)
        cluster = entry.factory(unpack(action.typed_config, f"{where}.typed_config", validate=True))
        self.clusters.add(cluster)
        return cluster
