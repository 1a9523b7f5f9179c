"""Zstandard; what Envoy does is in tests/conformance/scenarios/compressor.yaml and decompressor.yaml."""

from __future__ import annotations

import base64
import random
from typing import Any

import pytest
import zstandard

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.extensions.compression.zstd import compressor, decompressor
from minienvoy.extensions.compression.zstd.decompressor import ZstdDecompressorStats

HELLO = zstandard.ZstdCompressor(write_checksum=True).compress(b"hello")


def dictionary(number: int) -> dict[str, str]:
    """As a `DataSource`."""
    words = random.Random(number)
    samples = [b" ".join(b"word%d" % words.randrange(60) for _ in range(30)) for _ in range(200)]
    made = zstandard.train_dictionary(512, samples, dict_id=number)
    return {"inline_bytes": base64.b64encode(made.as_bytes()).decode()}


def compressing(**settings: Any) -> Any:
    return compressor.create_zstd(load_dict(settings, compressor.TYPE).message).create()


def decompressing(**settings: Any) -> tuple[Any, ZstdDecompressorStats]:
    stats = ZstdDecompressorStats()
    return decompressor.create_zstd(load_dict(settings, decompressor.TYPE).message).create(stats), stats


@pytest.mark.parametrize("strategy", ["DEFAULT", "FAST", "LAZY2", "BTULTRA2"])
@pytest.mark.parametrize("level", [1, 19, 22])
def test_pieces_are_sent_when_they_fill_a_block(strategy: str, level: int) -> None:
    made = compressing(strategy=strategy, compression_level=level, enable_checksum=True)
    assert made.compress(b"first", False) == b""
    assert zstandard.get_frame_parameters(whole := made.compress(b"second", True)).has_checksum
    assert zstandard.ZstdDecompressor().decompressobj().decompress(whole) == b"firstsecond"


def test_bodies_do_not_share_anything() -> None:
    library = compressor.create_zstd(load_dict({}, compressor.TYPE).message)
    one, other = library.create(), library.create()
    one.compress(b"one", False)
    other.compress(b"other", False)
    reader = zstandard.ZstdDecompressor()
    told = [reader.decompressobj().decompress(each.compress(b"", True)) for each in (one, other)]
    assert told == [b"one", b"other"]


def test_a_body_in_single_bytes() -> None:
    made, stats = decompressing()
    assert b"".join(made.decompress(bytes([each])) for each in HELLO) == b"hello"
    assert stats.zstd_generic_error == 0


def test_a_check_that_fails() -> None:
    made, stats = decompressing()
    made.decompress(HELLO[:-1] + b"x")
    assert (stats.zstd_checksum_wrong_error, stats.zstd_generic_error) == (1, 0)


def test_a_dictionary_is_found_by_its_number() -> None:
    one, other = dictionary(101), dictionary(102)
    body = compressing(dictionary=other).compress(b"word1 word2 word3", True)
    made, stats = decompressing(dictionaries=[one, other])
    assert made.decompress(body) == b"word1 word2 word3"
    without, missed = decompressing(dictionaries=[one])
    assert without.decompress(body) == b""
    assert (stats.zstd_dictionary_error, missed.zstd_dictionary_error) == (0, 1)


def test_what_is_no_dictionary_is_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        compressing(dictionary={"inline_string": "no dictionary"})
    assert str(refused.value) == "dictionary: Illegal Zstd dictionary (zstd --train makes one)"


def test_a_bomb_goes_off_in_a_small_room() -> None:
    made, stats = decompressing(chunk_size=4096)
    bomb = zstandard.ZstdCompressor().compress(b"a" * 50_000_000)
    assert len(made.decompress(bomb)) <= 100 * len(bomb) + 4096
    assert stats.zstd_generic_error == 1


@pytest.mark.parametrize("seed", range(30))
def test_bytes_that_mean_nothing_do_no_harm(seed: int) -> None:
    noise = random.Random(seed)
    made, _ = decompressing(chunk_size=4096)
    for _ in range(5):
        data = HELLO[: noise.randrange(len(HELLO))] + noise.randbytes(noise.randrange(300))
        assert len(made.decompress(data)) <= 100 * len(data) + 4096
