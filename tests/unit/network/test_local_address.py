from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from minienvoy.network.local_address import local_address


def test_the_address_of_this_machine_is_one() -> None:
    assert isinstance(IPv4Address(local_address()), IPv4Address)
    assert isinstance(IPv6Address(local_address("v6")), IPv6Address)
