"""The handshake of a TLS session, and how it ends.

Envoy: `Extensions::TransportSockets::Tls::SslHandshakerImpl` (`source/common/tls/ssl_handshaker.cc`), and of
`SslSocket` what turns an error into words and counters (`drainErrorQueue`).

A client's first message is read before OpenSSL sees it: the certificate and the parameters of the session depend on it.

The peer's certificate is judged as soon as it is there, before the last flight of a TLS 1.2 handshake leaves: a peer
that is refused gets an alert and no session. With TLS 1.3 a client believes in the session by then; it is closed.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final, Protocol

from .client_hello import NEED_MORE, ClientHello, ClientHelloReader
from .connection import Connection
from .handshake_messages import offered_group, read_agreement
from .tls_error import reason_of_alert, tls_error
from .x509 import Certificate

if TYPE_CHECKING:
    from .ssl_connection_info import SslConnectionInfo
    from .ssl_socket import SslSocket
    from .ssl_stats import SslStats

_DER: Final = 2
_DIGITAL_SIGNATURE, _KEY_ENCIPHERMENT = 0x80, 0x20
_MAX_NOTED: Final = 64 * 1024
"""Bytes of a handshake that are kept to be looked at; certificates are what is large in it."""

_ALERT, _HANDSHAKE = 21, 22
_MAX_CLIENT_HELLO: Final = 1 << 14
_ANY_SIZE: Final = 1 << 16
HANDSHAKE_FAILURE, ILLEGAL_PARAMETER, PROTOCOL_VERSION = 40, 47, 70
CERTIFICATE_UNKNOWN, UNKNOWN_CA, ACCESS_DENIED, BAD_CERTIFICATE_HASH_VALUE = 46, 48, 49, 114
"""Alerts (RFC 8446 section 6.2, RFC 6066)."""


class Rejected(Exception):
    """A client can be shown no certificate."""


class Refused(Exception):
    """The peer's certificate is not accepted.

    Attributes:
        details: in Envoy's words; empty where it has none.
        alert: what the peer is told.
    """

    def __init__(self, details: str, alert: int) -> None:
        self.details = details
        self.alert = alert
        super().__init__(details)


class KeyUsage(Exception):
    """The peer's certificate does not allow its key to be used as it is."""


class SslContext(Protocol):
    """What a transport socket factory has for the connections that it makes."""

    stats: SslStats
    server_side: bool
    may_renegotiate: bool
    """The peer may begin a new handshake within the session."""

    def wrap(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        info: SslConnectionInfo,
        options: Any,
        hello: ClientHello | None = None,
    ) -> ssl.SSLObject:
        """`hello` is what a client has said, if it can be read.

        Raises:
            Rejected: there is nothing to show to it.
        """

    def verify(self, chain: tuple[Certificate, ...], info: SslConnectionInfo, options: Any) -> None:
        """Raises Refused. An empty chain: the peer showed none, and OpenSSL did not mind."""

    def on_handshake(self, session: ssl.SSLObject, info: SslConnectionInfo, options: Any) -> None: ...


