"""Upgrades of HTTP/1.1: WebSocket and what else `upgrade_configs` lets through."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from minienvoy.errors import ConfigError
from tests.unit.http_bench import Bench

MakeBench = Callable[..., Bench]
HCM = {"upgrade_configs": [{"upgrade_type": "websocket"}]}
REQUEST = b"GET / HTTP/1.1\r\nhost: a.com\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\n\r\n"
GRANTED = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


def test_after_an_upgrade_bytes_go_both_ways(bench: MakeBench) -> None:
    b = bench(hcm=HCM)
    client = b.client().send(REQUEST)
    assert b"connection: Upgrade\r\nupgrade: WebSocket\r\n" in b.upstream.received()
    b.upstream.send(GRANTED + b"hello")
    answer = client.received()
    assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n")
    assert answer.endswith(b"\r\n\r\nhello")
    client.send(b"\x81\x02hi")
    assert b.upstream.received() == b"\x81\x02hi"
    b.upstream.send(b"\x81\x00")
    assert client.received() == b"\x81\x00"
    assert b.stats("http.downstream_cx_upgrades_total", "http.downstream_cx_upgrades_active") == [1, 1]


def test_bytes_right_behind_the_request_go_upstream_when_the_upgrade_is_granted(bench: MakeBench) -> None:
    b = bench(hcm=HCM)
    b.client().send(REQUEST + b"early")
    assert b.upstream.received().endswith(b"\r\n\r\n")
    b.upstream.send(GRANTED)
    assert b.upstream.received() == b"early"


def test_bytes_right_behind_the_request_are_not_for_who_refuses_it(bench: MakeBench) -> None:
    b = bench(hcm=HCM)
    client = b.client().send(REQUEST + b"early")
    b.upstream.received()
    b.upstream.send(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
    assert client.received().startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b.upstream.received() == b""


def test_a_handshake_has_the_time_of_its_route_and_the_tunnel_any_time(bench: MakeBench) -> None:
    b = bench([{"match": {"prefix": "/"}, "route": {"cluster": "a", "timeout": "0.3s"}}], hcm=HCM)
    client = b.client().send(REQUEST)
    b.advance(0.4)
    assert client.received().startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
    client = b.client().send(REQUEST)
    b.upstream.send(GRANTED)
    b.advance(1)
    assert client.received().startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert not client.gone


def test_an_upstream_that_leaves_ends_the_tunnel(bench: MakeBench) -> None:
    b = bench(hcm=HCM)
    client = b.client().send(REQUEST)
    b.upstream.send(GRANTED)
    b.upstream.close()
    assert b.stream.response_code_details == "upstream_reset_after_response_started{connection_termination}"
    assert not client.gone
    b.advance(1)
    assert client.gone
    assert b.stats("http.downstream_cx_upgrades_active", "cluster.upstream_rq_active") == [0, 0]
    assert b.stat("cluster.upstream_cx_destroy_remote_with_active_rq") == 1


def test_a_client_that_leaves_ends_the_tunnel(bench: MakeBench) -> None:
    b = bench(hcm=HCM)
    client = b.client().send(REQUEST)
    b.upstream.send(GRANTED)
    client.close()
    assert b.upstream.closed
    assert b.stream.response_code_details == "downstream_remote_disconnect"


def test_an_upgrade_that_the_upstream_refuses_closes_the_connection(bench: MakeBench) -> None:
    b = bench(hcm=HCM)
    client = b.client().send(REQUEST)
    b.upstream.send(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")
    answer = client.received()
    assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"connection: close\r\n" in answer
    b.advance(1)
    assert client.gone


@pytest.mark.parametrize("config", [[], [{"upgrade_type": "other"}], [{"upgrade_type": "websocket", "enabled": False}]])
def test_what_is_not_let_through_is_answered_403(bench: MakeBench, config: list[dict[str, object]]) -> None:
    b = bench(hcm={"upgrade_configs": config})
    assert b.client().send(REQUEST).received().startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b.stats("http.downstream_rq_ws_on_non_ws_route", "http.downstream_cx_upgrades_total") == [1, 0]


def test_an_upgrade_is_configured_once(bench: MakeBench) -> None:
    with pytest.raises(ConfigError, match=r"upgrade_configs\[1\]"):
        bench(hcm={"upgrade_configs": [{"upgrade_type": "a"}, {"upgrade_type": "A"}]})
