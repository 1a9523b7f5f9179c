"""`Connection` over a transport that only remembers what it was told."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.event.write_queue import MOST_BYTES, MOST_CHUNKS, MOST_WAITING, WriteQueue
from minienvoy.network.address import Address
from minienvoy.network.connection import (
    MAX_LEFT_UNREAD,
    Connection,
    ConnectionCallbacks,
    ConnectionCloseType,
    ConnectionEvent,
    DetectedCloseType,
)
from minienvoy.network.filter import FilterStatus, ReadFilter
from minienvoy.stream_info import ConnectionInfo


class FakeTransport:
    """Sends nothing by itself: `flush` does."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.buffer = b""
        self.closing = False

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        self.calls.append(f"limits {high} {low}")

    def get_write_buffer_size(self) -> int:
        return len(self.buffer)

    def write(self, data: bytes) -> None:
        self.buffer += data

    def flush(self) -> bytes:
        sent, self.buffer = self.buffer, b""
        return sent

    def write_eof(self) -> None:
        self.calls.append("eof")

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def close(self) -> None:
        self.closing = True
        self.calls.append("close")

    def abort(self) -> None:
        self.closing = True
        self.calls.append("abort")

    def get_extra_info(self, name: str) -> Any:
        return FakeSocket(self.calls) if name == "socket" else None


class FakeSocket:
    family = 2

    def __init__(self, calls: list[str]) -> None:
        self.calls = calls

    def setsockopt(self, level: int, name: int, value: bytes) -> None:
        self.calls.append("linger 0")


class Turns:
    """An event loop whose turns a test makes."""

    def __init__(self) -> None:
        self.posted: list[Any] = []

    def time(self) -> float:
        return 0.0

    def call_soon(self, callback: Any) -> None:
        self.posted.append(callback)

    def turn(self) -> None:
        posted, self.posted = self.posted, []
        for callback in posted:
            callback()


class Recorder(ReadFilter, ConnectionCallbacks):
    """Writes down all that it hears."""

    def __init__(self, name: str = "", on_new: FilterStatus = FilterStatus.CONTINUE) -> None:
        self.name = name
        self.heard: list[str] = []
        self.on_new = on_new
        self.passes = FilterStatus.CONTINUE

    def on_new_connection(self) -> FilterStatus:
        self.heard.append("new")
        return self.on_new

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        self.heard.append(data.decode() + ("|" if end_stream else ""))
        return self.passes

    def on_event(self, event: ConnectionEvent) -> None:
        self.heard.append(event.name)

    def on_above_write_buffer_high_watermark(self) -> None:
        self.heard.append("high")

    def on_below_write_buffer_low_watermark(self) -> None:
        self.heard.append("low")


class Bench:
    def __init__(self, *filters: Recorder, half_close: bool = False) -> None:
        self.turns = Turns()
        self.dispatcher = SimulatedDispatcher(cast(asyncio.AbstractEventLoop, self.turns))
        address = Address("127.0.0.1", 80)
        self.connection = Connection(self.dispatcher, ConnectionInfo(address, address, 1), 1000)
        self.connection.half_close = half_close
        self.transport = FakeTransport()
        self.filter = filters[0] if filters else Recorder()
        self.connection.add_callbacks(self.filter)
        for each in filters or (self.filter,):
            self.connection.add_read_filter(each)

    def start(self) -> Bench:
        self.connection.connection_made(cast(asyncio.Transport, self.transport))
        self.transport.calls.clear()
        self.filter.heard.clear()
        return self

    @property
    def heard(self) -> list[str]:
        heard = self.filter.heard[:]
        self.filter.heard.clear()
        return heard

    @property
    def calls(self) -> list[str]:
        calls = self.transport.calls[:]
        self.transport.calls.clear()
        return calls


def test_connected_is_told_before_the_filters_start() -> None:
    b = Bench()
    b.connection.connection_made(cast(asyncio.Transport, b.transport))
    assert b.heard == ["CONNECTED", "new"]
    assert b.calls == ["limits 500 250"]


def test_data_goes_to_the_only_filter() -> None:
    b = Bench().start()
    b.connection.data_received(b"abc")
    assert b.heard == ["abc"]
    assert b.connection.bytes_received == 3


def test_data_goes_through_filters_until_one_stops_it() -> None:
    first, second, third = Recorder(), Recorder(), Recorder()
    b = Bench(first, second, third).start()
    second.passes = FilterStatus.STOP_ITERATION
    b.connection.data_received(b"x")
    assert (first.heard, second.heard[-1], third.heard) == (["x"], "x", ["new"])
    b.connection.pass_on(second, b"later", False)
    assert third.heard == ["new", "later"]


