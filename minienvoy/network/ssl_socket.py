"""TLS between a connection and its transport.

Envoy: `Extensions::TransportSockets::Tls::SslSocket` (`source/common/tls/ssl_socket.cc`).

asyncio and uvloop have TLS of their own, which hides too much: how much of what was written has left, which alert ends
a handshake, that a `close_notify` is to go out and nothing is to be waited for, a certificate before the handshake is
over. So `ssl.SSLObject` works here on two buffers in memory. The event loop's transport tells `SslSocket` of bytes;
the connection is given `SslTransport`, which looks to it like any other transport. Neither connection, codec nor pool
knows.

The peer's certificate is judged as soon as it is there, before the last flight of a TLS 1.2 handshake leaves: a peer
that is refused gets an alert and no session. With TLS 1.3 a client believes in the session by then; it is closed.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, Final, Protocol

from .connection import Connection, ConnectionCallbacks, ConnectionEvent
from .handshake_messages import offered_group, read_agreement
from .ssl_connection_info import SslConnectionInfo
from .tls_error import reason_of_alert, tls_error
from .x509 import Certificate

if TYPE_CHECKING:
    from .ssl_stats import SslStats

_READ: Final = 256 * 1024
_DER: Final = 2
_DIGITAL_SIGNATURE, _KEY_ENCIPHERMENT = 0x80, 0x20
_MAX_NOTED: Final = 64 * 1024
"""Bytes of a handshake that are kept to be looked at; certificates are what is large in it."""

_ALERT, _HANDSHAKE = 21, 22
_RESET: Final = "TLS_error:|33554536:system library:OPENSSL_internal:Connection reset by peer:TLS_error_end"
_MAX_CLIENT_HELLO: Final = 1 << 14
ILLEGAL_PARAMETER, PROTOCOL_VERSION = 47, 70
ACCESS_DENIED, CERTIFICATE_UNKNOWN, BAD_CERTIFICATE_HASH_VALUE = 49, 46, 114
"""Alerts (RFC 8446 section 6.2, RFC 6066)."""


class Refused(Exception):
    """The peer's certificate is not accepted.

    Attributes:
        details: in Envoy's words.
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
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, info: SslConnectionInfo, options: Any
    ) -> ssl.SSLObject: ...

    def verify(self, chain: tuple[Certificate, ...], info: SslConnectionInfo, options: Any) -> None:
        """Raises Refused. An empty chain: the peer showed none, and OpenSSL did not mind."""

    def on_handshake(self, session: ssl.SSLObject, info: SslConnectionInfo, options: Any) -> None: ...


