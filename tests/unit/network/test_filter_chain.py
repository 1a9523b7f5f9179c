"""Which chain takes which connection, and in which order the criteria count."""

from __future__ import annotations

import socket
from typing import Any, cast

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.explain.explanation import Explanation
from minienvoy.network.address import Address
from minienvoy.network.filter_chain import FilterChain, FilterChainManager, FilterChainMatch
from minienvoy.network.socket import ConnectionSocket
from minienvoy.stream_info import ConnectionInfo


def match(**fields: Any) -> FilterChainMatch:
    config = load_dict(fields, "envoy.config.listener.v3.FilterChainMatch").message
    return FilterChainMatch.from_proto(config, "match", "x")


def ranges(*prefixes: str) -> list[dict[str, Any]]:
    return [{"address_prefix": each.split("/")[0], "prefix_len": int(each.split("/")[1])} for each in prefixes]


def manager(default: bool = False, **chains: dict[str, Any]) -> FilterChainManager:
    made = [FilterChain(name, (), match(**fields)) for name, fields in chains.items()]
    return FilterChainManager(made, FilterChain("default", ()) if default else None)


def accepted(
    local: str = "10.0.0.1:80",
    remote: str = "192.168.0.9:5000",
    server_name: str = "",
    transport: str = "",
    alpn: tuple[str, ...] = (),
    direct: str = "",
) -> ConnectionSocket:
    def address(text: str) -> Address:
        if text.startswith("/"):
            return Address.pipe(text)
        host, _, port = text.rpartition(":")
        return Address(host.strip("[]"), int(port))

    info = ConnectionInfo(address(local), address(remote), 1)
    if direct:
        info.direct_remote_address = address(direct)
    info.requested_server_name = server_name
    made = ConnectionSocket(cast(socket.socket, None), info)
    made.detected_transport_protocol = transport
    made.requested_application_protocols = alpn
    return made


def found(chains: FilterChainManager, *args: Any, **facts: Any) -> str | None:
    chain = chains.find(accepted(*args, **facts))
    return None if chain is None else chain.name


def test_chain_without_criteria_takes_everything() -> None:
    chains = manager(only={})
    assert found(chains) == "only"
    assert found(chains, "/run/s", "/run/c") == "only"
    assert found(chains, "[::1]:80", "[::2]:1", server_name="a.com", transport="tls") == "only"


def test_nothing_matches_without_a_default() -> None:
    assert found(manager(a={"destination_port": 81})) is None


def test_default_takes_what_nothing_else_takes() -> None:
    assert found(manager(default=True, a={"destination_port": 81})) == "default"


def test_default_alone_takes_everything() -> None:
    assert found(manager(default=True)) == "default"


def test_destination_port_counts_first_and_does_not_fall_back() -> None:
    chains = manager(default=True, port={"destination_port": 80, "server_names": ["a.com"]}, any={})
    assert found(chains, server_name="a.com") == "port"
    assert found(chains, server_name="b.com") == "default", "an entry for the port hides the entries without one"
    assert found(chains, local="10.0.0.1:81") == "any"


def test_a_chain_for_every_address_comes_before_one_that_asks_for_none() -> None:
    chains = manager(
        silent={"source_type": "SAME_IP_OR_LOOPBACK"},
        every={"prefix_ranges": ranges("0.0.0.0/0"), "server_names": ["a.com"]},
    )
    assert found(chains, server_name="a.com") == "every"
    assert found(chains) is None
    assert found(chains, "[::1]:80", "[::1]:1") == "silent"


def test_a_unix_socket_is_the_last_of_all_addresses() -> None:
    chains = manager(last={"prefix_ranges": ranges("255.0.0.0/8"), "source_prefix_ranges": ranges("128.0.0.0/1")})
    assert found(chains, "/run/s", "/run/c") == "last"


def test_names_of_servers_have_no_capitals() -> None:
    assert found(manager(a={"server_names": ["A.Com"]}), server_name="a.com") == "a"
    with pytest.raises(ConfigError, match="overlapping matching rules"):
        manager(a={"server_names": ["a.com", "A.com"]})


def test_narrowest_destination_range_wins_and_does_not_fall_back() -> None:
    chains = manager(
        wide={"prefix_ranges": ranges("10.0.0.0/8")},
        narrow={"prefix_ranges": ranges("10.0.0.0/24"), "server_names": ["a.com"]},
    )
    assert found(chains, server_name="a.com") == "narrow"
    assert found(chains, server_name="b.com") is None
    assert found(chains, local="10.9.0.1:80") == "wide"
    assert found(chains, local="11.0.0.1:80") is None
    assert found(chains, local="/run/s") is None


@pytest.mark.parametrize(
    ("server_name", "chain"),
    [
        ("a.com", "exact"),
        ("x.a.com", "sub"),
        ("y.x.a.com", "sub"),
        ("deep.b.com", "deep_b"),
        ("c.b.com", "b"),
        ("b.com", "com"),
        ("d.com", "com"),
        ("com", "none"),
        ("", "none"),
        ("d.org", "none"),
    ],
)
def test_server_name_exact_then_the_longest_wildcard_then_none(server_name: str, chain: str) -> None:
    chains = manager(
        exact={"server_names": ["a.com"]},
        sub={"server_names": ["*.a.com"]},
        deep_b={"server_names": ["deep.b.com", "*.deep.b.com"]},
        b={"server_names": ["*.b.com"]},
        com={"server_names": ["*.com"]},
        none={},
    )
    assert found(chains, server_name=server_name) == chain


