"""Our header compression against the hpack library: what one writes the other reads."""

from __future__ import annotations

import hpack
import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.table import HeaderTable
from hypothesis import given
from hypothesis import strategies as st

from minienvoy.http.header_map import Entry, entry
from minienvoy.http.http2 import huffman
from minienvoy.http.http2.hpack import (
    STATIC_TABLE,
    Decoder,
    HeaderListTooLarge,
    HpackError,
    encode_entries,
    read_integer,
    table_size_update,
    write_integer,
)

NAMES = st.one_of(st.sampled_from([name for name, _ in STATIC_TABLE]), st.binary(min_size=1, max_size=300))
FIELDS = st.lists(st.tuples(NAMES, st.binary(max_size=300)), max_size=12)
STATIC = [entry(b"", b""), *(entry(name, value) for name, value in STATIC_TABLE)]


def decoder(max_size: int = 1 << 20, max_count: int = 1000, table_size: int = 4096) -> Decoder:
    return Decoder(entry, STATIC, max_size, max_count, table_size)


def pairs(entries: list[Entry]) -> list[tuple[bytes, bytes]]:
    return [(item[0], item[1]) for item in entries]


def test_the_static_table_is_the_librarys() -> None:
    assert list(HeaderTable.STATIC_TABLE) == STATIC_TABLE


@given(st.binary(max_size=400))
def test_huffman_code_is_the_librarys_and_reads_back(text: bytes) -> None:
    code = huffman.encode(text)
    assert code == HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(text)
    assert huffman.decode(code) == text


@given(st.binary(max_size=40))
def test_bytes_that_are_no_huffman_code_are_refused_or_read_back(code: bytes) -> None:
    try:
        text = huffman.decode(code)
    except huffman.HuffmanError:
        return
    assert huffman.encode(text) == code


@given(st.lists(st.tuples(FIELDS, st.booleans()), max_size=8), st.sampled_from([4096, 100, 0]))
def test_what_the_library_encodes_is_decoded(blocks: list[tuple[list[tuple[bytes, bytes]], bool]], size: int) -> None:
    theirs, ours = hpack.Encoder(), decoder()
    theirs.header_table_size = size
    for fields, huffman_coded in blocks:
        block = theirs.encode(fields, huffman=huffman_coded)
        assert pairs(ours.decode(block)) == fields
        assert ours.table_size == sum(32 + len(item[0]) + len(item[1]) for item in ours.table) <= 4096


@given(FIELDS)
def test_what_is_encoded_the_library_decodes(fields: list[tuple[bytes, bytes]]) -> None:
    block = b"".join(encode_entries([entry(*field) for field in fields]))
    theirs = hpack.Decoder(max_header_list_size=1 << 20)
    assert [(bytes(name), bytes(value)) for name, value in theirs.decode(block, raw=True)] == fields
    assert pairs(decoder().decode(block)) == fields


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(block: bytes) -> None:
    ours = decoder(max_size=2000)
    try:
        ours.decode(block)
    except (HpackError, HeaderListTooLarge):
        pass
    assert ours.table_size <= 4096


@given(FIELDS, st.integers(0, 2000), st.integers(0, 12))
def test_a_list_over_a_limit_is_told_and_leaves_the_table_as_it_should_be(
    fields: list[tuple[bytes, bytes]], max_size: int, max_count: int
) -> None:
    theirs, ours, witness = hpack.Encoder(), decoder(max_size, max_count), decoder()
    block = theirs.encode(fields)
    witness.decode(block)
    size = sum(len(name) + len(value) for name, value in fields)
    if size > max_size or len(fields) > max_count:
        with pytest.raises(HeaderListTooLarge) as refused:
            ours.decode(block)
        assert refused.value.too_many == (size <= max_size)
    else:
        assert pairs(ours.decode(block)) == fields
    assert pairs(ours.table) == pairs(witness.table)


def test_a_table_that_must_shrink_has_to() -> None:
    ours = decoder(table_size=100)
    ours.allow_table_size(100, 100)
    with pytest.raises(HpackError):
        ours.decode(b"\x82")
    assert pairs(ours.decode(table_size_update(100) + b"\x82")) == [(b":method", b"GET")]
    with pytest.raises(HpackError):
        ours.decode(table_size_update(4096) + b"\x82")


