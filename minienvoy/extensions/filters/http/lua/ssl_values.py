"""What scripts may know of a TLS session.

Envoy: `Filters::Common::Lua::SslConnectionWrapper`, `ParsedX509NameWrapper`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .....network.ssl_connection_info import SslConnectionInfo

Value = Callable[["SslConnectionInfo"], Any]


def _text(name: str) -> Value:
    return lambda ssl: getattr(ssl, name).encode()


def _of_peer(name: str) -> Value:
    return lambda ssl: getattr(ssl.peer_chain[0], name).encode() if ssl.peer_chain else b""


def _time(name: str) -> Value:
    return lambda ssl: int(getattr(ssl.peer_chain[0], name)) if ssl.peer_chain else 0


VALUES: Final[dict[bytes, Value]] = {
    b"peerCertificatePresented": lambda ssl: ssl.peer_certificate_presented,
    b"peerCertificateValidated": lambda ssl: ssl.validated,
    b"sha256PeerCertificateDigest": _of_peer("fingerprint_256"),
    b"serialNumberPeerCertificate": _of_peer("serial_number"),
    b"issuerPeerCertificate": _text("issuer_peer_certificate"),
    b"subjectPeerCertificate": _text("subject_peer_certificate"),
    b"subjectLocalCertificate": _text("subject_local_certificate"),
    b"validFromPeerCertificate": _time("not_before"),
    b"expirationPeerCertificate": _time("not_after"),
    b"sessionId": _text("session_id"),
    b"ciphersuiteId": lambda ssl: _ciphersuite_id(ssl),
    b"ciphersuiteString": _text("ciphersuite"),
    b"tlsVersion": _text("tls_version"),
    b"urlEncodedPemEncodedPeerCertificate": _text("url_encoded_pem_peer_certificate"),
    b"urlEncodedPemEncodedPeerCertificateChain": _text("url_encoded_pem_peer_chain"),
}
LISTS: Final[dict[bytes, Callable[[SslConnectionInfo], Sequence[str]]]] = {
    b"uriSanLocalCertificate": lambda ssl: ssl.uri_san_local_certificate,
    b"uriSanPeerCertificate": lambda ssl: ssl.uri_san_peer_certificate,
    b"dnsSansLocalCertificate": lambda ssl: ssl.dns_sans_local_certificate,
    b"dnsSansPeerCertificate": lambda ssl: ssl.dns_sans_peer_certificate,
    b"oidsLocalCertificate": lambda ssl: _oids(ssl.local_certificate),
    b"oidsPeerCertificate": lambda ssl: _oids(ssl.peer_certificate),
}


def _ciphersuite_id(ssl: SslConnectionInfo) -> bytes:
    """The number that the registry of ciphersuites has for it."""
    name = ssl.ciphersuite
    if not name:
        return b"0xffff"
    import ssl as library

    for cipher in library.SSLContext(library.PROTOCOL_TLS_CLIENT).get_ciphers():
        if cipher["name"] == name:
            return b"0x%04x" % (cipher["id"] & 0xFFFF)
    return b"0xffff"


def _loaded(certificate: Any) -> Any:
    from cryptography.x509 import load_pem_x509_certificate

    return None if certificate is None else load_pem_x509_certificate(certificate.pem.encode())


def _oids(certificate: Any) -> Sequence[str]:
    """Of its extensions."""
    loaded = _loaded(certificate)
    return () if loaded is None else [each.oid.dotted_string for each in loaded.extensions]


def common_name(ssl: SslConnectionInfo) -> bytes:
    """In the subject of the peer's certificate."""
    certificate = ssl.peer_certificate
    return b"" if certificate is None else certificate.common_name.encode()


def organizations(ssl: SslConnectionInfo) -> tuple[bytes, ...]:
    """In the subject of the peer's certificate."""
    from cryptography.x509 import NameOID

    loaded = _loaded(ssl.peer_certificate)
    if loaded is None:
        return ()
    return tuple(str(each.value).encode() for each in loaded.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
