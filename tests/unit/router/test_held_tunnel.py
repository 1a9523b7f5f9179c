"""What a client says before its tunnel is there."""

from __future__ import annotations

from typing import Any

from minienvoy.http.header_map import HeaderMap
from minienvoy.router.held_tunnel import HeldTunnel


class Encoder:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def encode_headers(self, headers: Any, end_stream: bool) -> None:
        self.told.append(("headers", end_stream))

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        self.told.append((data, end_stream))

    def encode_trailers(self, trailers: HeaderMap) -> None:
        self.told.append("trailers")


def held(limit: int) -> tuple[HeldTunnel, Encoder, list[bool]]:
    encoder, watermarks = Encoder(), []  # type: Encoder, list[bool]
    return HeldTunnel(encoder, True, True, limit, watermarks.append), encoder, watermarks


def test_what_is_kept_leaves_in_its_order_when_the_tunnel_is_there() -> None:
    tunnel, encoder, _ = held(100)
    tunnel.encode_data(b"a", False)
    tunnel.encode_data(b"b", True)
    assert encoder.told == []
    assert tunnel.release() is encoder
    assert encoder.told == [(b"ab", True)]


def test_trailers_come_last() -> None:
    tunnel, encoder, _ = held(100)
    tunnel.encode_data(b"a", False)
    tunnel.encode_trailers(HeaderMap([]))
    tunnel.release()
    assert encoder.told == [(b"a", False), "trailers"]


def test_who_says_more_than_the_limit_is_stopped_until_the_tunnel_is_there() -> None:
    tunnel, encoder, watermarks = held(3)
    tunnel.encode_data(b"abc", False)
    assert watermarks == []
    tunnel.encode_data(b"d", False)
    tunnel.encode_data(b"e", False)
    assert watermarks == [True]
    tunnel.release()
    assert watermarks == [True, False]
    assert encoder.told == [(b"abcde", False)]


def test_no_limit_stops_nobody() -> None:
    tunnel, _, watermarks = held(0)
    tunnel.encode_data(b"a" * 1000, False)
    assert watermarks == []
