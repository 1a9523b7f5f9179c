from __future__ import annotations

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.network.address import Address
from minienvoy.network.cidr import EVERYWHERE, CidrMap, CidrRange, CidrSet


def test_range_holds_the_addresses_with_its_prefix() -> None:
    cidr = CidrRange.parse("10.1.2.3", 8)
    assert str(cidr) == "10.0.0.0/8"
    assert Address("10.255.0.1", 80) in cidr
    assert Address("11.0.0.1", 80) not in cidr
    assert Address("::1", 80) not in cidr
    assert Address.pipe("/x") not in cidr


def test_ipv6_range() -> None:
    cidr = CidrRange.parse("2001:db8::1", 32)
    assert str(cidr) == "2001:db8::/32"
    assert Address("2001:db8:ffff::", 1) in cidr
    assert Address("fe80::1%lo", 1) not in cidr


def test_prefix_that_is_too_long_is_the_whole_address() -> None:
    assert CidrRange.parse("1.2.3.4", 40) == CidrRange.parse("1.2.3.4", 32)


def test_name_is_no_address() -> None:
    with pytest.raises(ConfigError, match=r"^a\.b: malformed IP address: nope$"):
        CidrRange.parse("nope", 8, "a.b")


def test_narrowest_range_wins() -> None:
    ranges = {"10.0.0.0/8": "wide", "10.1.0.0/16": "narrow", "10.1.1.1/32": "host"}
    cidrs = CidrMap(
        (CidrRange.parse(key.split("/")[0], int(key.split("/")[1])), value) for key, value in ranges.items()
    )
    assert cidrs.find(Address("10.2.0.1", 1)) == "wide"
    assert cidrs.find(Address("10.1.0.1", 1)) == "narrow"
    assert cidrs.find(Address("10.1.1.1", 1)) == "host"
    assert cidrs.find(Address("9.0.0.1", 1)) is None
    assert cidrs.find(Address("::1", 1)) is None
    assert cidrs.find(Address.pipe("/x")) is None


def test_everywhere_is_every_ip_address() -> None:
    everywhere = CidrSet(EVERYWHERE)
    assert Address("255.255.255.255", 1) in everywhere
    assert Address("::", 1) in everywhere
    assert Address.pipe("@x") not in everywhere


def test_set_is_made_from_messages() -> None:
    config = load_dict(
        {
            "prefix_ranges": [
                {"address_prefix": "127.0.0.0", "prefix_len": 8},
                {"address_prefix": "::1", "prefix_len": 128},
            ]
        },
        "envoy.config.listener.v3.FilterChainMatch",
    ).message
    local = CidrSet.from_protos(config.prefix_ranges, "match.prefix_ranges")
    assert Address("127.9.9.9", 1) in local
    assert Address("::1", 1) in local
    assert Address("::2", 1) not in local
    assert not CidrSet(())
