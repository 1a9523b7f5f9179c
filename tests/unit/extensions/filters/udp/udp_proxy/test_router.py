"""Which cluster a datagram goes to."""

from __future__ import annotations

import pytest

from minienvoy.config.api import message_class
from minienvoy.errors import ConfigError
from minienvoy.extensions.filters.udp.udp_proxy.config import TYPE
from minienvoy.extensions.filters.udp.udp_proxy.router import Router
from minienvoy.network.address import Address

HERE, THERE = Address("127.0.0.1", 53), Address("10.1.2.3", 4000)
INPUTS = "envoy.extensions.matching.common_inputs.network.v3"


def packed(name: str, **values):
    message = message_class("xds.core.v3.TypedExtensionConfig")(name="x")
    message.typed_config.Pack(message_class(name)(**values))
    return message


def router(name: str, value: str) -> Router:
    route = "envoy.extensions.filters.udp.udp_proxy.v3.Route"
    config = message_class(TYPE)()
    config.matcher.matcher_tree.input.CopyFrom(packed(f"{INPUTS}.{name}"))
    config.matcher.matcher_tree.exact_match_map.map[value].action.CopyFrom(packed(route, cluster="found"))
    config.matcher.on_no_match.action.CopyFrom(packed(route, cluster="other"))
    return Router(config, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DestinationIPInput", "127.0.0.1"),
        ("DestinationPortInput", "53"),
        ("SourceIPInput", "10.1.2.3"),
        ("SourcePortInput", "4000"),
    ],
)
def test_a_matcher_knows_both_ends_of_a_datagram(name, value):
    made = router(name, value)
    assert made.only is None
    assert made.clusters == {"found", "other"}
    assert made.route(HERE, THERE) == "found"
    assert made.route(Address("127.0.0.9", 9), Address("10.0.0.1", 1)) == "other"


def test_a_matcher_that_needs_not_be_asked_is_not():
    assert Router(message_class(TYPE)(cluster="users"), None).only == "users"
    config = message_class(TYPE)()
    config.matcher.SetInParent()
    assert Router(config, None).only == ""


def test_what_datagrams_do_not_have_is_refused():
    with pytest.raises(ConfigError, match=r"with type URL: .*ServerName"):
        router("ServerNameInput", "a.test")