def test_filter_that_stops_at_the_start_holds_the_later_ones_and_the_data_back() -> None:
    first, second = Recorder(on_new=FilterStatus.STOP_ITERATION), Recorder()
    b = Bench(first, second).start()
    b.connection.data_received(b"early")
    assert (first.heard, second.heard) == ([], [])
    b.connection.continue_reading(first)
    assert second.heard == ["new"]
    b.turns.turn()
    assert (first.heard, second.heard) == (["early"], ["new", "early"])
    assert b.calls == ["pause", "resume"]


def test_filter_that_is_added_late_gets_what_came_before_it() -> None:
    b = Bench()
    b.connection._filters.clear()
    b.start()
    b.connection.data_received(b"banner")
    late = Recorder()
    b.connection.add_read_filter(late)
    b.turns.turn()
    assert late.heard == ["new", "banner"]


def test_reader_that_is_disabled_and_enabled_again_costs_the_transport_nothing() -> None:
    b = Bench().start()
    b.connection.read_disable(True)
    b.connection.read_disable(False)
    b.connection.data_received(b"x")
    assert b.heard == ["x"]
    assert b.calls == []


def test_one_chunk_is_held_while_reading_is_disabled_and_then_reading_stops() -> None:
    b = Bench().start()
    b.connection.read_disable(True)
    b.connection.read_disable(True)
    b.connection.data_received(b"x")
    assert (b.heard, b.calls) == ([], ["pause"])
    assert b.connection.bytes_received == 0
    b.connection.read_disable(False)
    b.turns.turn()
    assert b.heard == []
    b.connection.read_disable(False)
    assert b.heard == [], "data comes in a turn of its own"
    b.turns.turn()
    assert (b.heard, b.calls) == (["x"], ["resume"])
    assert b.connection.bytes_received == 1


def test_reader_that_disables_itself_on_held_data_reads_on_when_it_is_enabled() -> None:
    b = Bench().start()
    b.connection.read_disable(True)
    b.connection.data_received(b"one")

    class Full(Recorder):
        def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
            self.connection.read_disable(True)
            return super().on_data(data, end_stream)

    full = Full()
    b.connection._filters[:] = []
    b.connection.add_read_filter(full)
    b.connection.read_disable(False)
    b.turns.turn()
    assert full.heard == ["new", "one"]
    assert b.calls == ["pause"]
    b.connection.read_disable(False)
    b.turns.turn()
    assert b.calls == ["resume"]


def test_fin_ends_a_connection_without_half_close_even_if_reading_is_disabled() -> None:
    b = Bench().start()
    b.connection.read_disable(True)
    assert b.connection.eof_received() is False
    assert b.heard == ["REMOTE_CLOSE"]
    assert b.calls == ["abort"]


def test_fin_is_end_of_stream_with_half_close() -> None:
    b = Bench(half_close=True).start()
    assert b.connection.eof_received() is True
    assert b.heard == ["|"]
    b.connection.write(b"still")
    assert b.transport.buffer == b"still"


def test_fin_waits_behind_held_data_and_is_told_once() -> None:
    b = Bench(half_close=True).start()
    b.connection.read_disable(True)
    b.connection.data_received(b"x")
    b.connection.eof_received()
    b.connection.read_disable(False)
    b.turns.turn()
    assert b.heard == ["x", "|"]
    b.connection.read_disable(True)
    b.connection.read_disable(False)
    b.turns.turn()
    assert b.heard == []


def test_both_sides_half_closed_by_the_peer_last_is_a_remote_close() -> None:
    b = Bench(half_close=True).start()
    b.connection.write_half_close()
    assert b.calls == ["eof"]
    b.connection.eof_received()
    assert b.heard == ["|", "REMOTE_CLOSE"]


def test_both_sides_half_closed_by_us_last_is_a_local_close_after_the_flush() -> None:
    b = Bench(half_close=True).start()
    b.connection.eof_received()
    b.connection.write(b"rest")
    b.connection.write_half_close()
    assert b.calls == []
    b.turns.turn()
    assert b.calls == ["close"]
    b.transport.flush()
    b.connection.connection_lost(None)
    assert b.heard == ["|", "LOCAL_CLOSE"]


def test_nothing_is_written_after_the_write_side_was_closed() -> None:
    b = Bench(half_close=True).start()
    b.connection.write_half_close()
    b.connection.write(b"x")
    assert b.transport.buffer == b""
    assert b.connection.bytes_sent == 0


