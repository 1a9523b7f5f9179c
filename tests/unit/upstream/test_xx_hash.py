"""xxHash against values that are known."""

from __future__ import annotations

import pytest

from minienvoy.upstream.xx_hash import xx_hash64, xx_hash64_of_all


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"", 0xEF46DB3751D8E999),
        (b"a", 0xD24EC4F1A98C6E5B),
        (b"abc", 0x44BC2CF5AD770999),
        (b"Nobody inspects the spammish repetition", 0xFBCEA83C8A378BF1),
    ],
)
def test_known_values(data: bytes, value: int) -> None:
    assert xx_hash64(data) == value


def test_the_hash_of_several_is_the_seed_of_the_next() -> None:
    assert xx_hash64_of_all([b"a", b"b"]) == xx_hash64(b"b", xx_hash64(b"a"))
    assert xx_hash64_of_all([b"a", b"b"]) != xx_hash64_of_all([b"b", b"a"])