class SslHandshaker:
    """Of one socket, until there is a session.

    Attributes:
        session: the `ssl.SSLObject`; None while a client's first message is not complete.
        received, sent: what has gone over the wire, as far as it is noted.
    """

    def __init__(self, socket: SslSocket) -> None:
        self._socket = socket
        self._context = socket.context
        self._info = socket.info
        self._options = socket.options
        self._judged = False
        self._hello: ClientHello | None = None
        self._reader = ClientHelloReader(_ANY_SIZE)
        self.session: Any = None
        self.received = bytearray()
        self.sent = bytearray()

    def begin(self) -> None:
        """The transport is there. Clients speak first."""
        if not self._context.server_side and self._make_session():
            self._proceed()

    def data_received(self, data: bytes) -> None:
        """It is in the socket's buffer, too."""
        received = self.received
        if len(received) < _MAX_NOTED:
            received += data
        if self.session is None:
            found = self._reader.read(received)
            if found == NEED_MORE and len(received) < _MAX_NOTED:
                return
            # What can not be read is OpenSSL's: it knows what to say of it.
            self._hello = found if isinstance(found, ClientHello) else None
            if not self._make_session():
                return
        self._proceed()

    def judge(self, chain: list[bytes]) -> None:
        """Decide about the peer by what it has shown, DER, its own certificate first; once.

        Raises:
            Refused, ValueError: it is not welcome.
        """
        self._judged = True
        self._info.chain_error = getattr(self.session, "chain_error", "")
        certificates = tuple(Certificate(der) for der in chain)
        if certificates and not may_be_used(certificates[0], self.session):
            raise KeyUsage
        self._context.verify(certificates, self._info, self._options)
        self._info.peer_chain = certificates

    # -- inside

    def _make_session(self) -> bool:
        socket = self._socket
        try:
            session: Any = self._context.wrap(socket.incoming, socket.outgoing, self._info, self._options, self._hello)
        except Rejected:
            self._context.stats.counters.connection_error += 1
            socket.outgoing.write(_alert(HANDSHAKE_FAILURE))
            self._end_handshake(tls_error("CONNECTION_REJECTED"))
            return False
        self.session = session
        if not isinstance(session, ssl.SSLObject):
            session.belong_to(socket)
        return True

    def _proceed(self) -> None:
        over = False
        try:
            self.session.do_handshake()
            over = True
        except ssl.SSLWantReadError:
            pass
        except Refused as refused:
            self._refuse(refused)
            return
        except KeyUsage:
            self._end_without_a_word()
            return
        except ssl.SSLCertVerificationError as error:
            self._count_verification(error)
            return
        except (ssl.SSLError, OSError) as error:
            self._fail(getattr(error, "reason", None) or "")
            return
        if not self._judged:
            chain = peer_chain(self.session, over)
            if chain or over:
                try:
                    self.judge(chain)
                except Refused as refused:
                    self._refuse(refused)
                    return
                except KeyUsage:
                    self._end_without_a_word()
                    return
                except ValueError:
                    self._refuse(Refused("the certificate can not be read", CERTIFICATE_UNKNOWN))
                    return
        self._flush()
        if over:
            self._complete()

    def _flush(self) -> None:
        socket = self._socket
        if socket.outgoing.pending and socket.raw is not None:
            data = socket.outgoing.read()
            if len(self.sent) < _MAX_NOTED:
                self.sent += data
            socket.raw.write(data)

    def _complete(self) -> None:
        info, context, session = self._info, self._context, self.session
        info.session = session
        info.version_so_far = session.version() or ""
        if not isinstance(session, ssl.SSLObject) and info.peer_chain:
            # What was judged is the chain that was found; what counts later is what was shown.
            info.peer_chain = tuple(Certificate(der) for der in session.chain())
        info.handshake_end_time = self._socket.connection.dispatcher.monotonic_time()
        info.session_reused = bool(session.session_reused)
        info.group, info.signature = self._agreement(info)
        context.stats.count_handshake(info, info.signature, context.server_side)
        context.on_handshake(session, info, self._options)
        self._socket.on_handshake_complete(session)

    def _agreement(self, info: SslConnectionInfo) -> tuple[str, str]:
        """(group, the peer's signature); those of a session that is resumed are the ones that it began with."""
        server_side = self._context.server_side
        agreed = read_agreement(bytes(self.received), bytes(self.sent), server_side)
        group, signature = agreed.group, agreed.signature
        earlier, info.earlier = info.earlier, None
        if info.session_reused:
            if earlier is not None:
                group, signature = group or earlier.group, signature or earlier.signature
            elif not group:
                group = offered_group(self._hello)
        if not signature and info.peer_chain:
            signature = signature_of(info.peer_chain[0])
        return group, signature

    def _count_verification(self, error: ssl.SSLCertVerificationError) -> None:
        self._context.stats.counters.fail_verify_error += 1
        message = (error.verify_message or "").replace("self-signed", "self signed")
        if message == "certificate revoked":
            message = f"certificate revocation check against provided CRLs failed: {message}"
        depth = getattr(error, "depth", 0)
        self._end_handshake(
            tls_error(
                "CERTIFICATE_VERIFY_FAILED",
                f"verify cert failed: X509_verify_cert: certificate verification error at depth {depth}: {message}",
            )
        )

    def _fail(self, reason: str) -> None:
        stats, server_side = self._context.stats.counters, self._context.server_side
        if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
            stats.fail_verify_no_cert += 1
        else:
            stats.connection_error += 1
        more: tuple[str, ...] = ()
        if server_side and not self.sent:
            reason = self._put_as_boringssl(reason)
        elif not server_side and reason == "SSLV3_ALERT_HANDSHAKE_FAILURE" and self.received[:1] == b"\x15":
            more = ("HANDSHAKE_FAILURE_ON_CLIENT_HELLO",)
        self._end_handshake(tls_error(reason, "", *more))

    def _put_as_boringssl(self, reason: str) -> str:
        """About what is no ClientHello: its reason, and an alert of its version in place of OpenSSL's."""
        received, said = bytes(self.received), self._socket.outgoing.read()
        kind = received[0]
        if kind == _ALERT and received[3:6] == b"\x00\x02\x02":
            return reason_of_alert(received[6]) if len(received) > 6 else reason
        too_large = reason != "PACKET_LENGTH_TOO_LONG" and len(received) > 8
        if kind == _HANDSHAKE and too_large and int.from_bytes(received[6:9], "big") > _MAX_CLIENT_HELLO:
            reason, said = "EXCESSIVE_MESSAGE_SIZE", _alert(ILLEGAL_PARAMETER)
        elif kind not in (_HANDSHAKE, _ALERT) and reason == "UNEXPECTED_MESSAGE":
            reason = "UNEXPECTED_RECORD"
        elif reason == "WRONG_VERSION_NUMBER" and not said:
            said = _alert(PROTOCOL_VERSION)  # OpenSSL leaves without a word
        if said[:1] == b"\x15":
            said = _alert(said[6])
        self._socket.outgoing.write(said)
        return reason

    def _refuse(self, refused: Refused) -> None:
        """What OpenSSL wants to say next would complete the handshake: it is not sent.

        With TLS 1.3 what is said is encrypted, and only the library has the key: if it knows of the refusal, it has
        said something about it.
        """
        said = read_agreement(bytes(self.received), bytes(self.sent), self._context.server_side)
        if said.version == 0x0303 or isinstance(self.session, ssl.SSLObject):
            self._socket.outgoing.read()
        if said.version == 0x0303:
            self._socket.outgoing.write(b"\x15\x03\x03\x00\x02\x02" + bytes([refused.alert]))
        details = refused.details and f"verify cert failed: {refused.details}"
        self._end_handshake(tls_error("CERTIFICATE_VERIFY_FAILED", details))

    def _end_without_a_word(self) -> None:
        """The peer's key may not do what it does; BoringSSL leaves the rest of its flight unread."""
        self._context.stats.counters.connection_error += 1
        self._socket.outgoing.read()
        raw = self._socket.raw
        if raw is not None and self._context.server_side:
            Connection._reset_on_close(raw)
        self._end_handshake(tls_error("KEY_USAGE_BIT_INCORRECT"))

    def _end_handshake(self, reason: str) -> None:
        said = read_agreement(bytes(self.received), bytes(self.sent), self._context.server_side)
        if said.version == 0x0304:
            self._info.version_so_far = "TLSv1.3"
        self._socket.give_up(reason)


