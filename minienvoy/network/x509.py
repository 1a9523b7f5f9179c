"""What a certificate says, read from its DER.

Envoy: `Extensions::TransportSockets::Tls::Utility` (`source/common/tls/utility.cc`), which asks BoringSSL. Python's
`ssl` only takes apart certificates that it has verified, and never our own, hence this small reader of X.509 (RFC
5280). It verifies nothing; that is OpenSSL's business.
"""

from __future__ import annotations

import calendar
import hashlib
import re
from binascii import a2b_base64, b2a_base64
from functools import cached_property
from typing import Final

DNS, URI, EMAIL, IP, OTHER_NAME = 2, 6, 1, 7, 0
"""Tags of `GeneralName`."""

_NAMES: Final = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "street",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.42": "GN",
    "2.5.4.46": "dnQualifier",
    "1.2.840.113549.1.9.1": "emailAddress",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
}
_SUBJECT_ALT_NAME, _BASIC_CONSTRAINTS, _KEY_USAGE = "2.5.29.17", "2.5.29.19", "2.5.29.15"
_TLS_FEATURE, _STATUS_REQUEST = "1.3.6.1.5.5.7.1.24", bytes.fromhex("3003020105")
_COMMON_NAME: Final = "2.5.4.3"
_RSA: Final = "1.2.840.113549.1.1.1"
_PEM: Final = re.compile(rb"(?s)-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----(.*?)(?=-----BEGIN |\Z)")
"""Labels that OpenSSL takes, too, and what comes before the next one."""
_CONSTRUCTED: Final = (0x30, 0x31)


class Reader:
    """Walks over the elements of one level of DER."""

    __slots__ = ("_at", "_data", "_end")

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self._data = data
        self._at = at
        self._end = len(data) if end is None else end

    @property
    def more(self) -> bool:
        return self._at < self._end

    def next(self) -> tuple[int, bytes, bytes]:
        """(tag, content, the whole element).

        Raises:
            ValueError: the bytes are not DER.
        """
        data, start = self._data, self._at
        if start + 2 > self._end:
            raise ValueError("the certificate is cut short")
        tag, length, at = data[start], data[start + 1], start + 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[at : at + size], "big")
            at += size
        end = at + length
        if end > self._end:
            raise ValueError("the certificate is cut short")
        self._at = end
        return tag, data[at:end], data[start:end]

    def content(self) -> bytes:
        return self.next()[1]


class Certificate:
    """One certificate; parts are read when they are first asked for."""

    def __init__(self, der: bytes) -> None:
        self.der = der
        body = Reader(Reader(der).content())
        fields = Reader(body.content())
        tag, content, _ = fields.next()
        if tag == 0xA0:  # the version
            _, content, _ = fields.next()
        self.serial_number = (content.lstrip(b"\0") or b"\0").hex()
        fields.next()
        self._issuer = fields.content()
        validity = Reader(fields.content())
        self.not_before, self.not_after = (_time(*validity.next()[:2]) for _ in range(2))
        """Seconds since the epoch."""
        self._subject = fields.content()
        self.public_key = fields.next()[2]
        """`SubjectPublicKeyInfo`, DER."""
        self._extensions = b""
        while fields.more:
            tag, content, _ = fields.next()
            if tag == 0xA3:
                self._extensions = Reader(content).content()

    @cached_property
    def subject(self) -> str:
        return _distinguished_name(self._subject)

    @cached_property
    def issuer(self) -> str:
        return _distinguished_name(self._issuer)

    def may_be_issued_by(self, other: Certificate) -> bool:
        """By the names alone; whoever verifies the chain looks at the signature."""
        return self._issuer == other._subject

    @property
    def is_self_issued(self) -> bool:
        return self._subject == self._issuer

    def _extension(self, wanted: str) -> bytes | None:
        """What is in the extension with that OID; None if there is none."""
        extensions = Reader(self._extensions)
        while extensions.more:
            extension = Reader(extensions.content())
            oid = _oid(extension.content())
            tag, value, _ = extension.next()
            if tag == 0x01:  # critical
                _, value, _ = extension.next()
            if oid == wanted:
                return value
        return None

    @cached_property
    def subject_alt_names(self) -> tuple[tuple[int, str, str], ...]:
        """(tag, value, OID of an "other name" or empty)"""
        value = self._extension(_SUBJECT_ALT_NAME)
        return () if value is None else tuple(_general_names(value))

    @property
    def has_subject_alt_names(self) -> bool:
        return self._extension(_SUBJECT_ALT_NAME) is not None

    @property
    def common_name(self) -> str:
        """The first one of the subject; empty if there is none."""
        name = Reader(self._subject)
        while name.more:
            relative = Reader(name.content())
            while relative.more:
                pair = Reader(relative.content())
                if _oid(pair.content()) == _COMMON_NAME:
                    return _text(*pair.next()[:2])
        return ""

    @property
    def must_staple(self) -> bool:
        """It promises to be shown with an OCSP response (RFC 7633)."""
        return self._extension(_TLS_FEATURE) == _STATUS_REQUEST

    @property
    def is_authority(self) -> bool:
        """By its basic constraints."""
        value = self._extension(_BASIC_CONSTRAINTS)
        if value is None:
            return False
        constraints = Reader(Reader(value).content())
        return constraints.more and constraints.next()[:2] == (0x01, b"\xff")

    @property
    def key_usage(self) -> int | None:
        """The first eight bits of its key usage, `digitalSignature` the highest; None if any use is good."""
        value = self._extension(_KEY_USAGE)
        if value is None:
            return None
        bits = Reader(value).content()
        return bits[1] if len(bits) > 1 else 0

    @property
    def rsa_bits(self) -> int:
        """The size of an RSA key; 0 for another one."""
        if self.algorithm.partition(" ")[0] != _RSA:
            return 0
        key = Reader(self.public_key).content()
        parts = Reader(key)
        parts.next()
        modulus = Reader(Reader(parts.content()[1:]).content()).content()
        return int.from_bytes(modulus, "big").bit_length()

    def names(self, tag: int) -> tuple[str, ...]:
        return tuple(value for each, value, _ in self.subject_alt_names if each == tag)

    @cached_property
    def fingerprint_256(self) -> str:
        return hashlib.sha256(self.der).hexdigest()

    @cached_property
    def fingerprint_1(self) -> str:
        return hashlib.sha1(self.der, usedforsecurity=False).hexdigest()

    @cached_property
    def public_key_hash(self) -> bytes:
        return hashlib.sha256(self.public_key).digest()

    @cached_property
    def pem(self) -> str:
        text = b2a_base64(self.der, newline=False).decode()
        lines = [text[at : at + 64] for at in range(0, len(text), 64)]
        return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])

    @property
    def algorithm(self) -> str:
        """OID of the public key's algorithm, with that of the curve if it has one."""
        algorithm = Reader(Reader(Reader(self.public_key).content()).content())
        found = _oid(algorithm.content())
        if algorithm.more:
            tag, content, _ = algorithm.next()
            if tag == 0x06:
                found += f" {_oid(content)}"
        return found


