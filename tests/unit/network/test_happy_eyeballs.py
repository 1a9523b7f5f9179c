from __future__ import annotations

import socket

from minienvoy.network.address import Address
from minienvoy.network.happy_eyeballs import sorted_addresses

FOUR = [Address.ip(f"10.0.0.{number}", 80) for number in range(3)]
SIX = [Address.ip(f"fc00::{number}", 80) for number in range(1, 3)]


def test_families_alternate_from_that_of_the_first_address() -> None:
    assert sorted_addresses(FOUR + SIX) == [FOUR[0], SIX[0], FOUR[1], SIX[1], FOUR[2]]


def test_a_family_may_be_preferred_and_more_of_it_tried_first() -> None:
    assert sorted_addresses(FOUR + SIX, socket.AF_INET6, 2) == [*SIX, *FOUR]


def test_a_preferred_family_that_no_address_has_is_no_preference() -> None:
    assert sorted_addresses(FOUR, socket.AF_INET6) == FOUR
