"""Brotli; what Envoy does is in tests/conformance/scenarios/compressor.yaml and decompressor.yaml."""

from __future__ import annotations

import random
from typing import Any

import brotlicffi
import pytest

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.extensions import compression
from minienvoy.extensions.compression.brotli import compressor, decompressor
from minienvoy.extensions.compression.brotli.decompressor import BrotliDecompressorStats

HELLO = brotlicffi.compress(b"hello")


def compressing(**settings: Any) -> Any:
    return compressor.create_brotli(load_dict(settings, compressor.TYPE).message).create()


def decompressing(**settings: Any) -> tuple[Any, BrotliDecompressorStats]:
    stats = BrotliDecompressorStats()
    return decompressor.create_brotli(load_dict(settings, decompressor.TYPE).message).create(stats), stats


@pytest.mark.parametrize("mode", ["DEFAULT", "GENERIC", "TEXT", "FONT"])
@pytest.mark.parametrize("quality", [0, 5, 11])
def test_every_piece_can_be_read_when_it_comes(mode: str, quality: int) -> None:
    made = compressing(encoder_mode=mode, quality=quality, window_bits=10, input_block_bits=16)
    reader = brotlicffi.Decompressor()
    for piece in (b"first", b"second" * 1000):
        assert reader.process(made.compress(piece, False)) + reader.process(b"") == piece
    assert reader.process(made.compress(b"", True)) == b""
    assert reader.is_finished()


def test_a_body_in_single_bytes() -> None:
    made, stats = decompressing()
    assert b"".join(made.decompress(bytes([each])) for each in HELLO) == b"hello"
    assert stats.brotli_error == 0


def test_more_than_one_chunk() -> None:
    made, stats = decompressing(chunk_size=4096)
    content = random.Random(1).randbytes(50_000)
    assert made.decompress(brotlicffi.compress(content)) == content
    assert stats.brotli_error == 0


def test_what_is_behind_the_end_is_an_error_each_time() -> None:
    made, stats = decompressing()
    assert made.decompress(HELLO + b"rest") == b"hello"
    assert made.decompress(b"rest") == b""
    assert (stats.brotli_error, stats.brotli_redundant_input) == (2, 2)


def test_a_bomb_goes_off_in_a_small_room() -> None:
    made, stats = decompressing()
    content = made.decompress(brotlicffi.compress(b"a" * 10_000_000))
    assert len(content) == 8192
    assert (stats.brotli_error, stats.brotli_output_overflow) == (1, 1)


@pytest.mark.parametrize("seed", range(30))
def test_bytes_that_mean_nothing_do_no_harm(seed: int) -> None:
    noise = random.Random(seed)
    made, _ = decompressing()
    for _ in range(5):
        data = HELLO[: noise.randrange(len(HELLO))] + noise.randbytes(noise.randrange(300))
        assert len(made.decompress(data)) <= 100 * len(data) + 8192


def test_a_package_that_is_missing_is_told_with_its_remedy() -> None:
    with pytest.raises(ConfigError) as refused:
        compression.import_library("no_such_package.module")
    assert str(refused.value) == (
        "the Python package no_such_package is not installed (pip install 'minienvoy[compression]' brings it)"
    )
