"""What the first message of a TLS client says, before anything is decrypted.

Envoy lets BoringSSL parse it (`SSL_CTX_set_select_certificate_cb`). RFC 8446 section 4.1.2, RFC 6066
section 3, RFC 7301.
JA3 and JA4: fingerprints of its shape (github.com/salesforce/ja3, github.com/FoxIO-LLC/ja4).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, NamedTuple

NEED_MORE: Final = "need more"
NOT_TLS: Final = "not TLS"
TOO_LARGE: Final = "too large"
_HANDSHAKE, _CLIENT_HELLO = 22, 1
_MAX_RECORD: Final = (1 << 14) + 256
_MAX_MESSAGE: Final = 1 << 14
"""What BoringSSL takes from somebody it does not know; above that it is no ClientHello."""
_SERVER_NAME, _GROUPS, _POINT_FORMATS, _SIGNATURES, _ALPN, _VERSIONS = 0, 10, 11, 13, 16, 43
STATUS_REQUEST, SIGNATURE_ALGORITHMS, SUPPORTED_VERSIONS = 5, _SIGNATURES, _VERSIONS
"""Extensions."""
_JA4_VERSIONS: Final = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2"}
_NOTHING: Final = "000000000000"


class ClientHello(NamedTuple):
    server_name: str
    protocols: tuple[str, ...]
    size: int
    """Bytes that it takes on the wire."""
    version: int
    ciphers: tuple[int, ...]
    extensions: tuple[int, ...]
    groups: tuple[int, ...]
    point_formats: bytes
    signatures: tuple[int, ...] = ()
    versions: tuple[int, ...] = ()

    def ja3(self) -> str:
        """The text, before it is hashed."""
        shown = [
            "-".join(str(each) for each in some if not _is_grease(each)) for some in (self.ciphers, self.extensions)
        ]
        # Among groups Envoy leaves values that mean nothing.
        return ",".join(
            (str(self.version), *shown, *("-".join(map(str, some)) for some in (self.groups, self.point_formats)))
        )

    def ja3_hash(self) -> str:
        return hashlib.md5(self.ja3().encode(), usedforsecurity=False).hexdigest()

    def ja4(self) -> str:
        ciphers = [each for each in self.ciphers if not _is_grease(each)]
        extensions = [each for each in self.extensions if not _is_grease(each)]
        version = max((each for each in self.versions if not _is_grease(each)), default=self.version)
        named = "d" if _SERVER_NAME in extensions else "i"
        counts = f"{min(len(ciphers), 99):02d}{min(len(extensions), 99):02d}"
        rest = _hexadecimal(sorted(each for each in extensions if each not in (_SERVER_NAME, _ALPN)))
        if rest and self.signatures:
            rest += "_" + _hexadecimal(each for each in self.signatures if not _is_grease(each))
        head = f"t{_JA4_VERSIONS.get(version, '00')}{named}{counts}{self._ja4_protocol()}"
        return f"{head}_{_short_hash(_hexadecimal(sorted(ciphers)))}_{_short_hash(rest)}"

    def _ja4_protocol(self) -> str:
        """First and last letter of the first protocol, or of its bytes in hexadecimal digits."""
        first = self.protocols[0] if self.protocols else ""
        if not first:
            return "00"
        if first[0].isascii() and first[0].isalnum() and first[-1].isascii() and first[-1].isalnum():
            return first[0] + first[-1]
        return f"{ord(first[0]):02x}"[0] + f"{ord(first[-1]):02x}"[1]


class ClientHelloReader:
    """Reads one that comes in pieces. What has been read is not read again: whoever sends it in records of a byte each
    would have us do so thousands of times."""

    __slots__ = ("_at", "_max_size", "_message")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._message = bytearray()
        """What was in records that are complete, and where the first one begins that is not."""
        self._at = 0

    def read(self, data: bytes | bytearray) -> ClientHello | str:
        """`data` is everything so far; or NEED_MORE, NOT_TLS, TOO_LARGE."""
        message = self._message
        while True:
            at = self._at
            header = bytes(data[at : at + 5])
            # Bytes that can not become a record are not waited for.
            if header[:1] not in (b"", b"\x16") or header[1:2] not in (b"", b"\x03"):
                return NOT_TLS
            if len(header) < 5:
                return NEED_MORE
            length = int.from_bytes(header[3:5], "big")
            if length > _MAX_RECORD:
                return NOT_TLS
            end = at + 5 + length
            here = min(end, len(data)) - at - 5
            head = bytes(message[:4])
            head += data[at + 5 : at + 5 + min(here, 4 - len(head))]
            if head and head[0] != _CLIENT_HELLO:
                return NOT_TLS
            if len(head) == 4:
                wanted = 4 + int.from_bytes(head[1:], "big")
                if wanted - 4 > _MAX_MESSAGE:
                    return NOT_TLS
                if wanted > self._max_size:
                    return TOO_LARGE
                if len(message) + here >= wanted:
                    body = (message + data[at + 5 : at + 5 + here])[4:wanted]
                    break
            if end > len(data):
                return NEED_MORE
            message += data[at + 5 : end]
            self._at = end
        try:
            return _parse(bytes(body), min(end, len(data)))
        except (IndexError, ValueError):
            return NOT_TLS


def parse_client_hello(data: bytes, max_size: int) -> ClientHello | str:
    """`data` is everything so far; or NEED_MORE, NOT_TLS, TOO_LARGE."""
    return ClientHelloReader(max_size).read(data)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    @property
    def more(self) -> bool:
        return self.at < len(self.data)

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def take(self, size: int) -> bytes:
        taken = self.data[self.at : self.at + size]
        if len(taken) < size:
            raise ValueError("cut short")
        self.at += size
        return taken

    def vector(self, size: int) -> bytes:
        return self.take(self.number(size))


def _parse(body: bytes, size: int) -> ClientHello:
    reader = _Reader(body)
    version = reader.number(2)
    reader.take(32)
    reader.vector(1)
    ciphers = _numbers(reader.vector(2))
    reader.vector(1)
    name, protocols, kinds = "", [], []
    groups: tuple[int, ...] = ()
    signatures: tuple[int, ...] = ()
    versions: tuple[int, ...] = ()
    formats = b""
    extensions = _Reader(reader.vector(2) if reader.more else b"")
    while extensions.more:
        kind, value = extensions.number(2), _Reader(extensions.vector(2))
        kinds.append(kind)
        if kind == _SERVER_NAME and value.more:
            names = _Reader(value.vector(2))
            if names.number(1) == 0:
                name = names.vector(2).decode("ascii")
        elif kind == _ALPN:
            listed = _Reader(value.vector(2))
            while listed.more:
                protocols.append(listed.vector(1).decode("latin-1"))
        elif kind == _GROUPS:
            groups = _numbers(value.vector(2))
        elif kind == _POINT_FORMATS:
            formats = value.vector(1)
        elif kind == _SIGNATURES:
            signatures = _numbers(value.vector(2))
        elif kind == _VERSIONS:
            versions = _numbers(value.vector(1))
    if _GROUPS in kinds and _SIGNATURES not in kinds:
        raise ValueError("BoringSSL takes no groups without signature algorithms")
    return ClientHello(
        name, tuple(protocols), size, version, ciphers, tuple(kinds), groups, formats, signatures, versions
    )


def _hexadecimal(numbers: Iterable[int]) -> str:
    return ",".join(f"{each:04x}" for each in numbers)


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else _NOTHING


def _numbers(data: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data) - 1, 2))


def _is_grease(value: int) -> bool:
    """RFC 8701: values that mean nothing."""
    return value & 0x0F0F == 0x0A0A and value >> 8 == value & 0xFF
