"""HTTP/1 codecs on nothing, and a transcript of what they say.

No Envoy counterpart. `codec.receive(b"GET / ...")` gives the events that these bytes caused, in order, and
`codec.wire` is what the codec has written since it was last looked at:

    codec = Server()
    assert codec.receive(b"GET / HTTP/1.1\\r\\nhost: a\\r\\n\\r\\n") == [headers("GET", "/", "a"), end_stream()]
    codec.answer(204)
    assert codec.wire == b"HTTP/1.1 204 No Content\\r\\n\\r\\n"

There is no loop and no socket: what the codec posts is run before `receive` returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import CodecProtocolError
from ..http.codec import StreamResetReason
from ..http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ..http.http1.selection import client_codec, server_codec
from ..http.http1.settings import Http1Settings

Event = tuple[Any, ...]
Pairs = list[tuple[bytes, bytes]]


def headers(method: str, path: str, authority: str | None, *pairs: tuple[bytes, bytes]) -> Event:
    return ("headers", method.encode(), path.encode(), None if authority is None else authority.encode(), list(pairs))


def response(status: int, *pairs: tuple[bytes, bytes]) -> Event:
    return ("response", status, list(pairs))


def interim(status: int, *pairs: tuple[bytes, bytes]) -> Event:
    return ("interim", status, list(pairs))


def data(body: bytes) -> Event:
    return ("data", body)


def trailers(*pairs: tuple[bytes, bytes]) -> Event:
    return ("trailers", list(pairs))


def end_stream() -> Event:
    return ("end_stream",)


def error(details: str, status: int = 400) -> Event:
    return ("error", details, status)


def reset(reason: StreamResetReason) -> Event:
    return ("reset", reason.value)


class FakeDispatcher:
    def __init__(self) -> None:
        self.posted: list[Callable[[], None]] = []

    def post(self, callback: Callable[[], None]) -> None:
        self.posted.append(callback)

    def run(self) -> None:
        while self.posted:
            self.posted.pop(0)()


class FakeConnection:
    def __init__(self) -> None:
        self.dispatcher = FakeDispatcher()
        self.closed = False
        self.written = b""
        self.read_disabled = 0

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        self.written += data

    def read_disable(self, disable: bool) -> None:
        self.read_disabled += 1 if disable else -1


class FakeStats:
    dropped_headers_with_underscores = 0
    requests_rejected_with_underscores_in_headers = 0
    response_flood = 0


class _Recorder:
    """A decoder that writes down what it is told."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self.on_end: Callable[[], None] | None = None

    def decode_data(self, body: bytes, end: bool) -> None:
        assert isinstance(body, bytes)
        if body:
            self.events.append(data(body))
        self._end(end)

    def decode_trailers(self, given: HeaderMap) -> None:
        self.events.append(trailers(*_pairs(given)))
        self._end(True)

    def on_reset_stream(self, reason: StreamResetReason, details: str) -> None:
        self.events.append(reset(reason))

    def _end(self, end: bool) -> None:
        if end:
            self.events.append(end_stream())
            if self.on_end is not None:
                self.on_end()


class RequestRecorder(_Recorder):
    headers: RequestHeaderMap

    def decode_headers(self, given: RequestHeaderMap, end: bool) -> None:
        _check_seen(given)
        self.headers = given
        authority = None if given.no_authority else given.authority
        self.events.append(("headers", given.method, given.path, authority, _pairs(given)))
        self._end(end)


class ResponseRecorder(_Recorder):
    def decode_1xx_headers(self, given: ResponseHeaderMap) -> None:
        self.events.append(("interim", given.status, _pairs(given)))

    def decode_headers(self, given: ResponseHeaderMap, end: bool) -> None:
        _check_seen(given)
        self.events.append(("response", given.status, _pairs(given)))
        self._end(end)


def _pairs(given: HeaderMap) -> Pairs:
    for name, value, line, _ in given.entries:
        assert line == name + b": " + value + b"\r\n"
    return [(item[0], item[1]) for item in given.entries]


def _check_seen(given: HeaderMap) -> None:
    """`seen` must never miss a kind: what it misses is not found."""
    for item in given.entries:
        assert given.seen & item[3] == item[3]


class _Codec:
    codec: Any

    def __init__(self) -> None:
        self.connection = FakeConnection()
        self.stats = FakeStats()
        self.events: list[Event] = []

    @property
    def wire(self) -> bytes:
        """What was written since the last look."""
        written, self.connection.written = self.connection.written, b""
        return written

    def receive(self, *pieces: bytes) -> list[Event]:
        """Dispatch the pieces; what they and all that was posted caused since the last call."""
        for piece in pieces:
            self._dispatch(piece)
        return self.events_since()

    def events_since(self) -> list[Event]:
        self.connection.dispatcher.run()
        events, self.events = self.events, []
        for decoder in self.decoders():
            decoder.events = self.events
        return events

    def decoders(self) -> list[_Recorder]:
        raise NotImplementedError

    def _dispatch(self, piece: bytes) -> None:
        try:
            self.codec.dispatch(piece)
        except CodecProtocolError as problem:
            self.events.append(error(problem.details, problem.status))


class Server(_Codec):
    """A server codec; `answering=True` answers each request with 200 as soon as it is complete."""

    def __init__(self, name: str = "native", settings: Http1Settings | None = None, answering: bool = False) -> None:
        super().__init__()
        self.answering = answering
        self.streams: list[RequestRecorder] = []
        self.codec = server_codec(name)(self.connection, self, settings or Http1Settings(), self.stats)

    def new_stream(self, encoder: Any) -> RequestRecorder:
        recorder = RequestRecorder(self.events)
        if self.answering:
            recorder.on_end = self.answer
        self.streams.append(recorder)
        return recorder

    def on_codec_error(self, error: CodecProtocolError) -> None:
        raise error

    def redispatch(self, piece: bytes) -> None:
        self._dispatch(piece)

    def decoders(self) -> list[_Recorder]:
        return list(self.streams)

    def answer(
        self, status: int = 200, pairs: Pairs | None = None, body: bytes | None = None, end_stream: bool = True
    ) -> None:
        """Encode a response; `body` None makes it end with its headers."""
        given = ResponseHeaderMap(status)
        for name, value in pairs or ():
            given.add(name, value)
        self.codec.encode_headers(given, body is None and end_stream)
        if body is not None:
            self.codec.encode_data(body, end_stream)


class Client(_Codec):
    """A client codec; `ask()` writes a request."""

    def __init__(self, name: str = "native", settings: Http1Settings | None = None) -> None:
        super().__init__()
        self.recorder = ResponseRecorder(self.events)
        self.codec = client_codec(name)(self.connection, settings or Http1Settings(), self.stats)

    def decoders(self) -> list[_Recorder]:
        return [self.recorder]

    def ask(
        self,
        method: str = "GET",
        path: str = "/",
        pairs: Pairs | None = None,
        body: bytes | None = None,
        end_stream: bool = True,
    ) -> None:
        # CONNECT has no path.
        given = RequestHeaderMap(method.encode(), b"" if method == "CONNECT" else path.encode(), b"a")
        for name, value in pairs or ():
            given.add(name, value)
        encoder = self.codec.new_stream(self.recorder)
        # What a CONNECT opens is open as long as nobody ends it.
        encoder.encode_headers(given, body is None and end_stream and method != "CONNECT")
        if body is not None:
            encoder.encode_data(body, end_stream)
