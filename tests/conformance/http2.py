"""HTTP/2 as the judge speaks it: frames written as a few words of YAML, and what came shown frame by frame.

Framing is a dozen lines of our own and compression the `hpack` library's, so that anything can be sent, also what no
client would, and nothing that minienvoy does itself is used to judge it.

A *frame* in a scenario is a mapping, or the text of a raw one; several are sent in one write:

* `{headers: "GET /path | name: value | ..."}` - HEADERS with `:method`, `:scheme http`, `:path`, `:authority a.test`,
  in this order, then the rest; a row that begins with a colon replaces (`:authority: b`) or removes (`:path`) a
  pseudo-header or adds one (`:protocol: x`). A number in place of a method makes it a response: `200 | name: value`.
  `{fields: [[name, value], ...]}` sends exactly these, `{trailers: "name: value | ..."}` sends them with END_STREAM,
  `{block: bytes}` sends a compressed block as it stands (characters are bytes).
* `{data: text}` - DATA; a list may have `{repeat: [text, n]}` in it; large ones are cut into frames of 16,384 bytes.
* `{message: {type: name, field: value, ...}}` - DATA with a message of Envoy's API, as gRPC has it (protos.py).
* `{metadata: "name: value | ..."}` - METADATA, Envoy's extension, with END_METADATA; pairs in a list, `{block: bytes}`
  and `split` as for HEADERS. What comes is shown sorted, for Envoy's map has no order.
* `{rst: code}`, `{window: n}`, `{priority: bytes}`
* `{ping: 8 characters}`, `{settings: {number or name: value}}`, `{settings_ack: true}`, `{goaway: [last, code, text]}`,
  `{frame: [type, flags, stream, bytes]}`; `{repeat: [frame or frames, n]}`.

Beside them: `stream: n` (else HEADERS open the next stream, and everything else is about the last one; for `window` 0
is the connection), `end: true` (END_STREAM), `flags: n` (instead of the usual ones), `split: n` (the block goes on in a
CONTINUATION after n bytes), `padded: n`.
"""

from __future__ import annotations

import itertools
import json
import struct
from dataclasses import dataclass, field
from typing import Any

import hpack

from . import codings, messages, protos

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NAMES = (
    "DATA HEADERS PRIORITY RST_STREAM SETTINGS PUSH_PROMISE PING GOAWAY WINDOW_UPDATE CONTINUATION ALTSVC".split()  # noqa: SIM905
)
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
METADATA = 77
END_METADATA = 4
SETTING = {
    "header_table_size": 1,
    "enable_push": 2,
    "max_concurrent_streams": 3,
    "initial_window_size": 4,
    "max_frame_size": 5,
    "max_header_list_size": 6,
    "enable_connect_protocol": 8,
}
MAX_FRAME = 16_384
DEFAULT_WINDOW = 65_535
KEYS = ("stream", "end", "flags", "split", "padded")


def raw_frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def plain(value: Any) -> bytes:
    """The bytes of a text, or of a list of texts, `{repeat: [text, n]}` and what codings.py has."""
    if isinstance(value, list):
        return b"".join(plain(part) for part in value)
    if isinstance(value, dict):
        if "repeat" not in value:
            return codings.piece(value, plain)
        return plain(value["repeat"][0]) * int(value["repeat"][1])
    return str(value).encode("latin-1")


def fields_of(text: str) -> list[tuple[bytes, bytes]]:
    """The header list that the rows of `headers` stand for."""
    start, *rows = text.split(" | ")
    method, _, path = start.partition(" ")
    pseudo = {":status": method}
    if not method.isdigit():
        pseudo = {":method": method, ":scheme": "http", ":path": path, ":authority": "a.test"}
    regular = []
    for row in rows:
        mark, name, value = row[:1], *(part for part in row.lstrip(":").partition(":")[::2])
        if mark != ":":
            regular.append((name, value.removeprefix(" ")))
        elif ":" in row[1:]:
            pseudo[f":{name}"] = value.removeprefix(" ")
        else:
            pseudo.pop(row, None)
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in [*pseudo.items(), *regular]]


