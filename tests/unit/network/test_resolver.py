from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.network.resolver import resolve_proto_address


def resolve(**address: Any) -> str:
    return resolve_proto_address(load_dict(address, "envoy.config.core.v3.Address").message, "here").text


def test_ip_addresses_are_printed_as_envoy_prints_them() -> None:
    assert resolve(socket_address={"address": "127.0.0.1", "port_value": 80}) == "127.0.0.1:80"
    assert resolve(socket_address={"address": "0:0::1", "port_value": 0}) == "[::1]:0"


def test_unix_sockets() -> None:
    assert resolve(pipe={"path": "/run/s"}) == "/run/s"
    assert resolve(pipe={"path": "@abstract"}) == "@abstract"


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ({"socket_address": {"address": "localhost", "port_value": 1}}, "malformed IP address: localhost"),
        (
            {"socket_address": {"address": "1.2.3.4", "named_port": "http"}},
            "IP resolver can't handle port specifier type 4",
        ),
        (
            {"socket_address": {"address": "1.2.3.4", "port_value": 1, "resolver_name": "x"}},
            "Unknown address resolver: x",
        ),
        ({"pipe": {"path": "@x", "mode": 384}}, "Cannot set mode for Abstract AF_UNIX sockets"),
        ({"pipe": {"path": "/" + "x" * 107}}, "exceeds maximum UNIX domain socket path size of 108"),
        ({"envoy_internal_address": {"server_listener_name": "x"}}, "Failed to resolve address"),
    ],
)
def test_refusals_are_in_envoys_words(address: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        resolve(**address)
    assert problem in error.value.problem
    assert error.value.path.startswith("here")
