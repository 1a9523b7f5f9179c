from __future__ import annotations

import asyncio
from typing import Any, cast

from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.http.http2.frames import frame
from minienvoy.http.http2.keepalive import Keepalive

from .peer import Server


class NoLoop:
    def time(self) -> float:
        return 0.0


class Kept:
    """A downstream codec whose peer is asked whether it is there."""

    def __init__(self, draw: float = 0.0, **settings: Any) -> None:
        self.dispatcher = SimulatedDispatcher(cast(asyncio.AbstractEventLoop, NoLoop()))
        self.server = Server(**{"keepalive_timeout": 2.0, "keepalive_jitter": 20.0, **settings})
        self.given_up: list[float] = []
        self.keepalive = self.server.codec.keepalive = Keepalive(
            self.server.codec, self.dispatcher, lambda: draw, lambda: self.given_up.append(self.passed)
        )
        self.start = self.dispatcher.monotonic_time()

    @property
    def passed(self) -> float:
        return round(self.dispatcher.monotonic_time() - self.start, 1)

    def pings_after(self, seconds: float) -> int:
        self.dispatcher.advance(seconds)
        return sum(kind == "PING" and not flags for kind, flags, _, _ in self.server.frames())

    def answer(self) -> None:
        self.server.receive(frame(6, 1, 0, b"12345678"))


def test_a_peer_that_answers_is_asked_again_an_interval_after_its_answer() -> None:
    kept = Kept(keepalive_interval=10.0)
    assert kept.pings_after(9.9) == 0
    assert kept.pings_after(0.2) == 1
    kept.answer()
    assert kept.pings_after(9.8) == 0
    assert kept.pings_after(0.3) == 1
    assert kept.given_up == []


def test_a_peer_that_does_not_answer_is_given_up_after_the_timeout() -> None:
    kept = Kept(keepalive_interval=10.0)
    assert kept.pings_after(30) == 1
    assert kept.given_up == [12.0]
    assert kept.server.stats.keepalive_timeout == 1


def test_whatever_comes_gives_the_answer_its_whole_time_again() -> None:
    kept = Kept(keepalive_interval=10.0)
    kept.pings_after(11.5)
    kept.server.receive(frame(6, 0, 0, b"12345678"))
    kept.dispatcher.advance(10)
    assert kept.given_up == [13.5]


def test_jitter_makes_the_interval_longer_by_its_percentage() -> None:
    kept = Kept(draw=0.5, keepalive_interval=10.0)
    assert kept.pings_after(10.9) == 0
    assert kept.pings_after(0.2) == 1


def test_a_stream_after_silence_brings_a_ping_where_that_is_wanted() -> None:
    kept = Kept(keepalive_idle_interval=5.0)
    kept.keepalive.on_new_stream()
    assert kept.pings_after(6) == 0
    kept.keepalive.on_new_stream()
    kept.keepalive.on_new_stream()
    assert kept.pings_after(0) == 1
    kept.answer()
    assert kept.pings_after(20) == 0
    assert kept.given_up == []


def test_nothing_is_asked_once_the_connection_is_gone() -> None:
    kept = Kept(keepalive_interval=10.0)
    kept.server.codec.on_connection_closed()
    assert kept.pings_after(30) == 0
    assert kept.given_up == []
