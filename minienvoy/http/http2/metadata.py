"""METADATA frames: what proxies tell each other about a stream, beside its messages.

Envoy: `Http2::MetadataDecoder`, `Http2::NewMetadataEncoder`; docs "Envoy Metadata" of HTTP/2, an extension of its own.

A block of METADATA is compressed as headers are, but by itself: no table outlives it. It is one or more frames, of
which the last says END_METADATA, and no other flag; other frames may come between them. All that a stream brings is
counted together, for as long as the stream lasts. Flow control does not know it: it does not wait where DATA does.

Of a name that comes twice the first value counts. Envoy passes several names on in the order of a hash table, which
nobody can rely on; here they go on as they came.
"""

from __future__ import annotations

from sys import maxsize

from ..codec import Metadata
from ..header_map import Entry
from .fields import STATIC_ENTRIES
from .frames import END_METADATA, MAX_FRAME, METADATA, frame
from .hpack import INDEX, NAME_INDEX, Decoder, write_integer
from .huffman import encode, encoded_length


class MetadataDecoder:
    """Of one stream. `receive` raises HpackError for what can not be read."""

    __slots__ = ("_block", "_limit", "_received")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._block = bytearray()
        self._received = 0

    def takes(self, size: int) -> bool:
        """Whether the stream may bring so many bytes more."""
        self._received += size
        return self._received <= self._limit

    def receive(self, payload: bytes, end: bool) -> Metadata | None:
        """What a block says that is complete now."""
        self._block += payload
        if not end:
            return None
        block, self._block = bytes(self._block), bytearray()
        # What a table makes of it is not held against the peer: names come once, and entries are there once.
        decoder = Decoder(_entry, STATIC_ENTRIES, maxsize, len(block), max_field_size=self._limit)
        first: dict[bytes, bytes] = {}
        for name, value, _, _ in decoder.decode(block):
            first.setdefault(name, value)
        return tuple(first.items())


def _entry(name: bytes, value: bytes) -> Entry:
    """Nothing is wrong with any of them, whatever is in it."""
    return name, value, b"", 0


def metadata_frames(stream: int, metadata: Metadata) -> bytes:
    """The frames that say `metadata`, as Envoy's encoder writes them: in no table, short, a cookie in its crumbs."""
    fields = [item for item in metadata if item[0][:1] == b":"]
    for name, value in metadata:
        if name == b"cookie":
            fields += [(name, crumb.removeprefix(b" ") if at else crumb) for at, crumb in _crumbs(value)]
        elif name[:1] != b":":
            fields.append((name, value))
    block = b"".join([_literal(name, value) for name, value in fields])
    last = (len(block) - 1) // MAX_FRAME
    return b"".join(
        frame(METADATA, END_METADATA if at == last else 0, stream, block[at * MAX_FRAME : (at + 1) * MAX_FRAME])
        for at in range(last + 1)
    )


def _crumbs(cookie: bytes) -> enumerate[bytes]:
    return enumerate(cookie.strip(b" \t").split(b";"))


def _literal(name: bytes, value: bytes) -> bytes:
    index = INDEX.get((name, value))
    if index is not None:
        return write_integer(index, 7, 128)
    at = NAME_INDEX.get(name, 0)
    return write_integer(at, 4, 0) + (b"" if at else _string(name)) + _string(value)


def _string(text: bytes) -> bytes:
    length = encoded_length(text)
    if length < len(text):
        return write_integer(length, 7, 128) + encode(text)
    return write_integer(len(text), 7, 0) + text
