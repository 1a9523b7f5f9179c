"""MurmurHash2 (64 bits), which rings may use in place of xxHash.

Envoy: `MurmurHash::murmurHash2`; the same as libstdc++'s `std::hash` of a string on a 64-bit machine.
"""

from __future__ import annotations

from typing import Final

_MASK: Final = 2**64 - 1
_MULTIPLIER: Final = 0xC6A4A7935BD1E995
STD_HASH_SEED: Final = 0xC70F6907


def murmur_hash2(data: bytes, seed: int = STD_HASH_SEED) -> int:
    """0 to 2**64 - 1."""
    length = len(data)
    whole = length & ~7
    value = seed ^ (length * _MULTIPLIER & _MASK)
    for at in range(0, whole, 8):
        block = int.from_bytes(data[at : at + 8], "little") * _MULTIPLIER & _MASK
        block = (block ^ (block >> 47)) * _MULTIPLIER & _MASK
        value = (value ^ block) * _MULTIPLIER & _MASK
    if length > whole:
        value = (value ^ int.from_bytes(data[whole:], "little")) * _MULTIPLIER & _MASK
    value = (value ^ (value >> 47)) * _MULTIPLIER & _MASK
    return value ^ (value >> 47)
