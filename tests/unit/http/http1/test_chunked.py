"""The chunked coding, read."""

from __future__ import annotations

import pytest

from minienvoy.http.http1.chunked import ChunkedReader, encode_chunk

LAST = b"0\r\n\r\n"


def read(coded: bytes, limit: int = 1000) -> tuple[bytes, bytes]:
    reader = ChunkedReader(limit)
    body, rest = reader.feed(coded)
    assert reader.error is None
    assert reader.done
    return body, rest


def refused(coded: bytes, limit: int = 1000) -> tuple[str, int]:
    reader = ChunkedReader(limit)
    reader.feed(coded)
    assert not reader.done
    assert reader.error is not None
    return reader.error.details, reader.error.status


def test_chunks_are_joined_and_what_follows_is_given_back() -> None:
    assert read(b"3\r\nabc\r\nA\r\n0123456789\r\n" + LAST + b"GET") == (b"abc0123456789", b"GET")


@pytest.mark.parametrize(
    "size",
    [b"5;", b'5;a="', b"5 ", b"5 ;a", b"5\t", b"5 x", b"0" * 30 + b"5", b"5;\0\x01\xff", b"5;" + b"a" * 70_000],
)
def test_extensions_blanks_and_leading_zeros_are_dropped(size: bytes) -> None:
    assert read(size + b"\r\nhello\r\n" + LAST) == (b"hello", b"")


@pytest.mark.parametrize(
    "size",
    b"0x5|+5|-5|1_0| 5|5,x||;a|g|5g|5\r|5;a\rb|5\nhello|5;x\nhel|FFFFFFFFFFFFFFFFF|10000000000000000|\xb2|5\x0b".split(
        b"|"
    ),
)
def test_sizes_that_others_might_read_differently_are_refused(size: bytes) -> None:
    assert refused(size + b"\r\nhello\r\n" + LAST) == ("http1.codec_error", 400)


@pytest.mark.parametrize("begun", [b"g", b"5\rx", b"5;x\n", b"5\n", b"\r", b"5;" + b"a" * 200_000])
def test_a_size_line_that_can_not_become_one_is_refused_before_its_end(begun: bytes) -> None:
    assert refused(begun) == ("http1.codec_error", 400)


@pytest.mark.parametrize("end", [b"\n", b"X\r\n", b"\rX\n", b"\r\r\n", b"X" * 100_000 + b"\n"])
def test_whatever_stands_between_a_chunk_and_the_line_end_is_skipped(end: bytes) -> None:
    assert read(b"5\r\nhello" + end + LAST) == (b"hello", b"")


def test_nothing_is_kept_of_what_is_skipped() -> None:
    reader = ChunkedReader(1000)
    assert reader.feed(b"1\r\nx" + b"y" * 100_000) == (b"x", b"")
    assert reader._buffer == b""


def test_largest_size_is_64_bits() -> None:
    reader = ChunkedReader(1000)
    assert reader.feed(b"F" * 16 + b"\r\nhello") == (b"hello", b"")
    assert reader.error is None


def test_trailers_are_read_like_headers() -> None:
    reader = ChunkedReader(1000)
    assert reader.feed(b"1\r\nx\r\n0\r\nX-A: 1\r\n 2\nb:\r3\r\n\r\nrest") == (b"x", b"rest")
    assert [(item[0], item[1]) for item in reader.trailers] == [(b"x-a", b"1 2"), (b"b", b"3")]


@pytest.mark.parametrize(
    ("section", "details"),
    [
        (b"x", "http1.codec_error"),
        (b"x y: z", "http1.codec_error"),
        (b": z", "http1.codec_error"),
        (b" x: z", "http1.codec_error"),
        (b"x: \0", "http1.invalid_characters"),
    ],
)
def test_broken_trailers_are_refused_and_the_body_stands(section: bytes, details: str) -> None:
    reader = ChunkedReader(1000)
    assert reader.feed(b"1\r\nx\r\n0\r\n" + section + b"\r\n\r\n") == (b"x", b"")
    assert reader.error is not None
    assert reader.error.details == details


def test_body_that_breaks_is_lost() -> None:
    reader = ChunkedReader(1000)
    assert reader.feed(b"1\r\nx\r\ng\r\n") == (b"", b"")
    assert reader.error is not None


@pytest.mark.parametrize("end", [b"\r\n\r\n", b""])
def test_trailers_are_limited_whether_they_end_or_not(end: bytes) -> None:
    assert refused(b"0\r\nx: " + b"y" * 100 + end, limit=100) == ("http1.headers_too_large", 431)


def test_last_line_may_end_in_lf_alone() -> None:
    assert read(b"0\r\n\n") == (b"", b"")


def test_each_byte_may_come_alone() -> None:
    reader = ChunkedReader(1000)
    body = b""
    for byte in b"5;x\r\nhello\r\n0\r\nx: y\r\n\r\n":
        assert not reader.done
        body += reader.feed(bytes((byte,)))[0]
    assert (reader.done, body) == (True, b"hello")


def test_encoded_chunk_is_what_is_read() -> None:
    assert encode_chunk(b"hello" * 4) == b"14\r\nhellohellohellohello\r\n"
