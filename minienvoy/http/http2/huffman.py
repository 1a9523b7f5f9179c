"""The Huffman code of HPACK (RFC 7541, appendix B).

The code is canonical: symbols in order of the length of their code, then of their value, count upwards. So the lengths
say all there is to know.

Decoding goes byte by byte. A state is the part of a code that the bytes so far have begun; a step from a state by a
byte gives the symbols that it completes and the next state. Steps are worked out when they are first taken: a whole
table has 65,536, and header values use a few hundred.
"""

from __future__ import annotations

from typing import Final

EOS: Final = 256

_LENGTHS: Final[tuple[tuple[int, tuple[int, ...]], ...]] = (
    (5, (48, 49, 50, 97, 99, 101, 105, 111, 115, 116)),
    (
        6,
        (
            32,
            37,
            45,
            46,
            47,
            51,
            52,
            53,
            54,
            55,
            56,
            57,
            61,
            65,
            95,
            98,
            100,
            102,
            103,
            104,
            108,
            109,
            110,
            112,
            114,
            117,
        ),
    ),
    (
        7,
        (
            58,
            66,
            67,
            68,
            69,
            70,
            71,
            72,
            73,
            74,
            75,
            76,
            77,
            78,
            79,
            80,
            81,
            82,
            83,
            84,
            85,
            86,
            87,
            89,
            106,
            107,
            113,
            118,
            119,
            120,
            121,
            122,
        ),
    ),
    (8, (38, 42, 44, 59, 88, 90)),
    (10, (33, 34, 40, 41, 63)),
    (11, (39, 43, 124)),
    (12, (35, 62)),
    (13, (0, 36, 64, 91, 93, 126)),
    (14, (94, 125)),
    (15, (60, 96, 123)),
    (19, (92, 195, 208)),
    (20, (128, 130, 131, 162, 184, 194, 224, 226)),
    (21, (153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230)),
    (
        22,
        (
            129,
            132,
            133,
            134,
            136,
            146,
            154,
            156,
            160,
            163,
            164,
            169,
            170,
            173,
            178,
            181,
            185,
            186,
            187,
            189,
            190,
            196,
            198,
            228,
            232,
            233,
        ),
    ),
    (
        23,
        (
            1,
            135,
            137,
            138,
            139,
            140,
            141,
            143,
            147,
            149,
            150,
            151,
            152,
            155,
            157,
            158,
            165,
            166,
            168,
            174,
            175,
            180,
            182,
            183,
            188,
            191,
            197,
            231,
            239,
        ),
    ),
    (24, (9, 142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237)),
    (25, (199, 207, 234, 235)),
    (26, (192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242, 243, 255)),
    (27, (203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254)),
    (
        28,
        (
            2,
            3,
            4,
            5,
            6,
            7,
            8,
            11,
            12,
            14,
            15,
            16,
            17,
            18,
            19,
            20,
            21,
            23,
            24,
            25,
            26,
            27,
            28,
            29,
            30,
            31,
            127,
            220,
            249,
        ),
    ),
    (30, (10, 13, 22, 256)),
)
"""(bits, the symbols whose code has so many)"""


def _codes() -> list[tuple[int, int]]:
    """(code, bits) by symbol."""
    codes = [(0, 0)] * 257
    code = bits_before = 0
    for bits, symbols in _LENGTHS:
        code <<= bits - bits_before
        bits_before = bits
        for symbol in symbols:
            codes[symbol] = (code, bits)
            code += 1
    return codes


CODES: Final = _codes()
_BITS: Final = [bits for _, bits in CODES]
_MANY_BITS: Final = 1024


def encode(text: bytes) -> bytes:
    """`text` in Huffman code, filled up to a byte with ones."""
    written = bytearray()
    value = length = 0
    for symbol in text:
        code, bits = CODES[symbol]
        value = value << bits | code
        length += bits
        if length > _MANY_BITS:
            # A number that grows with the text would be copied for each symbol.
            left = length & 7
            written += (value >> left).to_bytes(length >> 3, "big")
            value &= (1 << left) - 1
            length = left
    padding = -length % 8
    written += (value << padding | (1 << padding) - 1).to_bytes((length + padding) // 8, "big")
    return bytes(written)


def encoded_length(text: bytes) -> int:
    """Bytes of `encode(text)`."""
    return (sum(map(_BITS.__getitem__, text)) + 7) // 8


class HuffmanError(ValueError):
    """The bytes are no Huffman code: the end-of-string symbol, or wrong padding."""


_Step = tuple[bytes, int]
"""(symbols, the next state shifted by 8 bits); -1 for the state where there is none."""


class _Steps(dict[int, _Step]):
    """Key: state << 8 | byte. A state is `1` followed by the bits of the code that is under way."""

    def __missing__(self, key: int) -> _Step:
        state, byte = key >> 8, key & 255
        symbols = bytearray()
        for at in range(7, -1, -1):
            state = state << 1 | (byte >> at & 1)
            symbol = _SYMBOLS.get(state)
            if symbol == EOS:
                step = self[key] = b"", -1
                return step
            if symbol is not None:
                symbols.append(symbol)
                state = 1
        step = self[key] = bytes(symbols), state << 8
        return step


_SYMBOLS: Final = {1 << bits | code: symbol for symbol, (code, bits) in enumerate(CODES)}
_STEPS: Final = _Steps()
_START: Final = 1 << 8
_ENDS: Final = frozenset((1 << bits + 1) - 1 << 8 for bits in range(8))
"""States in which a text may end: no bits, or up to seven ones."""


def decode(code: bytes) -> bytes:
    """The text that `code` stands for.

    Raises:
        HuffmanError: it does not stand for any.
    """
    steps = _STEPS
    state = _START
    parts = []
    for byte in code:
        symbols, state = steps[state | byte]
        if state < 0:
            raise HuffmanError("end-of-string symbol")
        parts.append(symbols)
    if state not in _ENDS:
        raise HuffmanError("padding is not ones, or is too long")
    return b"".join(parts)