def test_flush_closes_at_once_when_nothing_is_left_to_send() -> None:
    b = Bench().start()
    b.connection.close(ConnectionCloseType.FLUSH_WRITE, "why")
    assert b.heard == ["LOCAL_CLOSE"]
    assert b.calls == ["abort"]
    assert b.connection.local_close_reason == "why"


def test_flush_waits_for_what_was_written() -> None:
    b = Bench().start()
    b.connection.write(b"bye")
    b.connection.close(ConnectionCloseType.FLUSH_WRITE)
    assert (b.heard, b.calls) == ([], ["close"])
    b.connection.write(b"too late")
    assert b.transport.flush() == b"bye"
    b.connection.connection_lost(None)
    assert b.heard == ["LOCAL_CLOSE"]


def test_flush_that_the_peer_resets_is_a_remote_close() -> None:
    b = Bench().start()
    b.connection.write(b"bye")
    b.connection.close(ConnectionCloseType.FLUSH_WRITE)
    b.connection.connection_lost(ConnectionResetError())
    assert b.heard == ["REMOTE_CLOSE"]
    assert b.connection.detected_close_type is DetectedCloseType.REMOTE_RESET


def test_flush_without_progress_is_given_up_after_the_timeout() -> None:
    b = Bench().start()
    b.connection.delayed_close_timeout = 2.0
    b.connection.write(b"0123456789")
    b.connection.close(ConnectionCloseType.FLUSH_WRITE)
    b.transport.buffer = b"56789"
    b.dispatcher.advance(2.0)
    assert b.heard == [], "half of it went: there is progress"
    b.dispatcher.advance(1.9)
    assert b.heard == []
    b.dispatcher.advance(0.1)
    assert b.heard == ["LOCAL_CLOSE"]


def test_delayed_close_waits_for_the_peer_to_close() -> None:
    b = Bench().start()
    b.connection.close(ConnectionCloseType.FLUSH_WRITE_AND_DELAY)
    assert b.heard == []
    b.connection.eof_received()
    assert b.heard == ["REMOTE_CLOSE"]
    b.dispatcher.advance(5)
    assert b.heard == []


def test_delayed_close_ends_after_the_timeout() -> None:
    b = Bench().start()
    b.connection.write(b"answer")
    b.connection.close(ConnectionCloseType.FLUSH_WRITE_AND_DELAY)
    b.transport.flush()
    b.dispatcher.advance(0.99)
    assert b.heard == []
    b.dispatcher.advance(0.01)
    assert b.heard == ["LOCAL_CLOSE"]
    assert b.calls == ["abort"]


def test_delayed_close_of_a_paused_connection_listens_for_the_fin() -> None:
    b = Bench().start()
    b.connection.read_disable(True)
    b.connection.data_received(b"x")
    b.connection.close(ConnectionCloseType.FLUSH_WRITE_AND_DELAY)
    assert b.calls == ["pause", "resume"]


def test_bytes_that_nobody_reads_make_the_local_close_a_reset() -> None:
    b = Bench().start()
    b.connection.close(ConnectionCloseType.FLUSH_WRITE_AND_DELAY)
    b.connection.data_received(b"more")
    assert b.connection.bytes_received == 0
    b.dispatcher.advance(1)
    assert b.calls == ["linger 0", "abort"]
    assert b.heard == ["LOCAL_CLOSE"]


def test_a_peer_that_leaves_behind_unread_bytes_is_noticed() -> None:
    b = Bench().start()
    b.connection.close(ConnectionCloseType.FLUSH_WRITE_AND_DELAY)
    b.connection.data_received(b"more")
    b.connection.eof_received()
    assert b.heard == ["REMOTE_CLOSE"]


def test_not_all_that_a_peer_sends_to_a_closing_connection_is_read() -> None:
    b = Bench().start()
    b.connection.close(ConnectionCloseType.FLUSH_WRITE_AND_DELAY)
    b.connection.data_received(bytes(MAX_LEFT_UNREAD))
    assert b.calls == []
    b.connection.data_received(b"x")
    assert b.calls == ["pause"]


def test_held_bytes_make_the_local_close_a_reset() -> None:
    b = Bench().start()
    b.connection.read_disable(True)
    b.connection.data_received(b"x")
    b.connection.close(ConnectionCloseType.NO_FLUSH)
    assert b.calls == ["pause", "linger 0", "abort"]