def test_server_name_comes_before_transport_protocol() -> None:
    chains = manager(name={"server_names": ["a.com"]}, tls={"transport_protocol": "tls"})
    assert found(chains, server_name="a.com", transport="tls") == "name"
    assert found(chains, server_name="b.com", transport="tls") == "tls"
    assert found(chains, transport="raw_buffer") is None


def test_first_requested_application_protocol_that_is_known_counts() -> None:
    chains = manager(
        h1={"application_protocols": ["http/1.1", "http/1.0"]}, h2={"application_protocols": ["h2"]}, any={}
    )
    assert found(chains, alpn=("h3", "h2", "http/1.1")) == "h2"
    assert found(chains, alpn=("http/1.1", "h2")) == "h1"
    assert found(chains, alpn=("foo",)) == "any"
    assert found(chains) == "any"


def test_direct_source_is_the_peer_of_the_socket() -> None:
    chains = manager(proxy={"direct_source_prefix_ranges": ranges("10.0.0.0/8")}, any={})
    assert found(chains, remote="1.2.3.4:1", direct="10.1.1.1:1") == "proxy"
    assert found(chains, remote="10.1.1.1:1", direct="1.2.3.4:1") == "any"


@pytest.mark.parametrize(
    ("local", "remote", "chain"),
    [
        ("10.0.0.1:80", "10.0.0.1:1", "local"),
        ("10.0.0.1:80", "127.0.0.1:1", "local"),
        ("127.0.0.1:80", "127.0.0.2:1", "external"),
        ("[::1]:80", "[::1]:1", "local"),
        ("/run/s", "/run/c", "local"),
        ("10.0.0.1:80", "10.0.0.2:1", "external"),
    ],
)
def test_source_type(local: str, remote: str, chain: str) -> None:
    chains = manager(any={}, local={"source_type": "SAME_IP_OR_LOOPBACK"}, external={"source_type": "EXTERNAL"})
    assert found(chains, local, remote) == chain


def test_source_type_that_nobody_asks_for_falls_to_any() -> None:
    chains = manager(any={}, local={"source_type": "SAME_IP_OR_LOOPBACK"})
    assert found(chains, remote="10.0.0.2:1") == "any"


def test_source_range_then_source_port() -> None:
    chains = manager(
        any={},
        lan={"source_prefix_ranges": ranges("192.168.0.0/16", "fd00::/8")},
        port={"source_prefix_ranges": ranges("192.168.0.0/16"), "source_ports": [5000, 5001]},
        host={"source_prefix_ranges": ranges("192.168.0.7/32"), "source_ports": [5000]},
    )
    assert found(chains) == "port"
    assert found(chains, remote="192.168.0.9:6000") == "lan"
    assert found(chains, remote="[fd12::1]:5000", local="[::1]:80") == "lan"
    assert found(chains, remote="192.168.0.7:5000") == "host"
    assert found(chains, remote="192.168.0.7:5001") is None, "the narrower range hides the wider one"
    assert found(chains, remote="8.8.8.8:5000") == "any"


def test_range_of_everything_is_not_for_the_other_family() -> None:
    chains = manager(default=True, v4={"source_prefix_ranges": ranges("0.0.0.0/0")})
    assert found(chains) == "v4"
    assert found(chains, remote="[::1]:1") == "default"


def test_overlapping_chains_are_refused() -> None:
    with pytest.raises(ConfigError, match="multiple filter chains with overlapping matching rules are defined"):
        manager(a={"server_names": ["a.com", "b.com"]}, b={"server_names": ["b.com"]})


def test_same_range_in_other_words_overlaps() -> None:
    with pytest.raises(ConfigError, match="overlapping"):
        manager(a={"prefix_ranges": ranges("1.2.3.4/24")}, b={"prefix_ranges": ranges("1.2.3.5/24")})


@pytest.mark.parametrize("name", ["*", "*w.com", "a.*.com", "*.*.com"])
def test_partial_wildcard_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match='partial wildcards are not supported in "server_names"') as error:
        match(server_names=["ok.com", name])
    assert error.value.path == "match.server_names[1]"


def test_fields_that_envoy_does_not_implement_are_refused() -> None:
    with pytest.raises(ConfigError, match="filter chain 'x' contains unimplemented fields"):
        match(address_suffix="1.2.3.4")


def test_choice_is_explained_with_what_was_not_chosen() -> None:
    explain = Explanation()
    chains = manager(a={"destination_port": 80}, b={"destination_port": 81})
    chains.find(accepted(), explain)
    assert explain["filter_chain"].chose == "a"
    assert explain["filter_chain"].rejected == ("b",)
    chains.find(accepted(local="10.0.0.1:82"), explain)
    assert explain["filter_chain"].chose is None
    assert explain["filter_chain"].because == "filter_chain_not_found"
