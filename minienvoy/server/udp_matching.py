"""What match trees can ask of a datagram.

Envoy: `Network::UdpMatchingData`; docs "UDP proxy > Routing".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ..matchers.match_tree import CandidatesRegistry, InputRegistry
from ..registry import Registry

if TYPE_CHECKING:
    from ..network.address import Address

UDP_INPUTS: Final[InputRegistry] = Registry("envoy.matching.udp.input")
UDP_CUSTOM_MATCHERS: Final[CandidatesRegistry] = Registry("envoy.matching.udp.custom_matchers")


class UdpMatchingData(NamedTuple):
    """A datagram for which a cluster is looked for."""

    local_address: Address
    peer_address: Address
