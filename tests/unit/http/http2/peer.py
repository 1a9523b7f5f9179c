"""An HTTP/2 codec on nothing: what it writes is read back as frames, what it tells is written down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hpack

from minienvoy.errors import CodecProtocolError
from minienvoy.http.codec import StreamResetReason
from minienvoy.http.codec_stats import Http2CodecStats
from minienvoy.http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from minienvoy.http.http2.client_connection import ClientStream
from minienvoy.http.http2.flood import Http2ProtocolError
from minienvoy.http.http2.frames import PREFACE, frame, read_header
from minienvoy.http.http2.selection import client_codec, server_codec
from minienvoy.http.http2.settings import Http2Settings

Frame = tuple[str, int, int, Any]
NAMES = ("DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE",
         "CONTINUATION")  # fmt: skip


class Chosen:
    """Which codec peers have; the tests of a codec run with each of them (`conftest.py`)."""

    name = "native"


CODEC = Chosen()


class FakeConnection:
    buffer_limit = 1 << 20

    def __init__(self) -> None:
        self.written = b""
        self.is_flushed = True
        self.bytes_sent = 0
        self.now = 100.0

    @property
    def dispatcher(self) -> FakeConnection:
        return self

    @property
    def unsent(self) -> int:
        return 0 if self.is_flushed else self.bytes_sent

    def monotonic_time(self) -> float:
        return self.now

    def write(self, data: bytes) -> None:
        self.written += data
        self.bytes_sent += len(data)


class Decoder:
    """Writes down what it is told; `paired` is the encoder of the other direction, where there is one."""

    def __init__(self, events: list[Any], paired: Any = None) -> None:
        self.events = events
        self.paired = paired

    def decode_headers(self, headers: RequestHeaderMap | ResponseHeaderMap, end_stream: bool) -> None:
        self.events.append(("headers", headers.pairs(), end_stream))

    def decode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        self.events.append(("interim", headers.status))

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        self.events.append(("data", data, end_stream))

    def decode_trailers(self, trailers: HeaderMap) -> None:
        self.events.append(("trailers", trailers.pairs()))

    def on_reset_stream(self, reason: StreamResetReason, details: str) -> None:
        self.events.append(("reset", reason.value, details))


def said(error: CodecProtocolError) -> str:
    """What is said of the stream that is blamed; of all if none is."""
    own = [each for number, each in error.blamed.items() if number] if isinstance(error, Http2ProtocolError) else []
    return own[0] if own else error.details


class Peer:
    """Common to both: frames that the codec has written, and the compression of the peer's own."""

    codec: Any

    def __init__(self) -> None:
        self.connection = FakeConnection()
        self.stats = Http2CodecStats()
        self.posted: list[Callable[[], None]] = []
        self.events: list[Any] = []
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()

    def receive(self, data: bytes) -> list[Any]:
        """What the codec tells of `data`."""
        self.events.clear()
        try:
            self.codec.dispatch(data)
        except CodecProtocolError as error:
            self.events.append(("error", said(error)))
        self.run()
        return list(self.events)

    def run(self) -> None:
        while self.posted:
            self.posted.pop(0)()

    def frames(self) -> list[Frame]:
        """What the codec has written since this was asked."""
        self.run()
        written, self.connection.written = self.connection.written, b""
        if written.startswith(PREFACE):
            written = written[len(PREFACE) :]
        found: list[Frame] = []
        while written:
            high, low, kind, flags, stream_id = read_header(written)
            length = high << 8 | low
            payload: Any = written[9 : 9 + length]
            written = written[9 + length :]
            name = NAMES[kind]
            if name == "HEADERS":
                payload = [(str(a), str(b)) for a, b in self.decoder.decode(payload)]
            elif name in ("WINDOW_UPDATE", "RST_STREAM"):
                payload = int.from_bytes(payload, "big")
            elif name == "SETTINGS":
                payload = [
                    (int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big"))
                    for at in range(0, length, 6)
                ]
            elif name == "GOAWAY":
                payload = (int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:8], "big"), payload[8:])
            found.append((name, flags, stream_id, payload))
        return found

    def headers(self, stream: int, *pairs: tuple[str, str], end: bool = True, more: int = 4) -> bytes:
        return frame(1, more | int(end), stream, self.encoder.encode(pairs))


GET = ((":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a"))
POST = ((":method", "POST"), *GET[1:])
A_GET = ("headers", [(":authority", "a"), (":path", "/"), (":method", "GET"), (":scheme", "http")], True)


class Server(Peer):
    """The downstream codec; streams are answered through `streams`."""

    def __init__(self, greet: bool = True, **settings: Any) -> None:
        super().__init__()
        self.streams: list[Any] = []
        self.codec = server_codec(CODEC.name)(
            self.connection,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            Http2Settings(**settings),
            self.stats,
            self.posted.append,
        )
        if greet:
            self.receive(PREFACE + frame(4, 0, 0))
            self.frames()

    def on_codec_error(self, error: CodecProtocolError) -> None:
        self.events.append(("error", said(error)))

    def new_stream(self, encoder: Any) -> Decoder:
        self.streams.append(encoder)
        return Decoder(self.events, encoder)

    def answer(self, status: int, body: bytes | None = None, at: int = -1) -> None:
        stream = self.streams[at]
        stream.encode_headers(ResponseHeaderMap(status), body is None)
        if body is not None:
            stream.encode_data(body, True)


class Client(Peer):
    """The upstream codec; `request` opens a stream."""

    def __init__(self, greet: bool = True, **settings: Any) -> None:
        super().__init__()
        self.heard: list[Any] = []
        self.codec = client_codec(CODEC.name)(
            self.connection,  # type: ignore[arg-type]
            self,
            Http2Settings(**settings),
            self.stats,
            self.posted.append,
        )
        if greet:
            self.receive(frame(4, 0, 0))
            self.frames()

    def on_go_away(self) -> None:
        self.heard.append("go away")

    def on_max_streams_changed(self, maximum: int) -> None:
        self.heard.append(("max streams", maximum))

    def on_stream_broken(self) -> None: ...

    def on_stream_closed(self) -> None:
        self.heard.append("stream closed")

    def on_ping_ack(self, payload: bytes) -> None:
        self.heard.append(("ping", payload))

    def request(self, method: bytes = b"GET", path: bytes = b"/", end: bool = True) -> ClientStream:
        stream: ClientStream = self.codec.new_stream(Decoder(self.events))
        stream.encode_headers(RequestHeaderMap(method, path, b"a"), end)
        return stream

    def response(self, stream: int, *pairs: tuple[str, str], status: int = 200, end: bool = True) -> bytes:
        return self.headers(stream, (":status", str(status)), *pairs, end=end)
