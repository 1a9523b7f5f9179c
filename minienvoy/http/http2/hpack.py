"""Header compression (RFC 7541).

Envoy: nghttp2's `nghttp2_hd_inflater` and `nghttp2_hd_deflater`.

A decoder keeps the peer's dynamic table, of ready header entries: what comes by index costs a look-up. While the table
does not change, the same block means the same headers, so whole blocks are remembered as long as that lasts. The
encoder indexes nothing: what it writes depends on nothing that came before, so encoded headers can be cached for all
connections at once.

Both caches, and the one of Huffman-coded strings, are bounded in number and in size; the limits of a header list are
the caller's, and are checked while a block is read: what is over them is decoded for the table's sake and not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from ..header_map import KIND, Entry
from .huffman import HuffmanError
from .huffman import decode as huffman_decode

DEFAULT_TABLE_SIZE: Final = 4096
"""Bytes, as RFC 7541 counts them."""
_OVERHEAD: Final = 32
_LARGEST_INTEGER: Final = (1 << 32) - 1

_STATIC_FIELDS: Final = (
    b":authority",
    b":method=GET",
    b":method=POST",
    b":path=/",
    b":path=/index.html",
    b":scheme=http",
    b":scheme=https",
    b":status=200",
    b":status=204",
    b":status=206",
    b":status=304",
    b":status=400",
    b":status=404",
    b":status=500",
    b"accept-charset",
    b"accept-encoding=gzip, deflate",
    *(
        b"accept-language accept-ranges accept access-control-allow-origin age allow authorization cache-control "
        b"content-disposition content-encoding content-language content-length content-location content-range "
        b"content-type cookie date etag expect expires from host if-match if-modified-since if-none-match if-range "
        b"if-unmodified-since last-modified link location max-forwards proxy-authenticate proxy-authorization range "
        b"referer refresh retry-after server set-cookie strict-transport-security transfer-encoding user-agent vary "
        b"via www-authenticate"
    ).split(),
)
STATIC_TABLE: Final = [(name, value) for name, _, value in (field.partition(b"=") for field in _STATIC_FIELDS)]
"""(name, value), from index 1 on."""
_FIRST_DYNAMIC: Final = len(STATIC_TABLE) + 1

_STRINGS: Final[dict[bytes, bytes]] = {}
_MAX_STRINGS: Final = 4096
_MAX_STRING: Final = 128

_MAX_BLOCKS: Final = 64
_MAX_BLOCK: Final = 512


class HpackError(ValueError):
    """The block is no header block: the connection's compression state is lost (COMPRESSION_ERROR)."""


class CutShort(HpackError):
    """The block ends in the middle of a field."""


class HeaderListTooLarge(Exception):
    """The block is in order, and has more than the limits allow; the table is as it should be.

    Attributes:
        too_many: it was the number of headers, not their size.
        entries: those that fit.
    """

    def __init__(self, too_many: bool, entries: list[Entry]) -> None:
        self.too_many = too_many
        self.entries = entries
        super().__init__(too_many)


def read_integer(block: bytes, at: int, prefix: int) -> tuple[int, int]:
    """The integer that did not fit into its `prefix` (all ones), from `at` on, and where it ends."""
    value, shift = prefix, 0
    while True:
        try:
            byte = block[at]
        except IndexError:
            raise CutShort("an integer is cut short") from None
        at += 1
        value += (byte & 127) << shift
        if value > _LARGEST_INTEGER or shift > 28:
            raise HpackError("an integer is too large")
        if byte < 128:
            return value, at
        shift += 7