class SslSocket(asyncio.Protocol, ConnectionCallbacks):
    """Between one transport of the event loop and one connection."""

    def __init__(self, connection: Connection, context: SslContext, options: Any = None) -> None:
        self.connection = connection
        self.context = context
        self.options = options
        info = connection.info.ssl
        if info is None:
            info = connection.info.ssl = SslConnectionInfo()
        self.info: SslConnectionInfo = info
        self.raw: asyncio.Transport | None = None
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        session: Any = context.wrap(self.incoming, self.outgoing, info, options)
        self.session: Any = session
        if not isinstance(self.session, ssl.SSLObject):
            self.session.belong_to(self)
        self.shaken_hands = False
        self._judged = False
        self._noted_in = session.received = bytearray()
        self._noted_out = bytearray()
        self._said_goodbye = False
        connection.add_callbacks(self)

    # -- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.raw = transport  # type: ignore[assignment]
        if self.connection.closed:
            transport.abort()  # type: ignore[attr-defined]
            return
        self.info.connected_time = self.connection.dispatcher.monotonic_time()
        self._handshake()

    def data_received(self, data: bytes) -> None:
        if self.connection.closed:
            return
        self.incoming.write(data)
        if self.shaken_hands:
            self._read()
        else:
            if self.info.handshake_begin_time is None:
                self.info.handshake_begin_time = self.connection.dispatcher.monotonic_time()
            if len(self._noted_in) < _MAX_NOTED:
                self._noted_in += data
            self._handshake()

    def eof_received(self) -> bool:
        """A FIN without a `close_notify`: nothing more can be believed."""
        if self.connection.closed:
            return False
        if self.shaken_hands:
            self.connection._end(ConnectionEvent.REMOTE_CLOSE)
        else:
            self.connection.connection_lost(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.raw = None
        connection = self.connection
        if not connection.closed and isinstance(exc, ConnectionResetError):
            connection.transport_failure_reason = _RESET
            if self.context.server_side:
                connection.stream_info.downstream_transport_failure_reason = _RESET
        connection.connection_lost(exc)

    def pause_writing(self) -> None:
        if self.shaken_hands:
            self.connection.pause_writing()

    def resume_writing(self) -> None:
        if self.shaken_hands:
            self.connection.resume_writing()

    # -- what the connection tells

    def on_event(self, event: ConnectionEvent) -> None:
        """It has ended before there was a session, and knows no transport that it could close."""
        if event is not ConnectionEvent.CONNECTED and not self.shaken_hands and self.raw is not None:
            self._leave()

    # -- the handshake

    def _handshake(self) -> None:
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
        self.flush(note=True)
        if over:
            self._complete()

    def judge(self, chain: list[bytes]) -> None:
        """Decide about the peer by what it has shown, DER, its own certificate first; once.

        Raises:
            Refused, ValueError: it is not welcome.
        """
        self._judged = True
        self.info.chain_error = getattr(self.session, "chain_error", "")
        certificates = tuple(Certificate(der) for der in chain)
        if certificates and not may_be_used(certificates[0], self.session):
            raise KeyUsage
        self.context.verify(certificates, self.info, self.options)
        self.info.peer_chain = certificates

    def _complete(self) -> None:
        info, context, raw = self.info, self.context, self.raw
        assert raw is not None
        self.shaken_hands = True
        info.session = self.session
        info.version_so_far = self.session.version() or ""
        if not isinstance(self.session, ssl.SSLObject) and info.peer_chain:
            # What was judged is the chain that was found; what counts later is what was shown.
            info.peer_chain = tuple(Certificate(der) for der in self.session.chain())
        info.handshake_end_time = self.connection.dispatcher.monotonic_time()
        info.session_reused = bool(self.session.session_reused)
        info.group, info.signature = self._agreement(info)
        context.stats.count_handshake(info, info.signature, context.server_side)
        context.on_handshake(self.session, info, self.options)
        connection = self.connection
        connection.connection_made(SslTransport(self, raw))
        if not connection.closed and (self.incoming.pending or self.session.pending()):
            self._read()

    def _agreement(self, info: SslConnectionInfo) -> tuple[str, str]:
        """(group, the peer's signature); those of a session that is resumed are the ones that it began with."""
        server_side = self.context.server_side
        agreed = read_agreement(bytes(self._noted_in), bytes(self._noted_out), server_side)
        group, signature = agreed.group, agreed.signature
        earlier, info.earlier = info.earlier, None
        if info.session_reused:
            if earlier is not None:
                group, signature = group or earlier.group, signature or earlier.signature
            elif not group:
                group = offered_group(bytes(self._noted_in))
        self._noted_in.clear()
        self._noted_out.clear()
        if not signature and info.peer_chain:
            signature = signature_of(info.peer_chain[0])
        return group, signature

    def _count_verification(self, error: ssl.SSLCertVerificationError) -> None:
        self.context.stats.counters.fail_verify_error += 1
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
        stats, server_side = self.context.stats.counters, self.context.server_side
        if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
            stats.fail_verify_no_cert += 1
        else:
            stats.connection_error += 1
        more: tuple[str, ...] = ()
        if server_side and not self._noted_out:
            reason = self._put_as_boringssl(reason)
        elif not server_side and reason == "SSLV3_ALERT_HANDSHAKE_FAILURE" and self._noted_in[:1] == b"\x15":
            more = ("HANDSHAKE_FAILURE_ON_CLIENT_HELLO",)
        self._end_handshake(tls_error(reason, "", *more))

    def _put_as_boringssl(self, reason: str) -> str:
        """About what is no ClientHello: its reason, and an alert of its version in place of OpenSSL's."""
        received, said = bytes(self._noted_in), self.outgoing.read()
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
        self.outgoing.write(said)
        return reason

    def _refuse(self, refused: Refused) -> None:
        """What OpenSSL wants to say next would complete the handshake: it is not sent.

        With TLS 1.3 what is said is encrypted, and only the library has the key: if it knows of the refusal, it has
        said something about it.
        """
        said = read_agreement(bytes(self._noted_in), bytes(self._noted_out), self.context.server_side)
        if said.version == 0x0303 or isinstance(self.session, ssl.SSLObject):
            self.outgoing.read()
        if said.version == 0x0303:
            self.outgoing.write(b"\x15\x03\x03\x00\x02\x02" + bytes([refused.alert]))
        self._end_handshake(tls_error("CERTIFICATE_VERIFY_FAILED", f"verify cert failed: {refused.details}"))

    def _end_without_a_word(self) -> None:
        """The peer's key may not do what it does; BoringSSL leaves the rest of its flight unread."""
        self.context.stats.counters.connection_error += 1
        self.outgoing.read()
        if self.raw is not None and self.context.server_side:
            Connection._reset_on_close(self.raw)
        self._end_handshake(tls_error("KEY_USAGE_BIT_INCORRECT"))

    def _end_handshake(self, reason: str) -> None:
        connection = self.connection
        connection.transport_failure_reason = reason
        said = read_agreement(bytes(self._noted_in), bytes(self._noted_out), self.context.server_side)
        if said.version == 0x0304:
            self.info.version_so_far = "TLSv1.3"
        if self.context.server_side:
            connection.stream_info.downstream_transport_failure_reason = reason
        self.flush()
        self._said_goodbye = True
        connection.connection_lost(None)

    # -- bytes

    def flush(self, note: bool = False) -> None:
        """Hand what OpenSSL has written to the transport."""
        if self.outgoing.pending and self.raw is not None:
            data = self.outgoing.read()
            if note and len(self._noted_out) < _MAX_NOTED:
                self._noted_out += data
            self.raw.write(data)

    def write(self, data: bytes) -> None:
        session = self.session
        try:
            written = session.write(data)
            if written < len(data):
                view = memoryview(data)
                while written < len(data):
                    written += session.write(view[written:])
        except ssl.SSLError:
            self.connection._end(ConnectionEvent.REMOTE_CLOSE)
            return
        if self.raw is not None:
            self.raw.write(self.outgoing.read())

    def _read(self) -> None:
        """Everything that has come, a record at a time, is delivered in one piece."""
        connection, read = self.connection, self.session.read
        records: list[bytes] = []
        reason: str | None = None
        ended = True
        try:
            while record := read(_READ):
                records.append(record)
        except ssl.SSLWantReadError:
            ended = False
        except ssl.SSLZeroReturnError:
            pass
        except ssl.SSLError as error:
            reason = error.reason or ""
        if records:
            connection.data_received(records[0] if len(records) == 1 else b"".join(records))
        if self.outgoing.pending:
            self.flush()
            if not ended and not self.context.may_renegotiate and self.session.version() != "TLSv1.3":
                # All that a session says by itself: the library has refused to begin anew, and would go on.
                ended, reason = True, "NO_RENEGOTIATION"
        if connection.closed or not ended:
            return
        if reason is None:
            connection.eof_received()  # close_notify
            return
        self._said_goodbye = True
        self._fail_within_session(reason)
        connection._end(ConnectionEvent.REMOTE_CLOSE)

    def _fail_within_session(self, reason: str) -> None:
        """What has come is no record of this session. Then BoringSSL can not say goodbye either; Envoy counts that."""
        connection, counters = self.connection, self.context.stats.counters
        counters.connection_error += 1
        text = tls_error(reason)
        if "_ALERT_" not in reason:
            counters.connection_error += 1
            text = f"{text}|{tls_error('PROTOCOL_IS_SHUTDOWN').removeprefix('TLS_error:|')}"
        connection.transport_failure_reason = text
        if self.context.server_side:
            connection.stream_info.downstream_transport_failure_reason = text

    def say_goodbye(self) -> None:
        """Send a `close_notify`, once; no answer is waited for."""
        if self._said_goodbye or not self.shaken_hands:
            return
        self._said_goodbye = True
        try:
            self.session.unwrap()
        except (ssl.SSLError, OSError, ValueError):
            pass  # it waits for the peer's; that is ours already written
        self.flush()

    def _leave(self) -> None:
        """Close the transport; what it was given goes out if the kernel takes it at once."""
        raw = self.raw
        if raw is None:
            return
        raw.close()
        self.connection.dispatcher.post(raw.abort)


class SslTransport(asyncio.Transport):
    """What a connection takes for its transport."""

    def __init__(self, socket: SslSocket, raw: asyncio.Transport) -> None:
        super().__init__()
        self.socket = socket
        self.write = socket.write  # type: ignore[method-assign, assignment]
        self.go_through(raw)

    def go_through(self, raw: asyncio.Transport) -> None:
        """Send and read by `raw` from now on."""
        self.raw = self.socket.raw = raw
        self.pause_reading = raw.pause_reading  # type: ignore[method-assign]
        self.resume_reading = raw.resume_reading  # type: ignore[method-assign]
        self.get_write_buffer_size = raw.get_write_buffer_size  # type: ignore[method-assign]
        self.set_write_buffer_limits = raw.set_write_buffer_limits  # type: ignore[method-assign]

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "ssl_object":
            return self.socket.session
        return self.raw.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self.raw.is_closing()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.socket.say_goodbye()

    def close(self) -> None:
        self.socket.say_goodbye()
        self.raw.close()

    def abort(self) -> None:
        """The end. If everything before it has left, the peer hears that this is all."""
        if self.raw.is_closing() or self.raw.get_write_buffer_size():
            self.raw.abort()
            return
        self.socket.say_goodbye()
        self.socket._leave()


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
