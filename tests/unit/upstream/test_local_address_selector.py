from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.network.address import Address
from minienvoy.upstream.local_address_selector import LocalAddressSelector, selector_from_proto

V4, V6 = {"address": "127.0.0.1", "port_value": 0}, {"address": "::1", "port_value": 0}


def selector(**bind: Any) -> LocalAddressSelector:
    message = load_dict(bind, "envoy.config.core.v3.BindConfig").message
    return selector_from_proto(message, "Cluster a", "clusters[0].upstream_bind_config")


def chosen(made: LocalAddressSelector, host: str) -> str:
    return str(made.select(Address.ip(host, 80)).address)


def test_the_address_of_the_hosts_family_is_chosen() -> None:
    made = selector(source_address=V4, extra_source_addresses=[{"address": V6}])
    assert (chosen(made, "10.0.0.1"), chosen(made, "fc00::1")) == ("127.0.0.1:0", "[::1]:0")


def test_a_single_address_is_chosen_whether_it_fits_or_not() -> None:
    assert chosen(selector(source_address=V4), "fc00::1") == "127.0.0.1:0"


def test_a_unix_socket_needs_no_address() -> None:
    assert selector(source_address=V4).select(Address.pipe("/s")).address is None


def test_an_extra_address_may_have_options_of_its_own() -> None:
    common = {"level": 6, "name": 1, "int_value": 1, "state": "STATE_PREBIND"}
    own = {"socket_options": [{"level": 6, "name": 2, "int_value": 3, "state": "STATE_PREBIND"}]}
    made = selector(
        source_address=V4, socket_options=[common], extra_source_addresses=[{"address": V6, "socket_options": own}]
    )
    assert [option.name for option in made.select(Address("10.0.0.1", 80)).options] == [1]
    assert [option.name for option in made.select(Address.ip("fc00::1", 80)).options] == [2]


@pytest.mark.parametrize(
    ("bind", "problem"),
    [
        ({"extra_source_addresses": [{"address": V6}]}, "no source_address"),
        ({"source_address": V4, "additional_source_addresses": [V4]}, "two same IP version"),
        ({"source_address": {"address": "nowhere", "port_value": 0}}, "malformed IP address"),
    ],
)
def test_addresses_that_can_not_be(bind: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        selector(**bind)
