"""What a TLS handshake agreed on that Python's `ssl` does not tell: the group and the peer's signature.

Envoy asks BoringSSL (`SSL_get_curve_id`, `SSL_get_peer_signature_algorithm`). Here the part of the handshake that is
not encrypted is read once it is over: RFC 8446 section 4 for the ServerHello of TLS 1.3, RFC 5246 section 7.4 and RFC
8422 section 5.4 for TLS 1.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from .client_hello import ClientHello

_HANDSHAKE: Final = 22
_PREFERRED: Final = ("X25519", "P-256")
_SERVER_HELLO, _SERVER_KEY_EXCHANGE, _CERTIFICATE_VERIFY = 2, 12, 15
_SUPPORTED_VERSIONS, _KEY_SHARE = 43, 51

GROUPS: Final = {0x1D: "X25519", 0x17: "P-256", 0x18: "P-384", 0x19: "P-521", 0x1E: "X448", 0x11EC: "X25519MLKEM768"}
SIGNATURES: Final = {
    0x0201: "rsa_pkcs1_sha1",
    0x0203: "ecdsa_sha1",
    0x0401: "rsa_pkcs1_sha256",
    0x0403: "ecdsa_secp256r1_sha256",
    0x0501: "rsa_pkcs1_sha384",
    0x0503: "ecdsa_secp384r1_sha384",
    0x0601: "rsa_pkcs1_sha512",
    0x0603: "ecdsa_secp521r1_sha512",
    0x0804: "rsa_pss_rsae_sha256",
    0x0805: "rsa_pss_rsae_sha384",
    0x0806: "rsa_pss_rsae_sha512",
    0x0807: "ed25519",
}


class Agreed(NamedTuple):
    """Empty or 0 where it is not known."""

    group: str = ""
    signature: str = ""
    version: int = 0


def read_agreement(received: bytes, sent: bytes, server_side: bool) -> Agreed:
    """From the bytes of both directions, as far as the handshake has come."""
    by_server, by_client = (sent, received) if server_side else (received, sent)
    group = signature = ""
    version = 0
    for kind, body in _messages(by_server):
        if kind == _SERVER_HELLO:
            version, share = _server_hello(body)
            group = GROUPS.get(share, "") or group
        elif kind == _SERVER_KEY_EXCHANGE and len(body) > 4 and body[0] == 3:  # a named curve
            group = GROUPS.get(int.from_bytes(body[1:3], "big"), "")
            at = 4 + body[3]
            if not server_side:
                signature = SIGNATURES.get(int.from_bytes(body[at : at + 2], "big"), "")
    if server_side:
        for kind, body in _messages(by_client):
            if kind == _CERTIFICATE_VERIFY:
                signature = SIGNATURES.get(int.from_bytes(body[:2], "big"), "")
    return Agreed(group, signature, version)


def offered_group(hello: ClientHello | None) -> str:
    """The first group of a client that resumes a session of TLS 1.2 with us: most likely that session began with it."""
    offered = hello.groups if hello is not None else ()
    return next((name for number, name in GROUPS.items() if name in _PREFERRED and number in offered), "")


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body) of the handshake messages before encryption begins."""
    at = 0
    handshake = bytearray()
    while at + 5 <= len(data) and data[at] == _HANDSHAKE:
        end = at + 5 + int.from_bytes(data[at + 3 : at + 5], "big")
        handshake += data[at + 5 : end]
        at = end
    at = 0
    while at + 4 <= len(handshake):
        end = at + 4 + int.from_bytes(handshake[at + 1 : at + 4], "big")
        if end > len(handshake):
            return
        yield handshake[at], bytes(handshake[at + 4 : end])
        at = end


def _server_hello(body: bytes) -> tuple[int, int]:
    """(version, group of the key share or 0)"""
    version, share = int.from_bytes(body[:2], "big"), 0
    at = 34
    if len(body) <= at:
        return version, share
    at += 1 + body[at] + 3 + 2
    while at + 4 <= len(body):
        kind, size = int.from_bytes(body[at : at + 2], "big"), int.from_bytes(body[at + 2 : at + 4], "big")
        value = body[at + 4 : at + 4 + size]
        if kind == _SUPPORTED_VERSIONS:
            version = int.from_bytes(value[:2], "big")
        elif kind == _KEY_SHARE:
            share = int.from_bytes(value[:2], "big")
        at += 4 + size
    return version, share
