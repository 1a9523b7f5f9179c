"""What the first message of a TLS client says, before anything is decrypted.

Envoy lets BoringSSL parse it (`SSL_CTX_set_select_certificate_cb`). RFC 8446 section 4.1.2, RFC 6066
section 3, RFC 7301.
JA3: the fingerprint of its shape (github.com/salesforce/ja3).
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

NEED_MORE: Final = "need more"
NOT_TLS: Final = "not TLS"
TOO_LARGE: Final = "too large"
_HANDSHAKE, _CLIENT_HELLO = 22, 1
_MAX_RECORD: Final = (1 << 14) + 256
_SERVER_NAME, _GROUPS, _POINT_FORMATS, _ALPN = 0, 10, 11, 16


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

    def ja3(self) -> str:
        """The text, before it is hashed."""
        lists = (self.ciphers, self.extensions, self.groups)
        shown = ["-".join(str(each) for each in some if not _is_grease(each)) for some in lists]
        return ",".join((str(self.version), *shown, "-".join(map(str, self.point_formats))))

    def ja3_hash(self) -> str:
        return hashlib.md5(self.ja3().encode(), usedforsecurity=False).hexdigest()


def parse_client_hello(data: bytes, max_size: int) -> ClientHello | str:
    """`data` is everything so far; or NEED_MORE, NOT_TLS, TOO_LARGE."""
    message = bytearray()
    at = 0
    while True:
        header = data[at : at + 5]
        # Bytes that can not become a record are not waited for.
        if header[:1] not in (b"", b"\x16") or header[1:2] not in (b"", b"\x03"):
            return NOT_TLS
        if len(header) < 5:
            return NEED_MORE
        length = int.from_bytes(header[3:5], "big")
        if not 0 < length <= _MAX_RECORD:
            return NOT_TLS
        message += data[at + 5 : at + 5 + length]
        if message and message[0] != _CLIENT_HELLO:
            return NOT_TLS
        if len(message) >= 4:
            wanted = 4 + int.from_bytes(message[1:4], "big")
            if wanted > max_size:
                return TOO_LARGE
            if len(message) >= wanted:
                break
        if at + 5 + length > len(data):
            return NEED_MORE
        at += 5 + length
    try:
        return _parse(bytes(message[4:wanted]), min(at + 5 + length, len(data)))
    except (IndexError, ValueError):
        return NOT_TLS


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
    return ClientHello(name, tuple(protocols), size, version, ciphers, tuple(kinds), groups, formats)


def _numbers(data: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data) - 1, 2))


def _is_grease(value: int) -> bool:
    """RFC 8701: values that mean nothing."""
    return value & 0x0F0F == 0x0A0A and value >> 8 == value & 0xFF
