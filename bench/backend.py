"""What stands behind every proxy: one process with an HTTP/1.1 server and a TCP server that do as little as possible.

HTTP: any request, once its head and its body (by content-length or chunked) are there, is answered with the same bytes.
A connection that begins with the preface of HTTP/2 speaks that, and answers alike.
TCP: the first byte of a connection chooses; `E` and all that follows is echoed, `B` and eight bytes (a big-endian size)
are answered with that many bytes, then the connection closes.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from typing import cast

import uvloop

HOST = "127.0.0.1"
BODY = b"all is well behind the proxy.\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
BULK_REQUEST = struct.Struct(">cQ")
BULK_CHUNK = bytes(256 * 1024)
LARGEST_REQUEST = 1024 * 1024

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME = struct.Struct(">BHBB4s")
_DATA, _HEADERS, _SETTINGS, _PING = 0, 1, 4, 6
_END_STREAM = _ACK = 1


def frame(kind: int, flags: int, stream: bytes, payload: bytes) -> bytes:
    """One HTTP/2 frame; `stream` is its number as it is on the wire."""
    return _FRAME.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\0%c%b%c%b" % (len(name), name, len(value), value)


_CONNECTION = bytes(4)
# SETTINGS_MAX_CONCURRENT_STREAMS 1024, and window for more bodies than a measurement sends.
GREETING = frame(_SETTINGS, 0, _CONNECTION, b"\0\x03\0\0\x04\0") + frame(8, 0, _CONNECTION, b"\x3f\xff\0\0")
BLOCK = b"\x88" + _literal(b"content-type", b"text/plain") + _literal(b"content-length", b"%d" % len(BODY))
"""`:status: 200` and the headers of `RESPONSE`."""


def request_size(data: bytes) -> int:
    """Bytes of the first request in `data`; 0 while it is incomplete."""
    head_end = data.find(b"\r\n\r\n") + 4
    if head_end == 3:
        return 0
    head = data[:head_end].lower()
    if b"\r\ntransfer-encoding: chunked\r\n" in head:
        last = data.find(b"\r\n0\r\n\r\n", head_end - 2)
        return last + 7 if last >= 0 else 0
    at = head.find(b"\r\ncontent-length:")
    size = head_end + (int(head[at + 17 : head.index(b"\r\n", at + 2)]) if at >= 0 else 0)
    return size if len(data) >= size else 0


class Http2Replies:
    """One connection: answers each stream that ends with `BLOCK` and `BODY`."""

    __slots__ = ("_greeted", "_pending")

    def __init__(self) -> None:
        self._pending = b""
        self._greeted = False

    def receive(self, data: bytes) -> bytes:
        """What is to be sent for what has come."""
        data = self._pending + data
        replies = []
        at = 0
        if not self._greeted and len(data) >= len(PREFACE):
            self._greeted = True
            at = len(PREFACE)
            replies.append(GREETING)
        while self._greeted and len(data) - at >= _FRAME.size:
            high, low, kind, flags, stream = _FRAME.unpack_from(data, at)
            end = at + _FRAME.size + (high << 16 | low)
            if end > len(data):
                break
            if kind in (_DATA, _HEADERS):
                if flags & _END_STREAM:
                    replies.append(frame(_HEADERS, 4, stream, BLOCK) + frame(_DATA, _END_STREAM, stream, BODY))
            elif kind in (_SETTINGS, _PING) and not flags & _ACK:
                replies.append(frame(kind, _ACK, stream, data[at + _FRAME.size : end] if kind == _PING else b""))
            at = end
        self._pending = data[at:]
        return b"".join(replies)


class HttpAnswer(asyncio.Protocol):
    """Answers each complete request with `RESPONSE`."""

    __slots__ = ("_buffer", "_write", "transport")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._write = self.transport.write
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        # Nearly all: exactly one request without a body.
        if not self._buffer and data.startswith(b"GET ") and data.find(b"\r\n\r\n") == len(data) - 4:
            self._write(RESPONSE)
            return
        data = self._buffer + data
        if data.startswith(PREFACE[:3]):
            answer = Http2Answer(self.transport)
            self.transport.set_protocol(answer)
            answer.data_received(data)
            return
        while size := request_size(data):
            self._write(RESPONSE)
            data = data[size:]
        self._buffer = data
        if len(data) > LARGEST_REQUEST:
            self.transport.abort()


class Http2Answer(asyncio.Protocol):
    """What came in one read is answered in one write."""

    __slots__ = ("_receive", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._receive = Http2Replies().receive

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._receive(data))


class TcpAnswer(asyncio.Protocol):
    """Echoes, or sends bulk: the first byte says which."""

    __slots__ = ("_buffer", "_echo", "_paused", "_to_send", "transport")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._buffer = b""
        self._echo = False
        self._paused = False
        self._to_send = 0

    def data_received(self, data: bytes) -> None:
        if self._echo:
            self.transport.write(data)
            return
        self._buffer += data
        if self._buffer[:1] == b"E":
            self._echo = True
            self.transport.write(self._buffer)
        elif len(self._buffer) >= BULK_REQUEST.size:
            self._to_send = BULK_REQUEST.unpack_from(self._buffer)[1]
            self._send()

    def _send(self) -> None:
        while self._to_send and not self._paused:
            chunk = BULK_CHUNK if self._to_send >= len(BULK_CHUNK) else BULK_CHUNK[: self._to_send]
            self._to_send -= len(chunk)
            self.transport.write(chunk)
        if not self._to_send:
            self.transport.close()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._to_send:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._to_send = 0


async def main(http_port: int, tcp_port: int) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_server(HttpAnswer, HOST, http_port, backlog=4096)
    await loop.create_server(TcpAnswer, HOST, tcp_port, backlog=4096)
    await loop.create_future()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
