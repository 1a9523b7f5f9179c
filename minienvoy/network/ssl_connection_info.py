"""Facts of a TLS session: what it agreed on, and the certificates at its two ends.

Envoy: `Ssl::ConnectionInfo`, `Extensions::TransportSockets::Tls::ConnectionInfoImplBase`.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any
from urllib.parse import quote

from .x509 import DNS, EMAIL, IP, OTHER_NAME, URI, Certificate


class SslConnectionInfo:
    """Of one connection, from its beginning; what is not known before the handshake is empty until then.

    Attributes:
        session: the `ssl.SSLObject`; None before the handshake is over.
        local_certificate: what we show; None if nothing.
        peer_chain: what the peer showed, its own certificate first.
        validated: the peer's certificate was checked and found good.
        issuer_certificate: who signed the peer's, shown by it or trusted anyway; None if that is not known.
        sni: the server name that was asked for.
        signature: the algorithm that the peer signed with; empty if that is not known.
        earlier: the session that this one goes on with, if it is accepted; None if there is none.
        chain_error: what OpenSSL has against the peer's chain, if that did not end the handshake.
        connected_time, handshake_begin_time, handshake_end_time: monotonic seconds; the handshake begins with the first
            bytes of the peer. None: that has not happened.
    """

    session: Any = None
    local_certificate: Certificate | None = None
    peer_chain: tuple[Certificate, ...] = ()
    validated = False
    issuer_certificate: Certificate | None = None
    sni = ""
    group = ""
    session_reused = False
    signature = ""
    earlier: SslConnectionInfo | None = None
    chain_error = ""
    version_so_far = "TLSv1.2"
    """At first what BoringSSL says before a version is agreed on. A session that has failed tells none."""
    connected_time: float | None = None
    handshake_begin_time: float | None = None
    handshake_end_time: float | None = None

    # -- the session

    @property
    def tls_version(self) -> str:
        return (self.session.version() if self.session is not None else None) or self.version_so_far

    @property
    def ciphersuite(self) -> str:
        """OpenSSL's name, as Envoy has it."""
        cipher = self.session.cipher() if self.session is not None else None
        return cipher[0] if cipher else ""

    @property
    def alpn(self) -> str:
        return (self.session.selected_alpn_protocol() or "") if self.session is not None else ""

    @property
    def session_id(self) -> str:
        """Sessions of TLS 1.3 have none."""
        if self.tls_version == "TLSv1.3":
            return ""
        session = self.session.session if self.session is not None else None
        if session is not None and getattr(self.session, "server_side", False) and self.tls_version == "TLSv1.3":
            return ""  # such a session is known by its tickets; OpenSSL gives it an id all the same
        known: bytes = getattr(session, "id", b"")  # pyOpenSSL does not tell
        return known.hex()

    # -- certificates

    @property
    def peer_certificate(self) -> Certificate | None:
        return self.peer_chain[0] if self.peer_chain else None

    @property
    def peer_certificate_presented(self) -> bool:
        return bool(self.peer_chain)

    def _peer_names(self, tag: int) -> tuple[str, ...]:
        return self.peer_chain[0].names(tag) if self.peer_chain else ()

    def _local_names(self, tag: int) -> tuple[str, ...]:
        return self.local_certificate.names(tag) if self.local_certificate is not None else ()

    @property
    def uri_san_peer_certificate(self) -> tuple[str, ...]:
        return self._peer_names(URI)

    @property
    def dns_sans_peer_certificate(self) -> tuple[str, ...]:
        return self._peer_names(DNS)

    @property
    def ip_sans_peer_certificate(self) -> tuple[str, ...]:
        return self._peer_names(IP)

    @property
    def email_sans_peer_certificate(self) -> tuple[str, ...]:
        return self._peer_names(EMAIL)

    @property
    def othername_sans_peer_certificate(self) -> tuple[str, ...]:
        return self._peer_names(OTHER_NAME)

    @property
    def uri_san_local_certificate(self) -> tuple[str, ...]:
        return self._local_names(URI)

    @property
    def dns_sans_local_certificate(self) -> tuple[str, ...]:
        return self._local_names(DNS)

    @property
    def ip_sans_local_certificate(self) -> tuple[str, ...]:
        return self._local_names(IP)

    @property
    def email_sans_local_certificate(self) -> tuple[str, ...]:
        return self._local_names(EMAIL)

    @property
    def othername_sans_local_certificate(self) -> tuple[str, ...]:
        return self._local_names(OTHER_NAME)

    @property
    def subject_peer_certificate(self) -> str:
        return self.peer_chain[0].subject if self.peer_chain else ""

    @property
    def issuer_peer_certificate(self) -> str:
        return self.peer_chain[0].issuer if self.peer_chain else ""

    @property
    def subject_local_certificate(self) -> str:
        return self.local_certificate.subject if self.local_certificate is not None else ""

    @cached_property
    def url_encoded_pem_peer_certificate(self) -> str:
        return quote(self.peer_chain[0].pem, safe="-._~") if self.peer_chain else ""

    @cached_property
    def url_encoded_pem_peer_chain(self) -> str:
        return "".join(quote(each.pem, safe="-._~") for each in self.peer_chain)
