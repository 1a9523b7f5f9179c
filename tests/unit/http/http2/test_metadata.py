"""METADATA: how blocks are read and written, and what streams do with them."""

from __future__ import annotations

from typing import Any

import hpack
import pytest

from minienvoy.http.byte_meter import ByteMeter
from minienvoy.http.header_map import RequestHeaderMap
from minienvoy.http.http2.frames import END_METADATA, MAX_FRAME, METADATA, frame
from minienvoy.http.http2.hpack import HpackError
from minienvoy.http.http2.metadata import MetadataDecoder, metadata_frames
from minienvoy.http.http2.metered import MeteredClientConnection
from minienvoy.http.http2.settings import Http2Settings

from .peer import Client, Decoder, Server

BLOCK = b"\x10\x01a\x011"
"""`a: 1`"""


def payloads(frames: bytes) -> list[tuple[int, bytes]]:
    """(flags, payload) of each frame."""
    found = []
    while frames:
        size = int.from_bytes(frames[:3], "big")
        assert frames[3] == METADATA
        found.append((frames[4], frames[9 : 9 + size]))
        frames = frames[9 + size :]
    return found


def test_a_block_is_read_when_its_last_frame_is_there() -> None:
    decoder = MetadataDecoder(100)
    assert decoder.receive(BLOCK[:2], False) is None
    assert decoder.receive(BLOCK[2:], True) == ((b"a", b"1"),)
    assert decoder.receive(b"", True) == ()


def test_no_table_outlives_a_block() -> None:
    decoder = MetadataDecoder(100)
    assert decoder.receive(b"\x40\x01a\x01b\xbe", True) == ((b"a", b"b"),)
    with pytest.raises(HpackError):
        decoder.receive(b"\xbe", True)


def test_all_that_a_stream_brings_is_counted_together() -> None:
    decoder = MetadataDecoder(10)
    assert decoder.takes(6)
    assert decoder.takes(4)
    assert not decoder.takes(1)


def test_a_table_does_not_make_much_of_little() -> None:
    block = b"\x40\x01a\x7f\x81\x18" + bytes(3200) + b"\xbe" * 5000
    decoder = MetadataDecoder(1 << 20)
    assert decoder.receive(block, True) == ((b"a", bytes(3200)),)


@pytest.mark.parametrize(
    ("metadata", "block"),
    [
        (((b"a", b"1"),), b"\0\x01a\x011"),
        (((b"a", b"1"), (b":path", b"/y")), b"\x04\x02/y\0\x01a\x011"),
        (((b":method", b"GET"), (b"accept-language", b"de")), b"\x82\x0f\x02\x02de"),
        (((b"cookie", b"a=1; b=2"),), b"\x0f\x11\x82\x1c\x01\x0f\x11\x03b=2"),
        (((b"name", b"x"),), b"\0\x83\xa8\x74\x97\x01x"),
    ],
)
def test_what_is_written_is_what_envoy_writes(metadata: Any, block: bytes) -> None:
    assert payloads(metadata_frames(1, metadata)) == [(END_METADATA, block)]


def test_a_long_value_goes_on_in_more_frames() -> None:
    value = bytes(range(256)) * 300
    pieces = payloads(metadata_frames(1, ((b"a", value),)))
    assert [flags for flags, _ in pieces] == [0] * (len(pieces) - 1) + [END_METADATA]
    assert {len(piece) for _, piece in pieces[:-1]} == {MAX_FRAME}
    decoder = hpack.Decoder(max_header_list_size=1 << 24)
    assert decoder.decode(b"".join(piece for _, piece in pieces), raw=True) == [(b"a", value)]


class Listener(Decoder):
    def decode_metadata(self, metadata: Any) -> None:
        self.events.append(("metadata", metadata))


def listening(**settings: Any) -> tuple[Client, Any]:
    """A client with a request under way that is not complete."""
    client = Client(**settings)
    stream = client.codec.new_stream(Listener(client.events))
    stream.encode_headers(RequestHeaderMap(b"POST", b"/", b"a"), False)
    client.frames()
    return client, stream


def test_it_is_told_before_and_after_the_headers_but_not_after_the_end() -> None:
    client, _ = listening(allow_metadata=True)
    told = frame(METADATA, END_METADATA, 1, BLOCK)
    got = client.receive(told + client.response(1, end=False) + told + frame(0, 1, 1, b"x") + told)
    kinds = [each[0] for each in got]
    assert kinds == ["metadata", "headers", "metadata", "data"]
    assert got[0] == ("metadata", ((b"a", b"1"),))


def test_where_it_is_not_allowed_it_is_neither_told_nor_written() -> None:
    client, stream = listening()
    got = client.receive(frame(METADATA, END_METADATA, 1, b"\xff\xff\xff\xff\xff\xff") + client.response(1, end=False))
    assert [each[0] for each in got] == ["headers"]
    stream.encode_metadata(((b"a", b"1"),))
    client.run()
    assert client.connection.written == b""


def test_an_empty_one_only_counts() -> None:
    client, _ = listening(allow_metadata=True)
    assert client.receive(frame(METADATA, END_METADATA, 1)) == []
    assert client.stats.metadata_empty_frames == 1


@pytest.mark.parametrize("payload", [b"\xff\xff\xff\xff\xff\xff\xff\xff", bytes(101)])
def test_what_can_not_be_read_and_what_is_too_much_end_the_connection(payload: bytes) -> None:
    client, _ = listening(allow_metadata=True, max_metadata_size=100)
    got = client.receive(frame(METADATA, END_METADATA, 1, payload))
    assert got == [("error", "codec_error:The_user_callback_function_failed")]


def test_it_overtakes_a_body_that_waits_for_window() -> None:
    client, stream = listening(allow_metadata=True)
    stream.send_window = 0
    stream.encode_data(b"hello", True)
    stream.encode_metadata(((b"a", b"1"),))
    client.run()
    assert payloads(client.connection.written) == [(END_METADATA, b"\0\x01a\x011")]


def test_nothing_is_written_after_the_end() -> None:
    client, stream = listening(allow_metadata=True)
    stream.encode_data(b"", True)
    client.frames()
    stream.encode_metadata(((b"a", b"1"),))
    client.run()
    assert client.connection.written == b""


def test_a_server_reads_it_too() -> None:
    server = Server(allow_metadata=True)
    events: list[Any] = []
    server.receive(
        server.headers(1, (":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a"), end=False)
    )
    server.codec.streams[1].decoder = Listener(events)
    server.receive(frame(METADATA, 0, 1, BLOCK[:3]) + frame(METADATA, END_METADATA, 1, BLOCK[3:]))
    assert events == [("metadata", ((b"a", b"1"),))]


@pytest.mark.native_codec
def test_it_does_not_count_on_the_wire() -> None:
    client = Client()
    client.codec = MeteredClientConnection(
        client.connection, client, Http2Settings(allow_metadata=True), client.stats, client.posted.append
    )
    client.receive(frame(4, 0, 0))

    class Metered(Listener):
        meter: ByteMeter

        def take_meter(self, meter: ByteMeter) -> None:
            self.meter = meter

    decoder = Metered(client.events)
    stream = client.codec.new_stream(decoder)
    stream.encode_headers(RequestHeaderMap(b"POST", b"/", b"a"), False)
    sent = decoder.meter.wire_sent
    stream.encode_metadata(((b"a", b"1"),))
    assert decoder.meter.wire_sent == sent
    client.receive(frame(METADATA, END_METADATA, 1, BLOCK))
    assert client.events == [("metadata", ((b"a", b"1"),))]
    assert decoder.meter.wire_received == 0