class Decoder:
    """The reading end of one connection.

    Attributes:
        table: the dynamic table, newest first.
        table_size: bytes in it, as RFC 7541 counts them.
        blocks: what the owner made of blocks that were read before (`remember`); valid while the table is as it is.
    """

    __slots__ = (
        "_allowed_table_size",
        "_due_table_size",
        "_joined",
        "_make_entry",
        "_max_count",
        "_max_field_size",
        "_max_size",
        "_max_table_size",
        "_stable",
        "_static",
        "_update_due",
        "blocks",
        "table",
        "table_size",
    )

    def __init__(
        self,
        make_entry: Callable[[bytes, bytes], Entry],
        static: list[Entry],
        max_size: int,
        max_count: int,
        table_size: int = DEFAULT_TABLE_SIZE,
        joined: int = 0,
        max_field_size: int = 64 * 1024,
    ) -> None:
        """`make_entry` judges a name and a value; `static` has its verdicts on the static table, from index 1 on.

        `max_size` is in bytes, names and values; `max_count` in headers. `table_size` is what our
        SETTINGS allow the peer. `joined` are the kinds of headers that count once, however often they come.
        `max_field_size` is that of a name or a value, as it is coded.
        """
        self._make_entry = make_entry
        self._static = static
        self._max_size = max_size
        self._max_count = max_count
        self._joined = joined
        self._max_field_size = max_field_size
        self._max_table_size = DEFAULT_TABLE_SIZE
        self._allowed_table_size = max(table_size, DEFAULT_TABLE_SIZE)
        self._update_due = False
        self._due_table_size = 0
        self.table: list[Entry] = []
        self.table_size = 0
        self.blocks: dict[bytes, Any] = {}
        self._stable = False

    def allow_table_size(self, size: int, least: int) -> None:
        """The peer has acknowledged our SETTINGS_HEADER_TABLE_SIZE: from here on it is held to it.

        `least` is the smallest that was said on the way to `size`: the next block has to begin with one not larger.
        """
        self._allowed_table_size = size
        if least < self._max_table_size:
            self._due_table_size = least
            self._update_due = True
            self.blocks.clear()

    def decode(self, block: bytes) -> list[Entry]:
        """The headers of `block`, in order.

        Raises:
            HpackError: it can not be read.
            HeaderListTooLarge: there is too much in it.
        """
        static, table, make_entry = self._static, self.table, self._make_entry
        entries: list[Entry] = []
        at, end, size = 0, len(block), 0
        changed = False
        first = True
        limit = self._max_size
        while at < end:
            byte = block[at]
            at += 1
            if byte >= 128:
                index = byte & 127
                if index == 127:
                    index, at = read_integer(block, at, 127)
                try:
                    item = static[index] if index < _FIRST_DYNAMIC else table[index - _FIRST_DYNAMIC]
                except IndexError:
                    raise HpackError("an index that is not in the table") from None
                if not index:
                    raise HpackError("index 0")
            elif 32 <= byte < 64:
                new_size = byte & 31
                if new_size == 31:
                    new_size, at = read_integer(block, at, 31)
                if not first or new_size > self._allowed_table_size:
                    raise HpackError("a table size that is not allowed")
                if self._update_due and new_size > self._due_table_size:
                    raise HpackError("the table was not made smaller")
                self._max_table_size = new_size
                self._update_due = False
                self._evict()
                changed = True
                continue
            else:
                mask = 63 if byte >= 64 else 15
                index = byte & mask
                if index == mask:
                    index, at = read_integer(block, at, mask)
                if index:
                    try:
                        name = (static[index] if index < _FIRST_DYNAMIC else table[index - _FIRST_DYNAMIC])[0]
                    except IndexError:
                        raise HpackError("an index that is not in the table") from None
                else:
                    name, at = self._string(block, at)
                value, at = self._string(block, at)
                item = make_entry(name, value)
                if byte >= 64:
                    table.insert(0, item)
                    self.table_size += _OVERHEAD + len(name) + len(value)
                    if self.table_size > self._max_table_size:
                        self._evict()
                    changed = True
            if first and self._update_due:
                raise HpackError("the table was not made smaller")
            first = False
            size += len(item[0]) + len(item[1])
            if size <= limit:
                entries.append(item)
        self._stable = not changed
        if changed:
            self.blocks.clear()
        if size > limit or (len(entries) > self._max_count and self._count(entries) > self._max_count):
            raise HeaderListTooLarge(size <= limit, entries)
        return entries

    def _count(self, entries: list[Entry]) -> int:
        """Headers as Envoy counts them: those whose values it joins are one."""
        count = seen = 0
        for item in entries:
            kind = item[3] & self._joined
            if not kind or not seen & kind:
                count += 1
            seen |= kind
        return count

    def skip(self, block: bytes) -> bytes:
        """Read `block`, which goes on, for the table's sake; what is left is the beginning of a field."""
        at = 0
        while at < len(block) and (end := self._field_end(block, at)):
            at = end
        try:
            self.decode(block[:at])
        except HeaderListTooLarge:
            pass
        return block[at:]

    @staticmethod
    def _field_end(block: bytes, at: int) -> int:
        """Where the field at `at` ends; 0 if it is not complete."""
        byte = block[at]
        prefix = 127 if byte >= 128 else 63 if byte >= 64 else 31 if byte >= 32 else 15
        try:
            index, end = byte & prefix, at + 1
            if index == prefix:
                index, end = read_integer(block, end, prefix)
            if byte >= 128 or 32 <= byte < 64:
                return end
            for _ in range(1 if index else 2):
                length = block[end] & 127 if end < len(block) else 0
                end += 1
                if length == 127:
                    length, end = read_integer(block, end, 127)
                end += length
        except CutShort:
            return 0
        return end if end <= len(block) else 0

    def remember(self, block: bytes, meaning: Any) -> None:
        """Keep what the block that was decoded last came to, for as long as the same bytes mean the same."""
        if self._stable and len(block) <= _MAX_BLOCK:
            if len(self.blocks) >= _MAX_BLOCKS:
                self.blocks.clear()
            self.blocks[block] = meaning

    def _string(self, block: bytes, at: int) -> tuple[bytes, int]:
        try:
            byte = block[at]
        except IndexError:
            raise CutShort("a string is cut short") from None
        at += 1
        length = byte & 127
        if length == 127:
            length, at = read_integer(block, at, 127)
            if length > self._max_field_size:
                raise HpackError("a string is too long")
        end = at + length
        if end > len(block):
            raise CutShort("a string is cut short")
        text = block[at:end]
        if byte < 128:
            return text, end
        known = _STRINGS.get(text)
        if known is None:
            try:
                known = huffman_decode(text)
            except HuffmanError as error:
                raise HpackError(str(error)) from None
            if length <= _MAX_STRING:
                if len(_STRINGS) >= _MAX_STRINGS:
                    _STRINGS.clear()
                _STRINGS[text] = known
        return known, end

    def _evict(self) -> None:
        table, largest = self.table, self._max_table_size
        while self.table_size > largest:
            oldest = table.pop()
            self.table_size -= _OVERHEAD + len(oldest[0]) + len(oldest[1])


