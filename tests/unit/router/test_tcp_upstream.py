"""CONNECT that ends here: what a route may ask for."""

from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.network.proxy_protocol_header import proxy_protocol_v1, proxy_protocol_v2
from minienvoy.router.tcp_upstream import ConnectConfig, connect_config


def compiled(*upgrades: dict[str, Any]) -> ConnectConfig | None:
    action = load_dict({"cluster": "a", "upgrade_configs": list(upgrades)}, "envoy.config.route.v3.RouteAction").message
    return connect_config(action.upgrade_configs, "upgrade_configs")


def test_only_connect_is_a_tunnel_unless_post_may_be_one() -> None:
    plain = compiled({"upgrade_type": "CONNECT", "connect_config": {}})
    posts = compiled({"upgrade_type": "connect", "connect_config": {"allow_post": True}})
    assert plain is not None
    assert posts is not None
    assert plain.methods == {b"CONNECT"}
    assert posts.methods == {b"CONNECT", b"POST"}
    assert plain.make_header is None


def test_without_connect_config_the_tunnel_goes_on() -> None:
    assert compiled({"upgrade_type": "CONNECT"}, {"upgrade_type": "websocket"}) is None


def test_the_header_of_the_proxy_protocol_has_two_versions() -> None:
    one = compiled({"upgrade_type": "CONNECT", "connect_config": {"proxy_protocol_config": {}}})
    two = compiled({"upgrade_type": "CONNECT", "connect_config": {"proxy_protocol_config": {"version": "V2"}}})
    assert one is not None
    assert two is not None
    assert one.make_header is proxy_protocol_v1
    assert two.make_header is proxy_protocol_v2


def test_another_upgrade_has_no_connect_config() -> None:
    with pytest.raises(ConfigError, match="Non-CONNECT upgrade type websocket has ConnectConfig"):
        compiled({"upgrade_type": "websocket", "connect_config": {}})