def certificates_of(pem: bytes) -> list[Certificate]:
    """Those in a PEM text, in order.

    Raises:
        ValueError: one is damaged.
    """
    found = []
    for label, part in _PEM.findall(pem):
        body, marker, _ = part.partition(b"-----END " + label + b"-----")
        if not marker:
            raise ValueError("a certificate has no end")
        found.append(Certificate(a2b_base64(body)))
    return found


def _oid(content: bytes) -> str:
    parts = []
    value = 0
    for byte in content:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            parts.append(value)
            value = 0
    if not parts:
        return ""
    first = min(parts[0] // 40, 2)
    return ".".join(map(str, (first, parts[0] - 40 * first, *parts[1:])))


def _time(tag: int, content: bytes) -> int:
    text = content.decode("ascii")
    if tag == 0x17:  # UTCTime: years 1950 to 2049
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    year, rest = int(text[:4]), text[4:14]
    fields = [int(rest[at : at + 2]) for at in range(0, 10, 2)]
    return calendar.timegm((year, *fields))


def _text(tag: int, content: bytes) -> str:
    return content.decode({0x1E: "utf-16-be", 0x0C: "utf-8"}.get(tag, "latin-1"), "replace")


def _distinguished_name(content: bytes) -> str:
    """As RFC 2253 writes it: the last part first."""
    parts = []
    name = Reader(content)
    while name.more:
        relative = Reader(name.content())
        values = []
        while relative.more:
            pair = Reader(relative.content())
            oid = _oid(pair.content())
            tag, value, whole = pair.next()
            if oid in _NAMES:
                values.append(f"{_NAMES[oid]}={_escaped(_text(tag, value))}")
            else:
                values.append(f"{oid}=#{whole.hex().upper()}")
        parts.append("+".join(reversed(values)))
    return ",".join(reversed(parts))


def _escaped(value: str) -> str:
    shown = []
    last = len(value) - 1
    for at, letter in enumerate(value):
        if letter in ',+"\\<>;' or (letter == "#" and at == 0) or (letter == " " and at in (0, last)):
            shown.append(f"\\{letter}")
        elif letter < " " or letter > "~":
            shown.extend(f"\\{byte:02X}" for byte in letter.encode())
        else:
            shown.append(letter)
    return "".join(shown)


def _general_names(value: bytes) -> list[tuple[int, str, str]]:
    found = []
    names = Reader(Reader(value).content())
    while names.more:
        tag, content, _ = names.next()
        kind = tag & 0x1F
        if kind == IP:
            import ipaddress

            if len(content) in (4, 16):
                found.append((IP, str(ipaddress.ip_address(content)), ""))
        elif kind in (DNS, URI, EMAIL):
            found.append((kind, content.decode("latin-1"), ""))
        elif kind == OTHER_NAME:
            other = Reader(content)
            oid = _oid(other.content())
            inner_tag, inner, _ = Reader(other.content()).next()
            found.append((OTHER_NAME, _text(inner_tag, inner), oid))
    return found
