"""HTTP/1 as h11 reads it: the reference that the native codec is compared with.

No Envoy counterpart. Heads and bodies are read by h11, written in another house for another purpose; what they mean to
a proxy (whom a request is for, what it may ask of this hop, how settings limit it) and what is written is shared with
the native codec. Where both accept the same bytes they say the same of them, but for folded lines, which h11 joins with
one space. h11 is stricter than Envoy: it refuses

* a request without `host`, or with two of them;
* more than one blank in a request or status line, and blanks after them; a request line without a version;
* CR in values, and anything but CRLF after a chunk;
* blanks in a chunk's size line, but at its end;
* lengths of more than 20 digits, and `transfer-encoding` without a value;
* a status that has not three digits, and 101 where no upgrade was asked for.

Some errors have other details, and start lines are not looked at before the head is complete. It is slower: a head
costs tens of microseconds.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import h11

from ...errors import CodecProtocolError
from ..codec import ServerConnectionCallbacks
from ..header_map import Entry, HeaderMap
from .client_connection import ClientConnection
from .codec import Http1Connection, content_length
from .header_lines import CODEC_ERROR, END_OF_HEAD, INVALID_TRANSFER_ENCODING, check_characters, lenient_entries
from .server_connection import ServerConnection
from .settings import Http1Settings

if TYPE_CHECKING:
    from ...network.connection import Connection
    from ..codec_stats import Http1CodecStats

_DETAILS = {431: "http1.headers_too_large", 501: INVALID_TRANSFER_ENCODING}
_content_lengths = re.compile(rb"^content-length:[ \t]*(.*?)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE).findall


def _protocol_error(error: h11.RemoteProtocolError) -> CodecProtocolError:
    status = error.error_status_hint
    return CodecProtocolError(_DETAILS.get(status, CODEC_ERROR), status)


class _H11Reader(Http1Connection):
    """Reads with h11: one `h11.Connection` for each message, as what is written does not go through it."""

    _h11: h11.Connection | None = None

    def _new_h11(self) -> h11.Connection:
        raise NotImplementedError

    def _start_line(self, event: Any) -> bytes:
        raise NotImplementedError

    def _split_head(self, data: bytes) -> tuple[bytes, list[Entry], bytes] | None:
        scanned = self._scanned
        match = END_OF_HEAD(data, max(0, scanned - 3))
        end = len(data) if match is None else match.end()
        if end > self._settings.max_headers_size:
            raise CodecProtocolError("http1.headers_too_large", 431)
        if scanned == 0 or self._h11 is None:
            self._h11 = self._new_h11()
        try:
            self._h11.receive_data(data[scanned:end])
            event = self._h11.next_event()
        except h11.RemoteProtocolError as error:
            raise _protocol_error(error) from error
        if match is None:
            self._buffer = data
            self._scanned = end
            return None
        self._scanned = 0
        check_characters(data[:end])
        assert isinstance(event, h11.Request | h11.Response | h11.InformationalResponse)
        # h11 makes one length of several that are equal: look at what was sent.
        lengths = _content_lengths(data[:end])
        if len(lengths) > 1:
            raise CodecProtocolError(CODEC_ERROR)
        if lengths and not any(name == b"transfer-encoding" for name, _ in event.headers):
            content_length(lengths[0])
        entries = lenient_entries(b"\n".join([b"%b:%b" % pair for pair in event.headers]))
        return self._start_line(event), entries, data[end:]

    def _read_body(self, decoder: Any, data: bytes) -> tuple[bytes, bool, HeaderMap | None, bytes]:
        reader = self._h11
        assert reader is not None
        pieces: list[bytes] = []
        try:
            reader.receive_data(data)
            while True:
                event = reader.next_event()
                if isinstance(event, h11.Data):
                    pieces.append(bytes(event.data))
                elif isinstance(event, h11.EndOfMessage):
                    break
                else:
                    return b"".join(pieces), False, None, b""
        except h11.RemoteProtocolError as error:
            raise _protocol_error(error) from error
        trailers: HeaderMap | None = None
        if event.headers and self._settings.enable_trailers:
            entries = lenient_entries(b"\n".join([b"%b:%b" % pair for pair in event.headers]))
            trailers = HeaderMap(self._count_and_filter(entries))
        self._h11 = None
        return b"".join(pieces), True, trailers, reader.trailing_data[0]


class H11ServerConnection(_H11Reader, ServerConnection):
    """One downstream connection."""

    def __init__(
        self,
        connection: Connection,
        callbacks: ServerConnectionCallbacks,
        settings: Http1Settings,
        stats: Http1CodecStats,
    ) -> None:
        super().__init__(connection, callbacks, settings, stats)
        self._max_quick_head = -1

    def _new_h11(self) -> h11.Connection:
        return h11.Connection(h11.SERVER, max_incomplete_event_size=self._settings.max_headers_size)

    def _start_line(self, event: h11.Request) -> bytes:
        return b"%b %b HTTP/%b" % (event.method, event.target, event.http_version)

    def _examine(self, method: bytes, target: bytes, entries: list[Entry], http_11: bool) -> Any:
        request = super()._examine(method, target, entries, http_11)
        length, chunked = request[6:8]
        # Bodies of either kind are h11's.
        return (*request[:7], chunked or length > 0, *request[8:])


class H11ClientConnection(_H11Reader, ClientConnection):
    """One upstream connection."""

    def __init__(self, connection: Connection, settings: Http1Settings, stats: Http1CodecStats) -> None:
        super().__init__(connection, settings, stats)
        self._max_quick_head = -1

    def _new_h11(self) -> h11.Connection:
        """h11 reads a response only to a request that it has seen: this is as much of it as matters."""
        reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=self._settings.max_headers_size)
        method = b"CONNECT" if self._connect_request else b"HEAD" if self._head_request else b"GET"
        headers = [(b"host", b"")]
        if self._upgrade_request:
            headers += [(b"connection", b"upgrade"), (b"upgrade", b"any")]
        reader.send(h11.Request(method=method, target=b"/", headers=headers))
        reader.send(h11.EndOfMessage())
        return reader

    def _start_line(self, event: h11.Response | h11.InformationalResponse) -> bytes:
        return b"HTTP/%b %d" % (event.http_version, event.status_code)

    def _examine(self, status: int, entries: list[Entry], http_11: bool) -> Any:
        response = super()._examine(status, entries, http_11)
        length, chunked = response[3:5]
        return (*response[:4], chunked or length > 0, *response[5:])