def test_a_block_is_remembered_until_the_table_changes() -> None:
    ours = decoder()
    ours.decode(b"\x82")
    ours.remember(b"\x82", "a GET")
    assert ours.blocks == {b"\x82": "a GET"}
    ours.decode(b"\x40\x01a\x01b")
    assert ours.blocks == {}
    ours.remember(b"\x40\x01a\x01b", "never")
    assert ours.blocks == {}


SIZES = st.lists(st.tuples(st.integers(0, 4096), FIELDS), min_size=1, max_size=6)


@given(SIZES)
def test_sizes_of_the_table_change_as_the_library_changes_them(
    steps: list[tuple[int, list[tuple[bytes, bytes]]]],
) -> None:
    theirs, ours, witness = hpack.Encoder(), decoder(), hpack.Decoder(max_header_list_size=1 << 20)
    for size, fields in steps:
        theirs.header_table_size = size
        block = theirs.encode(fields)
        assert pairs(ours.decode(block)) == fields
        assert [(bytes(name), bytes(value)) for name, value in witness.decode(block, raw=True)] == fields
        assert pairs(ours.table) == [
            (bytes(name), bytes(value)) for name, value in witness.header_table.dynamic_entries
        ]
        assert ours.table_size <= size


@given(st.binary(max_size=120))
def test_what_is_read_of_any_bytes_the_library_reads_too(block: bytes) -> None:
    """It takes more: integers of any length, and a size of the table between fields."""
    theirs = hpack.Decoder(max_header_list_size=1 << 20)
    try:
        got = pairs(decoder().decode(block))
    except HpackError:
        return
    assert [(bytes(name), bytes(value)) for name, value in theirs.decode(block, raw=True)] == got


RFC_7541 = [
    (
        "C.3 requests without Huffman's code",
        ["828684410f7777772e6578616d706c652e636f6d", "828684be58086e6f2d6361636865",
         "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565"],
        [57, 110, 164],
    ),
    (
        "C.4 requests with Huffman's code",
        ["828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf",
         "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"],
        [57, 110, 164],
    ),
    (
        "C.5 responses without Huffman's code",
        ["4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f"
         "7777772e6578616d706c652e636f6d", "4803333037c1c0bf",
         "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b42"
         "5a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31"],
        [222, 222, 215],
    ),
    (
        "C.6 responses with Huffman's code",
        ["488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
         "4883640effc1c0bf",
         "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f"
         "3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007"],
        [222, 222, 215],
    ),
]  # fmt: skip
"""Appendix C of RFC 7541: blocks of one connection, and the size of the table after each; for responses it is 256."""


@pytest.mark.parametrize(("title", "blocks", "sizes"), RFC_7541)
def test_the_examples_of_the_rfc_are_read(title: str, blocks: list[str], sizes: list[int]) -> None:
    small = "responses" in title
    ours, theirs = decoder(), hpack.Decoder()
    if small:
        ours.decode(table_size_update(256))
        theirs.header_table_size = theirs.max_allowed_table_size = 256
    for block, size in zip(blocks, sizes, strict=True):
        raw = bytes.fromhex(block)
        wanted = [(bytes(name), bytes(value)) for name, value in theirs.decode(raw, raw=True)]
        assert pairs(ours.decode(raw)) == wanted
        assert ours.table_size == size


@pytest.mark.parametrize(
    ("block", "field"),
    [
        ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", (b"custom-key", b"custom-header")),
        ("040c2f73616d706c652f70617468", (b":path", b"/sample/path")),
        ("100870617373776f726406736563726574", (b"password", b"secret")),
        ("82", (b":method", b"GET")),
    ],
)
def test_the_representations_of_the_rfc_are_read(block: str, field: tuple[bytes, bytes]) -> None:
    """C.2.1 to C.2.4."""
    assert pairs(decoder().decode(bytes.fromhex(block))) == [field]


@pytest.mark.parametrize(("value", "bits", "octets"), [(10, 5, "0a"), (1337, 5, "1f9a0a"), (42, 8, "2a")])
def test_the_integers_of_the_rfc_are_written_and_read(value: int, bits: int, octets: str) -> None:
    """C.1.1 to C.1.3."""
    raw = bytes.fromhex(octets)
    assert write_integer(value, bits, 0) == raw
    mask = (1 << bits) - 1
    if raw[0] == mask:
        assert read_integer(raw, 1, mask) == (value, len(raw))
