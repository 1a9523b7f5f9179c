"""What a hostile peer may make the codec hold and do, whether it is sent away or not: the same again and
again, in pieces as large as a read."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from minienvoy.http.http2.frames import frame, rst_stream, settings_frame, window_update

from .peer import POST, Server
from .test_server_connection import literal

PIECE = 64 * 1024
MOST = 6
"""Pieces; what grows without a bound grows with each of them."""
MOST_HELD = 1_500_000
"""Bytes, beside what was there: what a piece comes to, with all that the test writes down of it."""
REQUEST = b"\x82\x86\x84\x41\x01a"
BEGUN = frame(1, 1, 1, REQUEST)
POST_PAIRS = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a"))


def endless(first: bytes, again: bytes, pieces: int = MOST) -> Iterator[bytes]:
    """Pieces: `first`, and then `again` for ever."""
    data = first + again * (PIECE // len(again) + 1)
    for _ in range(pieces):
        yield data
        data = again * (PIECE // len(again) + 1)


def streams(*behind: bytes) -> Iterator[bytes]:
    """Each with a number of its own, and frames of it after its headers."""
    number, size, data = 1, 0, b""
    while size < MOST * PIECE:
        data += frame(1, 5, number, REQUEST) + b"".join(
            each[:5] + number.to_bytes(4, "big") + each[9:] for each in behind
        )
        number += 2
        if len(data) >= PIECE:
            yield data
            size += len(data)
            data = b""


SENT_AWAY: dict[str, Any] = {
    "CONTINUATION": lambda: endless(BEGUN, frame(9, 0, 1, b"\x90")),
    "CONTINUATION of nothing": lambda: endless(BEGUN, frame(9, 0, 1, b"")),
    "CONTINUATION of 16 KB": lambda: endless(BEGUN, frame(9, 0, 1, b"\0\x01a\x7f\x81\x7c" + b"x" * 16_000), 24),
    "DATA of nothing": lambda: endless(frame(1, 4, 1, literal(*POST_PAIRS)), frame(0, 0, 1)),
    "PING": lambda: endless(b"", frame(6, 0, 0, bytes(8))),
    "SETTINGS": lambda: endless(b"", settings_frame([])),
    "PRIORITY": lambda: endless(b"", frame(2, 0, 1, bytes(5))),
    "WINDOW_UPDATE": lambda: endless(b"", window_update(0, 1)),
    "resets": lambda: streams(rst_stream(1, 8)),
    "windows of nothing": lambda: streams(window_update(1, 0)),
    "hosts": lambda: endless(b"", frame(1, 5, 1, REQUEST + b"\xa6" * 15_000)),
}


def held(server: Server, pieces: Iterator[bytes]) -> tuple[int, bool]:
    """The most that was held meanwhile, and whether the peer was sent away."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    most, error = 0, False
    for piece in pieces:
        error = any(event[0] == "error" for event in server.receive(piece))
        server.connection.written = b""
        server.events.clear()
        now = tracemalloc.get_traced_memory()[0] - before - sys.getsizeof(piece)
        most = max(most, now)
        if error:
            break
    tracemalloc.stop()
    return most, error


@pytest.mark.native_codec
@pytest.mark.parametrize("attack", SENT_AWAY)
def test_who_makes_work_is_sent_away_before_much_is_held(attack: str) -> None:
    server = Server()
    most, error = held(server, SENT_AWAY[attack]())
    assert error
    assert most < MOST_HELD
    if server.streams:
        server.codec.on_connection_closed()
    assert server.codec.streams == {}


TOLERATED: dict[str, Any] = {
    "frames that nobody knows": lambda: endless(b"", frame(77, 0, 0, b"abc")),
    "frames of streams that are over": lambda: endless(frame(1, 5, 1, REQUEST) + rst_stream(1, 8), frame(0, 0, 1)),
    "header lists that are too large": lambda: streams_that_are_too_large(),
}


def streams_that_are_too_large() -> Iterator[bytes]:
    for number in range(1, 80, 2):
        yield frame(1, 5, number, REQUEST + b"\x40\x01b\x7f\xa1\x1e" + b"x" * 4000 + b"\xbe" * 5000)


@pytest.mark.native_codec
@pytest.mark.parametrize("attack", TOLERATED)
def test_what_is_tolerated_is_not_held(attack: str) -> None:
    server = Server()
    most, error = held(server, TOLERATED[attack]())
    assert not error
    assert most < MOST_HELD
    assert len(server.codec.streams) == 0


@pytest.mark.native_codec
def test_a_length_that_is_announced_is_not_reserved() -> None:
    server = Server()
    most, error = held(server, iter([frame(1, 4, 1, literal(*POST_PAIRS, (b"content-length", b"9" * 18)))]))
    assert not error
    assert most < 20_000


@pytest.mark.native_codec
def test_a_table_without_an_end_is_not_reserved() -> None:
    server = Server()
    most, error = held(server, iter([settings_frame([(1, 2**32 - 1)]), server.headers(1, *POST, end=False)]))
    assert not error
    assert most < 20_000
