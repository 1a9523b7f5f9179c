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
    table_size_update,
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
