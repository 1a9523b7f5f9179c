from __future__ import annotations

import pytest

from minienvoy.network.address import Address


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        (Address.ip("127.0.0.1", 1), True),
        (Address.ip("::1", 1), True),
        (Address.ip("0:0:0:0:0:0:0:1", 1), True),
        (Address.ip("127.0.0.2", 1), False),
        (Address.ip("10.0.0.1", 1), False),
        (Address.pipe("/run/s"), False),
    ],
)
def test_only_the_canonical_loopback_addresses_are_loopback(address: Address, loopback: bool) -> None:
    assert address.is_loopback is loopback