def write_integer(value: int, prefix_bits: int, flags: int) -> bytes:
    """`value` with a prefix of so many bits, below `flags`."""
    mask = (1 << prefix_bits) - 1
    if value < mask:
        return bytes((flags | value,))
    value -= mask
    octets = [flags | mask]
    while value >= 128:
        octets.append(value & 127 | 128)
        value >>= 7
    octets.append(value)
    return bytes(octets)


INDEX: Final = {field: at for at, field in reversed(list(enumerate(STATIC_TABLE, 1)))}
NAME_INDEX: Final = {field[0]: at for at, field in reversed(list(enumerate(STATIC_TABLE, 1)))}
_NAMES: Final[dict[bytes, bytes]] = {}
_MAX_NAMES: Final = 1024
ENCODED: Final[dict[bytes, bytes]] = {}
"""Headers that were encoded lately, by their line."""
_MAX_ENCODED: Final = 4096
_MAX_ENCODED_LINE: Final = 128
_REQUEST_ID: Final = KIND[b"x-request-id"]
"""Hardly ever comes again with the same value: it would only push others out."""
_REQUEST_ID_PREFIX: Final = b"\0\x0cx-request-id\x24"
"""Before one of the usual length."""
_PSEUDO: Final[dict[tuple[bytes, bytes, bytes, bytes, tuple[bytes, ...]], bytes]] = {}
"""What requests begin with, as it was encoded lately."""
_MAX_PSEUDO: Final = 1024
_MAX_PSEUDO_SIZE: Final = 512


def encode_field(name: bytes, value: bytes) -> bytes:
    """One header, from the static table if it is there, else as a literal that is not indexed."""
    index = INDEX.get((name, value))
    if index is not None:
        return bytes((128 | index,))
    prefix = _NAMES.get(name)
    if prefix is None:
        at = NAME_INDEX.get(name, 0)
        prefix = write_integer(at, 4, 0)
        if not at:
            prefix += write_integer(len(name), 7, 0) + name
        if len(name) <= _MAX_STRING:
            if len(_NAMES) >= _MAX_NAMES:
                _NAMES.clear()
            _NAMES[name] = prefix
    length = len(value)
    if length < 127:
        return b"%b%c%b" % (prefix, length, value)
    return prefix + write_integer(length, 7, 0) + value


def encode_entry(item: Entry) -> bytes:
    """One encoded header, which is remembered by its line if that is short."""
    name, value, line, kind = item
    if kind == _REQUEST_ID:
        return _REQUEST_ID_PREFIX + value if len(value) == 36 else encode_field(name, value)
    field = encode_field(name, value)
    if len(line) <= _MAX_ENCODED_LINE:
        if len(ENCODED) >= _MAX_ENCODED:
            ENCODED.clear()
        ENCODED[line] = field
    return field


def encode_entries(entries: Iterable[Entry]) -> list[bytes]:
    """The encoded headers, to be joined to a block."""
    known = ENCODED.get
    return [known(item[2]) or encode_entry(item) for item in entries]


def encode_pseudo(method: bytes, path: bytes, authority: bytes, scheme: bytes, order: tuple[bytes, ...]) -> bytes:
    """The pseudo-headers of a request that is no CONNECT; without a place in `order`, `:authority` is the last."""
    key = (method, path, authority, scheme, order)
    block = _PSEUDO.get(key)
    if block is None:
        values = {b":method": method, b":path": path, b":authority": authority, b":scheme": scheme}
        names = order if b":authority" in order else (*order, b":authority")
        block = b"".join([encode_field(name, values[name]) for name in names if name in values])
        if len(block) <= _MAX_PSEUDO_SIZE:
            if len(_PSEUDO) >= _MAX_PSEUDO:
                _PSEUDO.clear()
            _PSEUDO[key] = block
    return block


def table_size_update(size: int) -> bytes:
    """What a block begins with after the peer has allowed less than the table it had to expect."""
    return write_integer(size, 5, 32)
