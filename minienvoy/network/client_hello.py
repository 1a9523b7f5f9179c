"""What the first message of a TLS client says, before anything is decrypted.

Envoy lets BoringSSL parse it (`SSL_CTX_set_select_certificate_cb`). RFC 8446 section 4.1.2, RFC 6066
section 3, RFC 7301.
JA3 and JA4: fingerprints of its shape (github.com/salesforce/ja3, github.com/FoxIO-LLC/ja4).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

NEED_MORE: Final = "need more"
NOT_TLS: Final = "not TLS"
TOO_LARGE: Final = "too large"
_HANDSHAKE, _CLIENT_HELLO, _MAJOR = 22, 1, 3
_MAX_RECORD, _MAX_VERSION_2 = (1 << 14) + 256, 1024
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
            # As BoringSSL: nothing is known of a record before its header, and of what is in it before its end.
            if len(header) < 5:
                return NEED_MORE
            if header[1] != _MAJOR:
                return NEED_MORE if _waits_for_version_2(header, len(data)) else NOT_TLS
            length = int.from_bytes(header[3:5], "big")
            if length > _MAX_RECORD:
                return NOT_TLS
            end = at + 5 + length
            if header[0] != _HANDSHAKE:
                return NOT_TLS if end <= len(data) else NEED_MORE
            here = min(end, len(data)) - at - 5
            head = bytes(message[:4])
            head += data[at + 5 : at + 5 + min(here, 4 - len(head))]
            if len(head) == 4:
                wanted = 4 + int.from_bytes(head[1:], "big")
                if wanted - 4 > _MAX_MESSAGE:
                    return NOT_TLS
                if head[0] == _CLIENT_HELLO and wanted > self._max_size:
                    return TOO_LARGE
                if len(message) + here >= wanted:
                    if head[0] != _CLIENT_HELLO:
                        return NOT_TLS
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


def _waits_for_version_2(header: bytes, size: int) -> bool:
    """Whether this is the beginning of a ClientHello of SSL 2.0, which may ask for TLS, and not yet all of it. Who
    sends such a one is told of no protocol that is spoken here."""
    if not (header[0] & 0x80 and header[2] == _CLIENT_HELLO and header[3] == _MAJOR):
        return False
    length = (header[0] & 0x7F) << 8 | header[1]
    return 3 <= length <= _MAX_VERSION_2 and size < 2 + length


def parse_client_hello(data: bytes, max_size: int) -> ClientHello | str:
    """`data` is everything so far; or NEED_MORE, NOT_TLS, TOO_LARGE."""
    return ClientHelloReader(max_size).read(data)


def _parse(body: bytes, size: int) -> ClientHello:
    """Raises ValueError or IndexError. Read by index: every client that shakes hands pays for this."""
    version = body[0] << 8 | body[1]
    at = 35 + body[34]  # behind the random number and the session ID
    ciphers, at = _vector(body, at)
    at += 1 + body[at]  # compression methods
    if at > len(body):
        raise ValueError("cut short")
    name, protocols, kinds = "", [], []
    groups = signatures = versions = formats = b""
    extensions, _ = _vector(body, at) if at < len(body) else (b"", 0)
    at, end = 0, len(extensions)
    while at < end:
        kind = extensions[at] << 8 | extensions[at + 1]
        kinds.append(kind)
        value, at = _vector(extensions, at + 2)
        if kind == _SERVER_NAME and value:
            names, _ = _vector(value, 0)
            if names[0] == 0:
                name = _vector(names, 1)[0].decode("ascii")
        elif kind == _ALPN:
            listed, _ = _vector(value, 0)
            here = 0
            while here < len(listed):
                protocol, here = _short_vector(listed, here)
                protocols.append(protocol.decode("latin-1"))
        elif kind == _GROUPS:
            groups, _ = _vector(value, 0)
        elif kind == _POINT_FORMATS:
            formats, _ = _short_vector(value, 0)
        elif kind == _SIGNATURES:
            signatures, _ = _vector(value, 0)
        elif kind == _VERSIONS:
            versions, _ = _short_vector(value, 0)
    if _GROUPS in kinds and _SIGNATURES not in kinds:
        raise ValueError("BoringSSL takes no groups without signature algorithms")
    return ClientHello(
        name,
        tuple(protocols),
        size,
        version,
        _numbers(ciphers),
        tuple(kinds),
        _numbers(groups),
        formats,
        _numbers(signatures),
        _numbers(versions),
    )


def _vector(data: bytes, at: int) -> tuple[bytes, int]:
    """(what is there behind its length of two bytes, where it ends)"""
    start = at + 2
    end = start + (data[at] << 8 | data[at + 1])
    if end > len(data):
        raise ValueError("cut short")
    return data[start:end], end


def _short_vector(data: bytes, at: int) -> tuple[bytes, int]:
    """Its length is one byte."""
    start = at + 1
    end = start + data[at]
    if end > len(data):
        raise ValueError("cut short")
    return data[start:end], end


def _hexadecimal(numbers: Iterable[int]) -> str:
    return ",".join(f"{each:04x}" for each in numbers)


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else _NOTHING


def _numbers(data: bytes) -> tuple[int, ...]:
    count = len(data) // 2
    return struct.unpack_from(f">{count}H", data)


def _is_grease(value: int) -> bool:
    """RFC 8701: values that mean nothing."""
    return value & 0x0F0F == 0x0A0A and value >> 8 == value & 0xFF