def test_abort_resets() -> None:
    b = Bench().start()
    b.connection.close(ConnectionCloseType.ABORT_RESET)
    assert b.calls == ["linger 0", "abort"]
    assert b.connection.detected_close_type is DetectedCloseType.LOCAL_RESET


def test_close_that_is_more_abrupt_wins() -> None:
    b = Bench().start()
    b.connection.write(b"x")
    b.connection.close(ConnectionCloseType.FLUSH_WRITE_AND_DELAY)
    b.connection.close(ConnectionCloseType.NO_FLUSH)
    assert b.heard == ["LOCAL_CLOSE"]
    b.connection.close(ConnectionCloseType.ABORT_RESET)
    assert b.heard == []


def test_closed_connection_delivers_nothing() -> None:
    b = Bench().start()
    b.connection.close(ConnectionCloseType.NO_FLUSH)
    b.connection.data_received(b"x")
    assert b.connection.eof_received() is False
    b.connection.connection_lost(None)
    assert b.heard == ["LOCAL_CLOSE"]


def test_connection_that_is_closed_before_its_transport_comes_aborts_it() -> None:
    b = Bench()
    b.connection.close(ConnectionCloseType.FLUSH_WRITE)
    assert b.heard == ["LOCAL_CLOSE"]
    b.connection.connection_made(cast(asyncio.Transport, b.transport))
    assert b.calls == ["abort"]
    assert b.heard == []


def test_reset_by_the_peer_is_detected() -> None:
    b = Bench().start()
    b.connection.connection_lost(ConnectionResetError())
    assert b.heard == ["REMOTE_CLOSE"]
    assert b.connection.detected_close_type is DetectedCloseType.REMOTE_RESET


def test_watermarks_are_told() -> None:
    b, transport = full_bench()
    assert b.connection.above_high_watermark
    while transport.buffer:
        transport.drain()
    assert not b.connection.above_high_watermark
    assert b.heard == ["low"]


def test_callbacks_that_were_removed_hear_nothing() -> None:
    b = Bench().start()
    b.connection.remove_callbacks(b.filter)
    b.connection.remove_callbacks(b.filter)
    b.connection.close(ConnectionCloseType.NO_FLUSH)
    assert b.heard == []


def test_closed_connection_is_freed_without_the_garbage_collector() -> None:
    import gc
    import weakref

    gc.collect()
    gc.disable()
    try:
        b = Bench(Recorder()).start()
        gone = weakref.ref(b.connection)
        b.connection.close(ConnectionCloseType.NO_FLUSH)
        b.connection.connection_lost(None)
        del b.filter.connection
        b.connection = cast(Connection, None)
        assert gone() is None
    finally:
        gc.enable()


# -- what is written leaves at the end of the turn, or before the connection ends


def in_turns(*, half_close: bool = False) -> Bench:
    """A bench whose event loop turns, as a real one does."""
    b = Bench(half_close=half_close)
    b.dispatcher.write_queue = WriteQueue(b.turns.call_soon)
    b.connection = Connection(b.dispatcher, b.connection.info, 1000)
    b.connection.half_close = half_close
    b.connection.add_callbacks(b.filter)
    b.connection.add_read_filter(b.filter)
    return b.start()


def test_writes_of_a_turn_leave_together_at_its_end() -> None:
    b = in_turns()
    b.connection.write(b"1")
    b.connection.write(b"2")
    assert (b.transport.buffer, b.connection.bytes_sent) == (b"", 2)
    b.turns.turn()
    assert b.transport.buffer == b"12"


@pytest.mark.parametrize("kind", list(ConnectionCloseType))
def test_what_was_written_is_given_to_the_transport_before_the_connection_is_closed(kind: ConnectionCloseType) -> None:
    b = in_turns()
    b.connection.write(b"1")
    b.connection.close(kind)
    assert b.transport.buffer == b"1"
    b.turns.turn()
    assert b.transport.buffer == b"1"


def test_what_was_written_is_given_to_the_transport_before_its_own_end() -> None:
    b = in_turns(half_close=True)
    b.connection.write(b"1")
    b.connection.write_half_close()
    assert (b.transport.buffer, b.calls) == (b"1", ["eof"])


def test_what_was_written_is_given_to_the_transport_when_the_peer_ends_the_connection() -> None:
    b = in_turns()
    b.connection.write(b"1")
    assert not b.connection.eof_received()
    assert (b.transport.buffer, b.calls, b.heard) == (b"1", ["abort"], ["REMOTE_CLOSE"])


def test_what_was_written_on_a_connection_that_is_lost_is_lost() -> None:
    b = in_turns()
    b.connection.write(b"1")
    b.connection.connection_lost(None)
    b.turns.turn()
    assert b.transport.buffer == b""