def trailers_of(text: str) -> list[tuple[bytes, bytes]]:
    rows = (row.partition(": ") for row in text.split(" | "))
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, _, value in rows]


def metadata_block(value: Any) -> bytes:
    """Rows, or `[name, value]` in a list, as literals that are never indexed."""
    pairs = trailers_of(value) if isinstance(value, str) else [(plain(name), plain(text)) for name, text in value]
    return bytes(hpack.Encoder().encode([(name, text, True) for name, text in pairs]))


def settings_payload(values: dict[Any, int]) -> bytes:
    return b"".join(
        struct.pack(">HL", SETTING[key] if key in SETTING else int(key), value) for key, value in values.items()
    )


@dataclass(slots=True)
class Frame:
    """One frame of the peer; `end` is where it ends in the stream of bytes."""

    kind: int
    flags: int
    stream: int
    payload: bytes
    end: int
    fields: list[tuple[str, str]] = field(default_factory=list)

    @property
    def ends_stream(self) -> bool:
        return self.kind in (DATA, HEADERS) and bool(self.flags & 1)


class Reader:
    """Frames out of a growing stream of bytes.

    Attributes:
        frames: so far.
        ended: streams that the peer has ended or reset.
        opened: streams that the peer has opened, in order.
    """

    def __init__(self, preface: int = 0) -> None:
        self.frames: list[Frame] = []
        self.ended: set[int] = set()
        self.opened: list[int] = []
        self.position = preface
        self._decoder = hpack.Decoder(max_header_list_size=1 << 24)
        self._block = b""
        self._metadata: dict[int, bytes] = {}

    def read(self, received: bytearray) -> list[Frame]:
        """The frames that are complete and new."""
        fresh: list[Frame] = []
        while len(received) - self.position >= 9:
            at = self.position
            length = int.from_bytes(received[at : at + 3], "big")
            if len(received) - at < 9 + length:
                break
            kind, flags = received[at + 3], received[at + 4]
            stream = int.from_bytes(received[at + 5 : at + 9], "big") & 0x7FFFFFFF
            self.position = at + 9 + length
            frame = Frame(kind, flags, stream, bytes(received[at + 9 : self.position]), self.position)
            self._take(frame)
            fresh.append(frame)
        self.frames += fresh
        return fresh

    def _take(self, frame: Frame) -> None:
        if frame.kind in (HEADERS, CONTINUATION):
            self._block += frame.payload
            if frame.flags & 4:
                pairs = self._decoder.decode(self._block, raw=True)
                frame.fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs]
                self._block = b""
        if frame.kind == METADATA:
            block = self._metadata.pop(frame.stream, b"") + frame.payload
            if frame.flags & END_METADATA:
                # Each block by itself: Envoy's has no table.
                pairs = hpack.Decoder(max_header_list_size=1 << 24).decode(block, raw=True)
                frame.fields = sorted((name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs)
            else:
                self._metadata[frame.stream] = block
        if frame.kind == HEADERS and frame.stream not in self.opened:
            self.opened.append(frame.stream)
        if frame.ends_stream or frame.kind == RST_STREAM:
            self.ended.add(frame.stream)


class Writer:
    """Makes the bytes of frames, and remembers which streams they have opened."""

    def __init__(self, first_stream: int = 1) -> None:
        self._encoder = hpack.Encoder()
        self._next = first_stream
        self.last = 0
        self.opened: list[int] = []
        self.given_up: set[int] = set()

    def encode(self, frames: Any, stream: int = 0) -> bytes:
        """`stream` is the one that is meant where a frame does not say."""
        if not isinstance(frames, list):
            frames = [frames]
        return b"".join(self._one(each, stream) for each in frames)

    def _one(self, spec: Any, default: int) -> bytes:
        if not isinstance(spec, dict):
            return plain(spec)
        ((verb, value),) = ((key, each) for key, each in spec.items() if key not in KEYS)
        if verb == "repeat":
            return b"".join(self.encode(value[0], default) for _ in range(int(value[1])))
        if verb == "raw":
            return plain(value)
        stream = spec.get("stream", default)
        if verb in ("headers", "fields", "trailers", "block"):
            return self._headers(verb, value, stream, spec)
        if not stream and "stream" not in spec:
            stream = self.last
        if verb == "metadata":
            return self._metadata(value, stream, spec)
        flags = spec.get("flags", 1 if spec.get("end") else 0)
        if verb == "data":
            return self._data(plain(value), stream, flags, spec)
        if verb == "message":
            return self._data(protos.framed(value), stream, flags, spec)
        if verb == "rst":
            self.given_up.add(stream)
            return raw_frame(RST_STREAM, 0, stream, int(value).to_bytes(4, "big"))
        if verb == "window":
            return raw_frame(WINDOW_UPDATE, 0, stream, int(value).to_bytes(4, "big"))
        if verb == "priority":
            return raw_frame(PRIORITY, 0, stream, plain(value))
        if verb == "ping":
            return raw_frame(PING, spec.get("flags", 0), spec.get("stream", 0), plain(value))
        if verb == "settings":
            return raw_frame(SETTINGS, spec.get("flags", 0), spec.get("stream", 0), settings_payload(value or {}))
        if verb == "settings_ack":
            return raw_frame(SETTINGS, 1, 0)
        if verb == "goaway":
            last, code, text = value
            return raw_frame(GOAWAY, 0, 0, struct.pack(">LL", last, code) + plain(text))
        if verb == "frame":
            kind, kind_flags, kind_stream, payload = value
            return raw_frame(kind, kind_flags, kind_stream, plain(payload))
        raise ValueError(f"{verb!r} is not a frame; see the list at the top of http2.py")

    def _headers(self, verb: str, value: Any, stream: int, spec: dict[str, Any]) -> bytes:
        if verb == "trailers" and not stream:
            stream = self.last
        if not stream:
            stream = self._next
        if stream >= self._next:
            self._next = stream + 2
        self.last = stream
        if stream not in self.opened:
            self.opened.append(stream)
        if verb == "block":
            block = plain(value)
        elif verb == "fields":
            block = self._encoder.encode([(plain(name), plain(content)) for name, content in value])
        else:
            block = self._encoder.encode(fields_of(value) if verb == "headers" else trailers_of(value))
        ends = spec.get("end", verb == "trailers")
        flags = spec.get("flags", 4 | bool(ends))
        if "padded" in spec:
            flags |= 8
            block = bytes([spec["padded"]]) + block + bytes(spec["padded"])
        if "split" not in spec and len(block) <= MAX_FRAME:
            return raw_frame(HEADERS, flags, stream, block)
        size = spec.get("split", MAX_FRAME)
        pieces = [block[at : at + size] for at in range(0, len(block), size)]
        last = len(pieces) - 1
        return b"".join(
            raw_frame(CONTINUATION if at else HEADERS, (0 if at else flags & ~4) | (flags & 4 if at == last else 0),
                      stream, piece)
            for at, piece in enumerate(pieces)
        )  # fmt: skip

    @staticmethod
    def _metadata(value: Any, stream: int, spec: dict[str, Any]) -> bytes:
        block = plain(value["block"]) if isinstance(value, dict) and "block" in value else metadata_block(value)
        size = spec.get("split", MAX_FRAME)
        pieces = [block[at : at + size] for at in range(0, len(block), size)] or [b""]
        last = spec.get("flags", END_METADATA)
        return b"".join(raw_frame(METADATA, 0, stream, each) for each in pieces[:-1]) + raw_frame(
            METADATA, last, stream, pieces[-1]
        )

    @staticmethod
    def _data(content: bytes, stream: int, flags: int, spec: dict[str, Any]) -> bytes:
        if "padded" in spec:
            padding = spec["padded"]
            return raw_frame(DATA, flags | 8, stream, bytes([padding]) + content + bytes(padding))
        pieces = [content[at : at + MAX_FRAME] for at in range(0, len(content), MAX_FRAME)] or [b""]
        last = len(pieces) - 1
        return b"".join(raw_frame(DATA, flags if at == last else 0, stream, each) for at, each in enumerate(pieces))


class Session:
    """One end of a connection that does what every peer does: acknowledge, and give window again.

    Options (`h2: {...}` of a case or a backend): `settings` (what the first SETTINGS say), `preface: false` (send
    nothing on its own), `ack: false` (acknowledge no SETTINGS, answer no PING), `window: false` (give no window again),
    `show: all` (also SETTINGS and WINDOW_UPDATE), `show: frames` (each DATA frame by itself, too) or `show: wire` (each
    DATA frame by itself, and the bytes of METADATA), `sorted: true` (stream by stream: their turns are a matter of
    timing), `shows: name` (bodies are messages of that type, protos.py).
    """

    def __init__(self, options: Any, client: bool) -> None:
        self.options: dict[str, Any] = options if isinstance(options, dict) else {}
        self.client = client
        self.reader = Reader(0 if client else len(PREFACE))
        self.writer = Writer(1 if client else 2)
        self._taken: dict[int, int] = {}

    def hello(self) -> bytes:
        if not self.options.get("preface", True):
            return b""
        settings = raw_frame(SETTINGS, 0, 0, settings_payload(self.options.get("settings") or {}))
        return (PREFACE if self.client else b"") + settings

    def answer(self, received: bytearray) -> bytes:
        """Read what has come; what goes back for it."""
        back = b""
        for frame in self.reader.read(received):
            if self.options.get("ack", True) and not frame.flags & 1 and frame.kind in (SETTINGS, PING):
                back += raw_frame(frame.kind, 1, 0, frame.payload if frame.kind == PING else b"")
            if frame.kind == DATA and self.options.get("window", True):
                back += self._window(0, len(frame.payload), DEFAULT_WINDOW)
                if not frame.flags & 1:
                    own = (self.options.get("settings") or {}).get("initial_window_size", DEFAULT_WINDOW)
                    back += self._window(frame.stream, len(frame.payload), own)
        return back

    def _window(self, stream: int, length: int, whole: int) -> bytes:
        """Window again when half of it is used."""
        taken = self._taken.get(stream, 0) + length
        if taken * 2 < whole or not taken:
            self._taken[stream] = taken
            return b""
        self._taken[stream] = 0
        return raw_frame(WINDOW_UPDATE, 0, stream, taken.to_bytes(4, "big"))

    def messages_on(self, stream: int) -> int:
        """How many whole messages of gRPC have come on `stream`."""
        body = b"".join(each.payload for each in self.reader.frames if each.kind == DATA and each.stream == stream)
        count = at = 0
        while len(body) - at >= 5 and len(body) - at - 5 >= (length := int.from_bytes(body[at + 1 : at + 5], "big")):
            count, at = count + 1, at + 5 + length
        return count

    def waits_for(self) -> set[int]:
        """Streams that this side has opened and the peer has not ended."""
        left = {each for each in self.writer.opened if each not in self.reader.ended | self.writer.given_up}
        for frame in self.reader.frames:
            if frame.kind == GOAWAY:
                last = int.from_bytes(frame.payload[:4], "big") & 0x7FFFFFFF
                left = {each for each in left if each <= last}
        return left

    # -- what a golden answer shows

    def shown(self) -> list[tuple[int, Any]]:
        """(position in the stream of bytes, lines), frame by frame; DATA joined to what its stream had before."""
        show = self.options.get("show")
        found: list[tuple[int, int, list[str]]] = []
        begun: set[int] = set()
        for frame in self.reader.frames:
            if frame.kind == DATA and show not in ("frames", "wire") and found and found[-1][1] == frame.stream:
                _add_data(found[-1][2], frame)
                continue
            lines = _lines(frame, begun, show)
            if lines:
                found.append((frame.end, frame.stream, lines))
        if self.options.get("sorted"):
            last = max((position for position, _, _ in found), default=0)
            order = sorted(found, key=lambda each: (each[1], each[0]))
            merged: list[tuple[int, int, list[str]]] = []
            for _, stream, lines in order:
                if merged and merged[-1][1] == stream and stream and lines[0].startswith(f"{stream} DATA"):
                    _join(merged[-1][2], lines[1:])
                else:
                    merged.append((last, stream, lines))
            found = merged
        decoders: dict[int, codings.Decoder | None] = {}
        for _, stream, lines in found:
            coding = [line.partition(": ")[2] for line in lines if line.startswith("content-encoding: ")]
            if coding:
                decoders[stream] = codings.decoder(coding[0])
        messages_of = self.options.get("shows")
        return _counted(
            [(position, _compact(lines, decoders.get(stream), messages_of)) for position, stream, lines in found]
        )


def _counted(shown: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Many of the same are one line."""
    found: list[tuple[int, Any]] = []
    for same, group in itertools.groupby(shown, key=lambda each: json.dumps(each[1])):
        all_of_them = list(group)
        if len(all_of_them) > 9:
            found.append((all_of_them[-1][0], f"{len(all_of_them)} times {same}"))
        else:
            found += all_of_them
    return found


_BODY = "\0"
"""Before the one line of a body while DATA is still being joined."""


def _add_data(lines: list[str], frame: Frame) -> None:
    body = frame.payload
    if frame.flags & 8:
        body = body[1 : len(body) - body[0]]
    if lines[-1].startswith(_BODY):
        lines[-1] += body.decode("latin-1")
    elif body:
        lines.append(_BODY + body.decode("latin-1"))
    if frame.flags & 1:
        lines.append("<end>")


def _join(lines: list[str], more: list[str]) -> None:
    if more and lines[-1].startswith(_BODY) and more[0].startswith(_BODY):
        lines[-1] += more[0][1:]
        more = more[1:]
    lines += more


def _compact(lines: list[str], decoder: codings.Decoder | None, messages_of: str | None) -> Any:
    out: list[str] = []
    for line in lines:
        if line.startswith(_BODY):
            body = line[1:].encode("latin-1")
            known = protos.shown(messages_of, body) if messages_of else None
            out += ["", *(messages.body_lines(body, decoder) if known is None else known)]
        else:
            out.append(messages.lines(line.encode("latin-1"))[0] if "\r\n" not in line else line)
    return out[0] if len(out) == 1 else out


def _lines(frame: Frame, begun: set[int], show: Any) -> list[str]:
    name = NAMES[frame.kind] if frame.kind < len(NAMES) else f"type {frame.kind}"
    if frame.kind in (HEADERS, CONTINUATION):
        if not frame.fields and not frame.flags & 4:
            return []
        trailers = frame.stream in begun and not any(each[0] == ":status" for each in frame.fields)
        begun.add(frame.stream)
        lines = [f"{frame.stream} {'trailers' if trailers else 'HEADERS'}"]
        lines += [f"{name}: {value}" for name, value in frame.fields]
        return [*lines, "<end>"] if frame.flags & 1 else lines
    if frame.kind == METADATA:
        lines = [f"{frame.stream} METADATA{'' if frame.flags & END_METADATA else ' goes on'}"]
        if show == "wire":
            lines[0] += f" {len(frame.payload)} bytes {frame.payload[:64].hex()}"
        return [*lines, *(f"{name}: {value}" for name, value in frame.fields)]
    if frame.kind == DATA:
        lines = [
            f"{frame.stream} DATA"
            if show not in ("frames", "wire")
            else f"{frame.stream} DATA {len(frame.payload)} bytes"
        ]
        _add_data(lines, frame)
        return lines
    if frame.kind == RST_STREAM:
        return [f"{frame.stream} RST_STREAM {int.from_bytes(frame.payload, 'big')}"]
    if frame.kind == GOAWAY:
        last, code = struct.unpack_from(">LL", frame.payload)
        text = frame.payload[8:].decode("latin-1")
        return [f"GOAWAY last={last} code={code}{' ' + text if text else ''}"]
    if frame.kind == PING:
        return [f"PING ack {frame.payload.decode('latin-1')}" if frame.flags & 1 else "PING"]
    if frame.kind == SETTINGS and show in ("all", "frames"):
        values = " ".join(f"{key}={value}" for key, value in struct.iter_unpack(">HL", frame.payload))
        return ["SETTINGS ack" if frame.flags & 1 else f"SETTINGS {values}"]
    if frame.kind == WINDOW_UPDATE and show in ("all", "frames"):
        return [f"{frame.stream} WINDOW_UPDATE {int.from_bytes(frame.payload, 'big')}"]
    return [] if frame.kind in (SETTINGS, WINDOW_UPDATE) else [f"{frame.stream} {name}"]
