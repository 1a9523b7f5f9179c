"""What the encoder remembers makes no difference to what it writes."""

from __future__ import annotations

import hpack
import pytest

from minienvoy.http.header_map import entry
from minienvoy.http.http2.hpack import ENCODED, encode_entry, encode_field, encode_pseudo

ORDER = (b":method", b":scheme", b":path", b":authority")


def test_pseudo_headers_keep_the_order_in_which_they_came() -> None:
    for _ in range(2):
        block = encode_pseudo(b"GET", b"/a", b"host", b"http", (b":path", b":method", b":authority", b":scheme"))
        assert hpack.Decoder().decode(block) == [
            (":path", "/a"), (":method", "GET"), (":authority", "host"), (":scheme", "http"),
        ]  # fmt: skip


def test_the_authority_of_a_request_that_had_a_host_header_comes_last() -> None:
    block = encode_pseudo(b"GET", b"/", b"host", b"http", (b":method", b":path", b":scheme"))
    assert hpack.Decoder().decode(block)[-1] == (":authority", "host")


def test_each_of_the_pseudo_headers_makes_another_block() -> None:
    request = (b"GET", b"/", b"host", b"http")
    changed = [(*request[:at], b"other", *request[at + 1 :]) for at in range(4)]
    blocks = {encode_pseudo(*each, ORDER) for each in [request, *changed]}
    assert len(blocks) == 5


@pytest.mark.parametrize("value", [b"0123456789abcdef0123456789abcdef0123", b"short", b"x" * 200])
def test_a_request_id_is_encoded_as_any_header_and_not_remembered(value: bytes) -> None:
    item = entry(b"x-request-id", value)
    assert encode_entry(item) == encode_field(b"x-request-id", value)
    assert item[2] not in ENCODED


def test_another_header_is_remembered() -> None:
    item = entry(b"x-other", b"1")
    assert ENCODED.get(item[2]) in (None, encode_entry(item))
    assert item[2] in ENCODED
