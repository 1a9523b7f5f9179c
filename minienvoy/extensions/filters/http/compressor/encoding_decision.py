"""Which content coding a response is to have.

Envoy: `CompressorFilter::chooseEncoding`, `EncodingDecision`. The first compressor of a chain that sees a response
decides for all of them, by the weights of `accept-encoding`: the greatest, of equal ones the first, unless there is a
compressor that is to be chosen first. Names of codings are compared as they are written.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from enum import Enum
from typing import Final

from .....http.ascii_number import double

IDENTITY: Final = b"identity"
_ANY: Final = b"*"


class HeaderStat(Enum):
    """What `accept-encoding` has led to, for the statistics."""

    NOT_VALID = 0
    IDENTITY = 1
    WILDCARD = 2
    VALID_COMPRESSOR = 3


class EncodingDecision:
    __slots__ = ("encoding", "stat")

    def __init__(self, encoding: bytes, stat: HeaderStat) -> None:
        self.encoding = encoding
        self.stat = stat


def weight(text: bytes) -> float | None:
    """A number in single precision; None if it is none."""
    number = double(text)
    if number is None:
        return None
    try:
        single: float = struct.unpack("f", struct.pack("f", number))[0]
    except OverflowError:
        return math.copysign(math.inf, number)
    return single


def accepted(accept_encoding: bytes) -> list[tuple[bytes, float]]:
    """What a client says, in order: coding and weight. What has a weight that is no number does not count."""
    pairs: list[tuple[bytes, float]] = []
    for token in accept_encoding.split(b","):
        if not token:
            continue
        coding, semicolon, parameters = token.partition(b";")
        quality = 1.0
        name, equals, value = parameters.partition(b"=")
        # Only the first parameter is looked at, and all that is behind its sign is the number.
        if semicolon and equals and name.strip().lower() == b"q":
            number = weight(value.strip())
            if number is None:
                continue
            quality = number
        pairs.append((coding.strip(), quality))
    return pairs


def choose_encoding(accept_encoding: bytes, compressors: Mapping[bytes, bool]) -> EncodingDecision:
    """Of `compressors`, in the order of the chain, each with whether it is to be chosen first."""
    allowed = dict(compressors)
    pairs = accepted(accept_encoding)
    for coding, quality in pairs:
        if not quality:
            # Refused; it stays among the pairs, where it says that nothing else means this coding.
            allowed.pop(coding, None)
    if not pairs or not allowed:
        return EncodingDecision(IDENTITY, HeaderStat.NOT_VALID)
    choice, best = IDENTITY, 0.0
    for coding, quality in pairs:
        known = coding in allowed or coding in (IDENTITY, _ANY)
        if known and (quality > best or (quality == best and allowed.get(coding, False))):
            choice, best = coding, quality
    if not best:
        return EncodingDecision(IDENTITY, HeaderStat.NOT_VALID)
    if choice == IDENTITY:
        return EncodingDecision(IDENTITY, HeaderStat.IDENTITY)
    if choice == _ANY:
        return EncodingDecision(next(iter(allowed)), HeaderStat.WILDCARD)
    return EncodingDecision(choice, HeaderStat.VALID_COMPRESSOR)
