"""What stands behind every proxy: one process with an HTTP/1.1 server and a TCP server that do as little as possible.

HTTP: any request, once its head and its body (by content-length or chunked) are there, is answered with the same bytes.
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
        while size := request_size(data):
            self._write(RESPONSE)
            data = data[size:]
        self._buffer = data
        if len(data) > LARGEST_REQUEST:
            self.transport.abort()


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
