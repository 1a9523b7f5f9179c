"""The messages of a gRPC response as JSON.

Envoy: `google::grpc::transcoding::MessageReader`, `ResponseToJsonTranslator`.
"""

from __future__ import annotations

from typing import Final

from .....http.grpc import FRAME_HEADER_SIZE
from .....record import record
from .json_printer import PrintError, PrintOptions, print_json
from .types import MessageType, TypeHelper

ARRAY: Final = 0
LINES: Final = 1
EVENTS: Final = 2
"""How the messages of a stream stand beside each other: a JSON array, one a line, server-sent events."""


class MessageReader:
    """Cuts what comes into messages. One that is compressed is refused, unless nobody looks into it."""

    __slots__ = ("_data", "_takes_compressed")

    def __init__(self, *, takes_compressed: bool = False) -> None:
        self._data = bytearray()
        self._takes_compressed = takes_compressed

    @property
    def held(self) -> int:
        """Bytes of a message of which not all has come."""
        return len(self._data)

    def feed(self, data: bytes) -> None:
        self._data += data

    def next(self) -> bytes | None:
        """The next message that is complete; raises PrintError for what is no frame."""
        data = self._data
        if len(data) < FRAME_HEADER_SIZE:
            return None
        if data[0] and not self._takes_compressed:
            raise PrintError(f"Unsupported gRPC frame flag: {data[0]}", "INTERNAL")
        size = FRAME_HEADER_SIZE + int.from_bytes(data[1:FRAME_HEADER_SIZE], "big")
        if len(data) < size:
            return None
        message = bytes(data[FRAME_HEADER_SIZE:size])
        del data[:size]
        return message

    def finish(self) -> None:
        """Nothing more comes; raises PrintError if something is missing."""
        held = len(self._data)
        if 0 < held < FRAME_HEADER_SIZE:
            raise PrintError("Incomplete gRPC frame header received", "INTERNAL")
        if held:
            size = int.from_bytes(self._data[1:FRAME_HEADER_SIZE], "big")
            problem = f"Incomplete gRPC frame expected size: {size} actual size: {held - FRAME_HEADER_SIZE}"
            raise PrintError(problem, "INTERNAL")


@record
class ResponseInfo:
    """What is the same for all responses of a method; `delimiting` counts if it is a stream."""

    types: TypeHelper
    message: MessageType
    streaming: bool
    delimiting: int
    options: PrintOptions


class ResponseTranslator:
    """One response."""

    __slots__ = ("_finished", "_first", "_info", "_reader")

    def __init__(self, info: ResponseInfo) -> None:
        self._info = info
        self._reader = MessageReader()
        self._first = True
        self._finished = False

    @property
    def held(self) -> int:
        return self._reader.held

    def feed(self, data: bytes, end: bool) -> bytes:
        """The JSON of the messages that are complete with `data`; raises PrintError."""
        self._reader.feed(data)
        info = self._info
        out = []
        while not self._finished:
            message = self._reader.next()
            if message is None:
                break
            text = print_json(info.types, info.message, message, info.options)
            if not info.streaming:
                # There is no more than one.
                self._finished = True
                out.append(text)
            elif info.delimiting == EVENTS:
                out += [b"data: ", text, b"\n\n"]
            elif info.delimiting == LINES:
                out += [text, b"\n"]
            else:
                out += [b"[" if self._first else b",", text]
                self._first = False
        if end and not self._finished:
            self._reader.finish()
        if end and not self._finished and info.streaming:
            self._finished = True
            if info.delimiting == ARRAY:
                out.append(b"[]" if self._first else b"]")
        return b"".join(out)
