"""What waits to be sent: how it is cut into frames, and what of it counts as a flood."""

from __future__ import annotations

from typing import Any

from minienvoy.http.header_map import ResponseHeaderMap
from minienvoy.http.http2.frames import frame, read_header, settings_frame, window_update
from minienvoy.network.connection import ConnectionCloseType

from .peer import GET, POST, Server


class SlowConnection:
    """Takes everything; of that, `reader` says how much the peer has read."""

    buffer_limit = 1 << 20

    def __init__(self) -> None:
        self.written = b""
        self.bytes_sent = 0
        self.unsent = 0
        self.writes: list[int] = []
        self.closed_for = ""

    @property
    def is_flushed(self) -> bool:
        return not self.unsent

    def write(self, data: bytes) -> None:
        self.written += data
        self.bytes_sent += len(data)
        self.unsent += len(data)
        self.writes.append(len(data))

    def close(self, kind: ConnectionCloseType, reason: str) -> None:
        self.closed_for = reason

    def read(self, size: int) -> None:
        self.unsent = max(self.unsent - size, 0)


def answering(**settings: Any) -> tuple[Server, SlowConnection, Any]:
    server = Server(**settings)
    connection = SlowConnection()
    connection.bytes_sent = server.connection.bytes_sent
    server.codec._connection = server.connection = connection  # type: ignore[assignment]
    server.codec._write = connection.write
    server.receive(server.headers(1, *GET) + settings_frame([(4, 1 << 30)]) + window_update(0, 1 << 30))
    stream = server.streams[0]
    stream.encode_headers(ResponseHeaderMap(200), False)
    server.run()
    return server, connection, stream


def turn(server: Server) -> list[Any]:
    server.events.clear()
    server.run()
    return list(server.events)


def test_who_reads_slowly_but_reads_is_no_flood() -> None:
    server, connection, stream = answering(max_outbound_frames=100)
    for _ in range(1000):
        stream.encode_data(b"x" * 10, False)
        assert turn(server) == []
        if connection.unsent > 500:
            connection.read(300)
    assert connection.unsent > 200
    assert server.stats.outbound_flood == 0


def test_frames_that_nobody_reads_are_a_flood() -> None:
    server, connection, stream = answering(max_outbound_frames=100)
    for count in range(1, 200):
        stream.encode_data(b"x", False)
        server.run()
        if connection.closed_for:
            break
    assert count == 99  # after the acknowledgment of the settings and the header block
    assert connection.closed_for == "http2_connection_protocol_violation"
    assert server.stats.outbound_flood == 1
    server.codec.on_connection_closed()
    assert server.events[-1] == ("reset", "connection termination", "http2.outbound_frames_flood")


def test_frames_of_one_turn_are_a_flood_however_fast_they_leave() -> None:
    server = Server(max_outbound_frames=4)
    server.receive(server.headers(1, *GET) + server.headers(3, *GET))
    for at in (0, 1):
        server.answer(200, b"x", at)
    server.codec.flush()
    assert server.codec.flood is None
    server.codec.ping(bytes(8))
    server.codec.flush()
    assert server.codec.flood is not None


def test_frames_of_two_turns_are_none_if_they_leave() -> None:
    server = Server(max_outbound_frames=4)
    for number in (1, 3, 5):
        server.receive(server.headers(number, *GET))
        server.answer(200, b"x")
        server.run()
    assert server.codec.flood is None


def test_control_frames_that_were_read_count_no_longer() -> None:
    server, connection, _ = answering(max_outbound_control_frames=20)
    connection.unsent = 1
    for _ in range(100):
        assert server.receive(frame(6, 0, 0, b"12345678") * 5) == []
        connection.read(connection.unsent - 1)
        server.run()
    assert server.stats.outbound_control_flood == 0


def test_a_window_of_frames_is_written_in_parts() -> None:
    server, connection, stream = answering(initial_stream_window_size=1 << 16)
    stream.send_window = 0
    stream.encode_data(bytes(3 << 20), False)
    connection.writes.clear()
    connection.written = b""
    server.receive(window_update(1, 3 << 20))
    server.run()
    assert connection.writes == [16 * (16384 + 9)] * 12
    sizes, at = [], 0
    while at < len(connection.written):
        high, low, *_ = read_header(connection.written[at:])
        sizes.append(high << 8 | low)
        at += 9 + sizes[-1]
    assert sum(sizes) == 3 << 20


def test_what_waits_leaves_in_order_whatever_the_pieces() -> None:
    server = Server()
    server.receive(settings_frame([(4, 0)]) + server.headers(1, *GET))
    stream = server.streams[0]
    stream.encode_headers(ResponseHeaderMap(200), False)
    for piece in (b"a", b"bcd", b"efghij", b"k", b"lm"):
        stream.encode_data(piece, False)
    stream.encode_data(b"nop", True)
    server.frames()
    assert server.stats.pending_send_bytes == 16
    sent = []
    for window in (2, 2, 1, 7, 1, 3):
        server.receive(window_update(1, window))
        sent += [(data, flags) for _, flags, _, data in server.frames()]
    assert sent == [(b"ab", 0), (b"cd", 0), (b"e", 0), (b"fghijkl", 0), (b"m", 0), (b"nop", 1)]
    assert server.stats.pending_send_bytes == 0


def test_each_frame_of_a_row_counts() -> None:
    server, connection, stream = answering(max_outbound_frames=100)
    for count in range(1, 6):
        assert connection.closed_for == ""
        stream.encode_data(bytes(20 * 16384), False)
        server.run()
    assert count == 5
    assert connection.closed_for == "http2_connection_protocol_violation"


def test_a_frame_that_arrives_in_two_large_pieces_is_read_once() -> None:
    server = Server()
    bodies = [bytes([65 + at]) * 16384 for at in range(8)]
    wire = b"".join(frame(0, 0, 1, body) for body in bodies)
    got: list[Any] = []
    got += server.receive(server.headers(1, *POST, end=False))[1:]
    for begin, end in ((0, 40_000), (40_000, 40_005), (40_005, 90_000), (90_000, len(wire) - 3)):
        got += server.receive(wire[begin:end])
    got += server.receive(wire[-3:] + frame(0, 1, 1))
    assert got == [*(("data", body, False) for body in bodies), ("data", b"", True)]


def test_who_feeds_goes_on_when_it_is_written_and_not_before() -> None:
    """What has left a stream may be what backs its connection up: that is to be heard first."""
    server, connection, stream = answering(initial_stream_window_size=65_535)
    heard: list[object] = []
    stream.watermark = heard.append
    write = connection.write

    def written(data: bytes) -> None:
        heard.append("written")
        write(data)

    server.codec._write = written
    stream.send_window = 0
    stream.encode_data(b"x" * 100_000, False)
    assert heard == [True]
    server.receive(window_update(1, 100_000))
    assert heard == [True, "written", False]


def test_a_turn_that_brings_much_is_written_in_pieces() -> None:
    server, connection, stream = answering()
    before = len(connection.writes)
    for _ in range(40):
        stream.encode_data(b"x" * 16_384, False)
    assert connection.writes[before:] == [16 * 16_393] * 2
    server.run()
    assert connection.writes[before:] == [16 * 16_393] * 2 + [8 * 16_393]


def test_a_turn_of_many_small_answers_is_one_write() -> None:
    server, connection, stream = answering()
    before = len(connection.writes)
    for _ in range(40):
        stream.encode_data(b"x" * 100, False)
    server.run()
    assert connection.writes[before:] == [40 * 109]
