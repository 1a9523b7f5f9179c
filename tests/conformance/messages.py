"""HTTP/1 as the judge sees it: a lenient splitter of a byte stream into messages, and their readable form.

It must never refuse: whatever either proxy sent is shown, and what is no message is shown raw. Chunks are joined
(where they were cut is a matter of timing); all else stays as it came, head line by head line, in order and case.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from . import codings, spans

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]+)[^\r\n]*\r?\n")
_LONG_RUN = re.compile(r"(.)\1{199,}", re.DOTALL)


@dataclass(slots=True)
class Message:
    """One message; `complete` says whether its end was seen, `size` how many bytes of the stream it took."""

    head: bytes
    body: bytes
    trailers: bytes
    chunked: bool
    complete: bool
    size: int
    status: int = field(init=False)

    def __post_init__(self) -> None:
        match = re.match(rb"HTTP/\d\.\d (\d{3,})", self.head)
        self.status = int(match[1]) if match else 0


def header(head: bytes, name: bytes) -> bytes | None:
    match = re.search(rb"(?im)^" + re.escape(name) + rb":[ \t]*(.*?)[ \t]*\r?$", head)
    return match[1] if match else None


def split(data: bytes, ended: bool, methods: Iterator[str] | None = None) -> tuple[list[Message], bytes]:
    """Split a stream into messages and what is left over.

    Args:
        data: the stream so far.
        ended: whether the peer has finished sending; the end of a message without a length.
        methods: for responses, the methods that were asked, in order; None for requests.
    """
    found: list[Message] = []
    position = 0
    method = next(methods, "GET") if methods is not None else None
    while position < len(data):
        message = _one(data[position:], ended, method)
        if message is None:
            break
        found.append(message)
        position += message.size
        if not message.complete:
            break
        if methods is not None and message.status // 100 != 1:
            method = next(methods, "GET")
        elif message.status == 101:
            break
    return found, data[position:]


def _one(data: bytes, ended: bool, method: str | None) -> Message | None:
    blank = _HEAD_END.search(data)
    if blank is None:
        return None
    head, start = data[: blank.start()], blank.end()
    status = int(m[1]) if (m := re.match(rb"HTTP/\d\.\d (\d{3,})", head)) else None
    bodiless = status is not None and (method == "HEAD" or status // 100 == 1 or status in (204, 304))
    if bodiless:
        return Message(head, b"", b"", False, True, start)
    if (coding := header(head, b"transfer-encoding")) is not None and b"chunked" in coding.lower():
        return _chunked(head, data, start)
    length = header(head, b"content-length")
    if length is not None and length.isdigit() and len(length) < 16:
        body = data[start : start + int(length)]
        return Message(head, body, b"", False, len(body) == int(length), start + len(body))
    if status is None:
        return Message(head, b"", b"", False, True, start)
    return Message(head, data[start:], b"", False, ended, len(data))


def _chunked(head: bytes, data: bytes, start: int) -> Message:
    body, position = bytearray(), start
    while (size := _CHUNK_SIZE.match(data, position)) is not None:
        length = int(size[1], 16)
        if length == 0:
            if data.startswith(b"\r\n", size.end()):
                return Message(head, bytes(body), b"", True, True, size.end() + 2)
            if (end := data.find(b"\r\n\r\n", size.end())) >= 0:
                return Message(head, bytes(body), data[size.end() : end], True, True, end + 4)
            break
        if size.end() + length + 2 > len(data):
            body += data[size.end() : size.end() + length]
            return Message(head, bytes(body), b"", True, False, len(data))
        body += data[size.end() : size.end() + length]
        position = size.end() + length + 2
    return Message(head, bytes(body), data[position:], True, False, len(data))


class Reader:
    """Finds the complete messages of a stream that is still growing, without reading it from its beginning each time.

    `methods` is the growing list of what was asked, for responses; None for requests.
    """

    def __init__(self, methods: list[str] | None = None) -> None:
        self._methods = methods
        self._found: list[Message] = []
        self._final = 0
        self._position = 0
        self._wait_for = 0

    def complete(self, stream: bytearray, ended: bool) -> list[Message]:
        if len(stream) < self._wait_for and not ended:
            return self._found
        while self._position < len(stream):
            method = None if self._methods is None else (self._methods[self._final :] or ["GET"])[0]
            rest = bytes(stream[self._position :])
            message = _one(rest, ended, method)
            if message is None or not message.complete:
                length = header(message.head, b"content-length") if message and not message.chunked else None
                self._wait_for = len(stream) + 1
                if message is not None and length is not None and length.isdigit() and len(length) < 16:
                    self._wait_for = self._position + message.size - len(message.body) + int(length)
                break
            self._found.append(message)
            self._final += message.status // 100 != 1
            self._position += message.size
        return self._found


def text(data: bytes) -> str:
    """Bytes as a string of the same length, long runs of one byte abbreviated."""
    return _LONG_RUN.sub(lambda run: f"<{len(run[0])} times {run[1]}>", data.decode("latin-1"))


def lines(data: bytes) -> list[str]:
    if data[:1] in b"\0\n[" and any(mark in data for mark in spans.MARKS):
        # They are compared by what they say.
        return [text(data)]
    return [_short(text(line)) for line in data.split(b"\r\n")]


def body_lines(data: bytes, decoder: codings.Decoder | None) -> list[str]:
    """The lines of a body, decoded if it is coded as its headers say."""
    shown = decoder.feed(data) if decoder is not None and data else None
    if shown is None:
        return lines(data)
    before, content, behind = shown
    return (
        [each.decode() for each in (before,) if each]
        + (lines(content) if content else [])
        + ([behind.decode()] if behind else [])
    )


def _decoder(message: Message) -> codings.Decoder | None:
    coding = header(message.head, b"content-encoding")
    return codings.decoder(coding.decode("latin-1") if coding is not None else None)


def _short(line: str) -> str:
    return line if len(line) <= 1200 else f"{line[:500]}<... {len(line)} characters ...>{line[-200:]}"


def readable(message: Message) -> list[str]:
    """A message as the list of lines that goes into a golden answer."""
    shown = lines(message.head)
    decoder = _decoder(message)
    if message.chunked:
        shown += [
            "",
            *(body_lines(message.body, decoder) if message.body else []),
            *(["<last chunk>"] if message.complete else []),
        ]
        if message.trailers:
            shown += lines(message.trailers)
    elif message.body:
        shown += ["", *body_lines(message.body, decoder)]
    if not message.complete:
        shown.append("<cut off>")
    return shown


def brief(message: Message, shows: tuple[str, ...] = ()) -> str:
    """Status, location and body in one line, with the headers whose names begin so."""
    place = header(message.head, b"location")
    body = "\r\n".join(body_lines(message.body, _decoder(message))) if message.body else ""
    parts = [str(message.status), *([f"to {text(place)}"] if place is not None else []), body]
    if shows:
        parts += [f"| {line}" for line in text(message.head).split("\r\n")[1:] if line.lower().startswith(shows)]
    return " ".join(part for part in parts if part)
