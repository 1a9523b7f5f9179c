"""gzip; what Envoy does is in tests/conformance/scenarios/compressor.yaml and decompressor.yaml."""

from __future__ import annotations

import gzip
import random
import zlib
from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.extensions.compression.gzip import compressor, decompressor
from minienvoy.extensions.compression.gzip.decompressor import ZlibDecompressor, ZlibDecompressorStats

HELLO = gzip.compress(b"hello", mtime=0)


def compressing(**settings: Any) -> Any:
    return compressor.create_gzip(load_dict(settings, compressor.TYPE).message).create()


def decompressing(**settings: Any) -> tuple[Any, ZlibDecompressorStats]:
    stats = ZlibDecompressorStats()
    return decompressor.create_gzip(load_dict(settings, decompressor.TYPE).message).create(stats), stats


@pytest.mark.parametrize("level", ["DEFAULT_COMPRESSION", "BEST_SPEED", "COMPRESSION_LEVEL_5", "BEST_COMPRESSION"])
@pytest.mark.parametrize("strategy", ["DEFAULT_STRATEGY", "FILTERED", "HUFFMAN_ONLY", "RLE", "FIXED"])
def test_every_piece_can_be_read_when_it_comes(level: str, strategy: str) -> None:
    made = compressing(compression_level=level, compression_strategy=strategy, window_bits=9, memory_level=1)
    reader = zlib.decompressobj(31)
    for piece in (b"first", b"second" * 1000):
        assert reader.decompress(made.compress(piece, False)) == piece
    assert reader.decompress(made.compress(b"", True)) == b""
    assert reader.eof


def test_a_body_in_single_bytes() -> None:
    made, stats = decompressing()
    assert b"".join(made.decompress(bytes([each])) for each in HELLO) == b"hello"
    assert stats.zlib_data_error == 0


def test_what_is_behind_the_end_is_ignored_and_not_kept() -> None:
    made, stats = decompressing()
    assert made.decompress(HELLO + b"rest") == b"hello"
    for _ in range(3):
        assert made.decompress(b"x" * 1000) == b""
    assert (stats.zlib_data_error, len(made._inflate.unused_data)) == (0, 4)


def test_what_is_said_before_an_error_is_passed_on_to_the_last_byte() -> None:
    content = random.Random(1).randbytes(200)
    whole = zlib.compressobj(wbits=31)
    data = whole.compress(content) + whole.flush(zlib.Z_SYNC_FLUSH)
    made, stats = decompressing()
    assert made.decompress(data + b"\xff" * 50) == content
    assert made.decompress(b"more") == b""
    assert stats.zlib_data_error == 2


def test_a_check_that_fails_is_counted_when_all_has_been_said() -> None:
    made, stats = decompressing()
    assert made.decompress(HELLO[:-8] + bytes(8)) == b"hello"
    assert stats.zlib_data_error == 1


def test_an_error_costs_no_more_than_reading_it_again() -> None:
    """A megabyte in front of the error; the halves in which it is found are read once each."""
    made, _ = decompressing(max_inflate_ratio=1032, chunk_size=65536)
    assert len(made.decompress(gzip.compress(b"a" * 1_000_000)[:-8] + bytes(8))) == 1_000_000


def test_a_bomb_goes_off_in_a_small_room() -> None:
    made, stats = decompressing()
    bomb = gzip.compress(b"a" * 10_000_000)
    content = made.decompress(bomb)
    assert 100 * len(bomb) < len(content) <= 100 * len(bomb) + 4096
    assert stats.zlib_data_error == 1


@pytest.mark.parametrize("seed", range(30))
def test_bytes_that_mean_nothing_do_no_harm(seed: int) -> None:
    noise = random.Random(seed)
    made, _ = decompressing()
    for _ in range(5):
        data = HELLO[: noise.randrange(len(HELLO))] + noise.randbytes(noise.randrange(300))
        assert len(made.decompress(data)) <= 100 * len(data) + 4096


def test_the_settings_are_those_of_the_message() -> None:
    made, _ = decompressing(window_bits=10, chunk_size=8192, max_inflate_ratio=7)
    assert isinstance(made, ZlibDecompressor)
    assert (made._chunk_size, made._ratio) == (8192, 7)