def peer_chain(session: Any, over: bool) -> list[bytes]:
    """What the peer has shown so far, its own certificate first, DER."""
    if not isinstance(session, ssl.SSLObject):
        return session.chain() if over else []
    # The public method, of Python 3.13, stumbles over a client that shows nothing; what it calls says None for that.
    shown = session._sslobj.get_unverified_chain() or ()  # type: ignore[attr-defined]
    chain = [each.public_bytes(_DER) for each in shown if each is not None]
    if not chain and over:
        own: bytes | None = session.getpeercert(True)
        return [own] if own else []
    return chain


def may_be_used(certificate: Certificate, session: Any) -> bool:
    """Whether the certificate lets its key sign, or decrypt where the cipher suite wants that (RFC 5246 7.4.2)."""
    usage = certificate.key_usage
    if usage is None:
        return True
    cipher = session.cipher()
    decrypts = cipher is not None and "DHE" not in cipher[0] and not cipher[0].startswith("TLS_")
    return bool(usage & (_KEY_ENCIPHERMENT if decrypts else _DIGITAL_SIGNATURE))


def _alert(number: int) -> bytes:
    """A fatal one, to somebody whose version is not known."""
    return b"\x15\x03\x01\x00\x02\x02" + bytes((number,))


def signature_of(certificate: Certificate) -> str:
    """What TLS 1.3 signs with by such a key; for RSA, what everybody prefers."""
    return {
        "1.2.840.10045.2.1 1.2.840.10045.3.1.7": "ecdsa_secp256r1_sha256",
        "1.2.840.10045.2.1 1.3.132.0.34": "ecdsa_secp384r1_sha384",
        "1.2.840.10045.2.1 1.3.132.0.35": "ecdsa_secp521r1_sha512",
        "1.2.840.113549.1.1.1": "rsa_pss_rsae_sha256",
        "1.3.101.112": "ed25519",
    }.get(certificate.algorithm, "")
