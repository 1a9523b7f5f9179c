"""`minienvoy.event.write_queue`: what is written in a turn of the event loop leaves at its end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from minienvoy.event.write_queue import WriteBuffer, WriteQueue


class Turn:
    """The queue of an event loop whose turns a test ends."""

    def __init__(self) -> None:
        self.posted: list[Callable[[], None]] = []
        self.queue = WriteQueue(self.posted.append)
        self.sent: list[tuple[str, bytes]] = []

    def buffer(self, name: str) -> WriteBuffer:
        made = WriteBuffer()
        made.send = lambda data: self.sent.append((name, data))
        return made

    def write(self, buffer: WriteBuffer, data: bytes) -> None:
        buffer.chunks.append(data)
        if len(buffer.chunks) == 1:
            self.queue.waiting.append(buffer)
            if len(self.queue.waiting) == 1:
                self.queue.call_soon(self.queue.flush)

    def end(self) -> None:
        posted, self.posted[:] = self.posted[:], []
        for callback in posted:
            callback()


def test_what_is_written_leaves_at_the_end_of_the_turn_in_order_and_in_one_piece_for_each() -> None:
    turn = Turn()
    a, b = turn.buffer("a"), turn.buffer("b")
    for buffer, data in ((a, b"1"), (b, b"2"), (a, b"3")):
        turn.write(buffer, data)
    assert turn.sent == []
    turn.end()
    assert turn.sent == [("a", b"13"), ("b", b"2")]
    turn.end()
    assert len(turn.sent) == 2


def test_what_was_flushed_before_does_not_leave_twice() -> None:
    turn = Turn()
    a = turn.buffer("a")
    turn.write(a, b"1")
    a.flush()
    assert turn.sent == [("a", b"1")]
    turn.write(a, b"2")
    turn.end()
    assert turn.sent == [("a", b"1"), ("a", b"2")]


def test_what_is_written_while_others_leave_leaves_in_the_next_turn() -> None:
    turn = Turn()
    a, b = turn.buffer("a"), turn.buffer("b")
    a.send = lambda data: turn.write(b, data)
    turn.write(a, b"1")
    turn.end()
    assert turn.sent == []
    turn.end()
    assert turn.sent == [("b", b"1")]


def test_a_transport_that_raises_keeps_nobody_else_waiting() -> None:
    turn = Turn()
    a, b = turn.buffer("a"), turn.buffer("b")

    def fail(data: bytes) -> None:
        raise OSError(data)

    a.send = fail
    turn.write(a, b"1")
    turn.write(b, b"2")
    with pytest.raises(OSError, match="1"):
        turn.end()
    turn.end()
    assert turn.sent == [("b", b"2")]


def test_a_buffer_without_a_transport_loses_what_is_written() -> None:
    turn = Turn()
    lost = WriteBuffer()
    turn.write(lost, b"1")
    turn.end()
    assert lost.chunks == []


def test_a_writer_is_called_once_before_the_turn_ends_and_what_it_writes_leaves_with_the_rest() -> None:
    turn = Turn()
    a, b = turn.buffer("a"), turn.buffer("b")
    turn.queue.write_soon(lambda: turn.write(b, b"late"))
    turn.write(a, b"1")
    turn.end()
    assert (turn.sent, turn.posted) == ([("a", b"1"), ("b", b"late")], [])
    turn.end()
    assert len(turn.sent) == 2


def test_a_writer_that_comes_when_everything_has_left_is_called_by_itself() -> None:
    turn = Turn()
    a = turn.buffer("a")
    turn.queue.write_soon(lambda: turn.write(a, b"1"))
    turn.end()
    assert (turn.sent, turn.posted) == ([("a", b"1")], [])


def test_who_asks_to_write_while_a_writer_is_called_has_the_next_turn() -> None:
    turn = Turn()
    a = turn.buffer("a")
    turn.queue.write_soon(lambda: turn.queue.write_soon(lambda: turn.write(a, b"1")))
    turn.end()
    assert turn.sent == []
    turn.end()
    assert turn.sent == [("a", b"1")]


def test_a_writer_that_raises_keeps_neither_the_others_nor_what_was_written_from_leaving() -> None:
    turn = Turn()
    a, b = turn.buffer("a"), turn.buffer("b")

    def fail() -> None:
        raise RuntimeError("broken")

    turn.queue.write_soon(fail)
    turn.queue.write_soon(lambda: turn.write(b, b"2"))
    turn.write(a, b"1")
    with pytest.raises(RuntimeError):
        turn.end()
    turn.end()
    assert turn.sent == [("a", b"1"), ("b", b"2")]


def test_the_last_writer_may_raise_too() -> None:
    turn = Turn()
    a = turn.buffer("a")

    def fail() -> None:
        raise RuntimeError("broken")

    turn.write(a, b"1")
    turn.queue.write_soon(fail)
    with pytest.raises(RuntimeError):
        turn.end()
    turn.end()
    assert turn.sent == [("a", b"1")]
