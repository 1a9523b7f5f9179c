"""What streams of an upstream connection take on the wire."""

from __future__ import annotations

from typing import Any

import pytest

from minienvoy.http.byte_meter import ByteMeter
from minienvoy.http.header_map import HeaderMap, RequestHeaderMap
from minienvoy.http.http2.frames import frame
from minienvoy.http.http2.metered import MeteredClientConnection
from minienvoy.http.http2.settings import Http2Settings

from .peer import Client, Decoder

pytestmark = pytest.mark.native_codec


class MeteredDecoder(Decoder):
    meter: ByteMeter

    def take_meter(self, meter: ByteMeter) -> None:
        self.meter = meter


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Client()
    made.connection.monotonic_time = lambda: 7.0  # type: ignore[attr-defined]
    made.codec = MeteredClientConnection(made.connection, made, Http2Settings(), made.stats, made.posted.append)
    made.frames()
    made.receive(frame(4, 0, 0))
    made.frames()
    return made


def test_a_stream_is_counted_both_ways(client: Any) -> None:
    decoder = MeteredDecoder(client.events)
    stream = client.codec.new_stream(decoder)
    headers = RequestHeaderMap(b"POST", b"/", b"a")
    headers.add(b"x-a", b"1")
    stream.encode_headers(headers, False)
    stream.encode_data(b"hello", False)
    stream.encode_trailers(HeaderMap([(b"x-t", b"2", b"x-t: 2\r\n", 0)]))
    client.run()
    meter = decoder.meter
    sent = {":method": "POST", ":path": "/", ":authority": "a", ":scheme": "http", "x-a": "1", "x-t": "2"}
    assert meter.decompressed_header_sent == sum(len(name) + len(value) for name, value in sent.items())
    assert meter.wire_sent == meter.header_sent + 9 + 5
    answer = client.response(1, ("x-b", "3"), end=False) + frame(0, 0, 1, b"body") + client.headers(1, ("x-c", "4"))
    client.receive(answer)
    assert meter.wire_received == len(answer)
    assert meter.header_received == len(answer) - 9 - 4
    assert meter.decompressed_header_received == len(":status200x-b3x-c4")
    assert meter.first_body_byte_time == 7.0


def test_who_takes_no_meter_is_not_counted(client: Any) -> None:
    stream = client.request()
    assert stream.meter is None
    assert client.receive(client.response(1))[0][0] == "headers"
