"""A certificate authority in memory, for tests: certificates that nobody has to make, keep or renew.

No Envoy counterpart. `minienvoy.testing.ca()` makes one; `Proxy(certificates="generated")` has one.

    authority = CertificateAuthority()
    server = authority.issue("users.test", "127.0.0.1")
    client = authority.issue("spiffe://prod/ns/web", common_name="web")
    FakeUpstream("hello", tls=server.server_context(clients=authority))

What is issued was valid before the test began and will be after it has ended; no clock is read.
"""

from __future__ import annotations

import ssl
from datetime import datetime
from functools import cached_property
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from ..errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

_BEGIN, _EXPIRED, _END = datetime(2020, 1, 1), datetime(2021, 1, 1), datetime(2120, 1, 1)


class LeafCertificate:
    """A certificate with its key, as PEM.

    Attributes:
        certificate: its own and nothing else; the authority signed it itself.
        private_key: not encrypted.
        authority: who has issued it.
    """

    def __init__(self, certificate: bytes, private_key: bytes, authority: CertificateAuthority) -> None:
        self.certificate = certificate
        self.private_key = private_key
        self.authority = authority

    def __repr__(self) -> str:
        return f"<LeafCertificate of {self.authority!r}>"  # never the key

    def server_context(self, *, clients: CertificateAuthority | None = None) -> ssl.SSLContext:
        """For a server that shows this; with `clients`, only those with a certificate of that authority may come."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.load_into(context)
        if clients is not None:
            context.load_verify_locations(cadata=clients.certificate.decode())
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self) -> ssl.SSLContext:
        """For a client that shows this, and that believes in servers of the same authority."""
        context = self.authority.client_context()
        self.load_into(context)
        return context

    def load_into(self, context: ssl.SSLContext) -> None:
        from .memory_file import MemoryFile

        with MemoryFile(self.certificate + self.private_key) as name:
            context.load_cert_chain(name)

    def write(self, directory: Path, name: str = "tls") -> tuple[Path, Path]:
        """Into `<name>.crt` and `<name>.key`, which only its owner can read; (certificate, key)."""
        certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
        certificate.write_bytes(self.certificate)
        key.touch(mode=0o600)
        key.write_bytes(self.private_key)
        return certificate, key


class CertificateAuthority:
    """Signs what it is asked for."""

    def __init__(self, common_name: str = "minienvoy test CA") -> None:
        self._name = common_name
        self._key = _new_key("ecdsa")
        self._certificate = self._sign(_subject(common_name), self._key.public_key(), _END, authority=True)

    def __repr__(self) -> str:
        return f"<CertificateAuthority {self._name!r}>"

    @cached_property
    def certificate(self) -> bytes:
        """Its own, PEM: what others trust."""
        return _pem(self._certificate)

    def issue(self, *names: str, common_name: str = "", key: str = "ecdsa", expired: bool = False) -> LeafCertificate:
        """A certificate for a server or for a client.

        Args:
            names: what it is for, each a DNS name (`*.a.test` too), an IP address, a URI or a mail address.
            common_name: of its subject; the first of the names if it is not given.
            key: "ecdsa" (P-256) or "rsa" (2048 bits).
            expired: it is no longer valid.

        Raises:
            UsageError: there is no such kind of key.
        """
        from cryptography import x509

        own = _new_key(key)
        # A common name has 64 letters at most (RFC 5280, appendix A.1).
        subject = _subject((common_name or (names[0] if names else "leaf"))[:64])
        extension = x509.SubjectAlternativeName([_general_name(name) for name in names]) if names else None
        signed = self._sign(subject, own.public_key(), _EXPIRED if expired else _END, names=extension)
        return LeafCertificate(_pem(signed), _key_pem(own), self)

    def client_context(self) -> ssl.SSLContext:
        """For a client that believes in servers of this authority, if the name is right."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.certificate.decode())
        return context

    def write(self, directory: Path, name: str = "ca") -> Path:
        """Its certificate, into `<name>.crt`."""
        path = directory / f"{name}.crt"
        path.write_bytes(self.certificate)
        return path

    def _sign(self, subject: Any, public_key: Any, end: datetime, *, names: Any = None, authority: bool = False) -> Any:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes

        issuer = subject if authority else self._certificate.subject
        builder = (
            x509.CertificateBuilder(issuer, subject, public_key, x509.random_serial_number())
            .not_valid_before(_BEGIN)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(_key_usage(authority), critical=True)
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _key_usage(authority: bool) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not authority,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _new_key(kind: str) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if kind == "ecdsa":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    raise UsageError(f"there are no keys of kind {kind!r}", 'give "ecdsa" or "rsa"')


def _subject(common_name: str) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> Any:
    from cryptography import x509

    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    if "@" in name:
        return x509.RFC822Name(name)
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    encoded: bytes = certificate.public_bytes(Encoding.PEM)
    return encoded


def _key_pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    encoded: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return encoded