def test_a_long_turn_does_not_keep_what_was_written_waiting_for_its_end() -> None:
    many = [in_turns() for _ in range(MOST_WAITING)]
    for b in many:
        b.connection._write_queue = many[0].dispatcher.write_queue
    for b in many[:-1]:
        b.connection.write(b"1")
    assert not any(b.transport.buffer for b in many)
    many[-1].connection.write(b"1")
    assert all(b.transport.buffer == b"1" for b in many)


def test_each_class_of_connections_has_its_own_copy_of_the_busiest_methods() -> None:
    class Other(Connection):
        pass

    class Further(Other):
        def write(self, data: bytes) -> None: ...

    assert Other.write is not Connection.write
    assert Other.write.__code__.co_code == Connection.write.__code__.co_code
    assert Other.data_received.__qualname__ == "Connection.data_received"
    assert Further.write.__qualname__.endswith("Further.write")


def test_large_pieces_leave_at_once_and_in_order_and_so_do_many_small_ones() -> None:
    b = in_turns()
    b.connection.write(b"1")
    b.connection.write(b"2" * (MOST_BYTES + 1))
    assert b.transport.flush() == b"1" + b"2" * (MOST_BYTES + 1)
    for _ in range(MOST_CHUNKS + 1):
        b.connection.write(b"3")
    assert b.transport.flush() == b"3" * (MOST_CHUNKS + 1)
    b.connection.write(b"4")
    b.turns.turn()
    assert b.transport.buffer == b"4"


class FullTransport(FakeTransport):
    """Tells its connection when more than half of the connection's limit waits."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
        self.paused = False

    def write(self, data: bytes) -> None:
        super().write(data)
        if len(self.buffer) > 500 and not self.paused:
            self.paused = True
            self.connection.pause_writing()

    def drain(self) -> None:
        self.flush()
        if self.paused:
            self.paused = False
            self.connection.resume_writing()


def write(b: Bench, *pieces: bytes) -> None:
    for piece in pieces:
        b.connection.write(piece)
        b.connection.flush()


def full_bench(half_close: bool = False) -> tuple[Bench, FullTransport]:
    b = Bench(half_close=half_close)
    transport = FullTransport(b.connection)
    b.transport = transport
    b.start()
    write(b, b"a" * 600)
    assert b.heard == []
    write(b, b"b" * 600)
    assert b.heard == ["high"]
    write(b, b"c" * 100, b"d" * 600)
    return b, transport


def test_full_transport_gets_the_rest_in_order_piece_by_piece() -> None:
    b, transport = full_bench()
    assert transport.buffer == b"a" * 600
    assert b.connection.unsent == 1900
    transport.drain()
    assert (transport.buffer, b.connection.unsent, b.heard) == (b"b" * 600, 1300, [])
    transport.drain()
    assert (transport.buffer, b.connection.unsent, b.heard) == (b"c" * 100 + b"d" * 600, 700, [])
    write(b, b"e")
    transport.drain()
    assert (transport.buffer, b.connection.unsent, b.heard) == (b"e", 1, ["low"])


def test_low_watermark_is_told_while_the_transport_is_full() -> None:
    b = Bench()
    transport = FullTransport(b.connection)
    b.transport = transport
    b.connection.buffer_limit = 2000
    b.start()
    write(b, b"a" * 900, b"b" * 600, b"c" * 600)
    assert b.heard == ["high"]
    transport.drain()
    assert (b.heard, b.connection.unsent) == ([], 1200)
    transport.drain()
    assert (b.heard, b.connection.unsent, b.connection.transport_full) == (["low"], 600, True)


def test_what_was_kept_from_a_full_transport_leaves_before_the_end() -> None:
    b, transport = full_bench()
    b.connection.close(ConnectionCloseType.FLUSH_WRITE)
    assert transport.buffer[-2:] == b"dd"
    assert len(transport.buffer) == 1900
    assert b.calls == ["close"]


def test_what_was_kept_from_a_full_transport_leaves_before_the_fin() -> None:
    b, transport = full_bench(half_close=True)
    b.connection.write_half_close()
    assert len(transport.buffer) == 1900
    assert b.calls == ["eof"]


def test_connection_that_ends_at_once_forgets_what_it_kept_from_a_full_transport() -> None:
    b, transport = full_bench()
    b.connection.close(ConnectionCloseType.NO_FLUSH)
    assert (len(transport.buffer), b.connection._backlog) == (600, None)
