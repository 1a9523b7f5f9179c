"""An HTTP/2 client of a few lines, for tests that send what no library would, or read as slowly as no library does."""

from __future__ import annotations

import asyncio
import struct

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, _, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def window(stream: int, size: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, size.to_bytes(4, "big"))


class Http2Client:
    """One connection; `window_size` is what it takes on a stream before it has to give window again."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, window_size: int = 65_535) -> None:
        self.reader = reader
        self.writer = writer
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.next_stream = 1
        self.connection_window = 65_535
        self.stream_windows: dict[int, int] = {}
        self.initial_window = 65_535
        writer.write(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HL", 4, window_size)))

    @classmethod
    async def connect(cls, host: str, port: int, window_size: int = 65_535) -> Http2Client:
        return cls(*await asyncio.open_connection(host, port), window_size)

    def headers(self, method: str, path: str, *more: tuple[str, str], end: bool = True) -> bytes:
        """A HEADERS frame of a new stream."""
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        pseudo = ((":method", method), (":scheme", "http"), (":path", path), (":authority", "a.test"))
        return frame(HEADERS, 4 | int(end), stream, self.encoder.encode((*pseudo, *more)))

    async def next_frame(self) -> tuple[int, int, int, bytes]:
        """Settings and windows are dealt with on the way; raises IncompleteReadError at the end."""
        while True:
            head = await self.reader.readexactly(9)
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:9], "big")
            payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
            if kind == SETTINGS and not flags & 1:
                for key, value in struct.iter_unpack(">HL", payload):
                    if key == 4:
                        self.initial_window = value
                self.writer.write(frame(SETTINGS, 1, 0))
            elif kind == WINDOW_UPDATE:
                size = int.from_bytes(payload, "big")
                if stream:
                    self.stream_windows[stream] = self.stream_windows.get(stream, self.initial_window) + size
                else:
                    self.connection_window += size
            elif kind not in (SETTINGS, PING):
                return kind, flags, stream, payload

    async def response(self, stream: int, slowly: float = 0.0) -> tuple[int, int]:
        """Status and size of the body; each DATA frame gives as much window again, `slowly` seconds later."""
        status = size = 0
        while True:
            kind, flags, of, payload = await self.next_frame()
            if kind == HEADERS:
                fields = dict(self.decoder.decode(payload))
                if of == stream:
                    status = int(fields.get(":status", status))
            elif kind == DATA:
                if slowly:
                    await asyncio.sleep(slowly)
                if payload:
                    self.writer.write(window(0, len(payload)) + (b"" if flags & 1 else window(of, len(payload))))
                if of == stream:
                    size += len(payload)
            elif kind in (RST_STREAM, GOAWAY) and of in (stream, 0):
                raise ConnectionError(f"{'GOAWAY' if kind == GOAWAY else 'RST_STREAM'} {payload!r}")
            if of == stream and kind in (HEADERS, DATA) and flags & 1:
                return status, size

    async def get(self, path: str) -> tuple[int, int]:
        stream = self.next_stream
        self.writer.write(self.headers("GET", path))
        return await self.response(stream)

    async def send_body(self, stream: int, size: int) -> None:
        """DATA as far as the windows go; who calls it has to read meanwhile."""
        block = bytes(16_384)
        self.stream_windows.setdefault(stream, self.initial_window)
        while size:
            length = min(size, len(block), self.connection_window, self.stream_windows[stream])
            if length <= 0:
                await asyncio.sleep(0.001)
                continue
            size -= length
            self.connection_window -= length
            self.stream_windows[stream] -= length
            self.writer.write(frame(DATA, 0 if size else 1, stream, block[:length]))
            await self.writer.drain()

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass
