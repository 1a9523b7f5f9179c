"""A TLS session by pyOpenSSL, for what Python's `ssl` has no words for; otherwise as `ssl.SSLObject`.

No Envoy counterpart: Envoy has BoringSSL for everything. Python's `ssl` costs less for each record, so it does the
usual contexts; `tls.context_config` decides. A session of this kind can be told about the peer's certificate *in* the
handshake: who is refused gets an alert, with TLS 1.3, too.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final

from OpenSSL import SSL, crypto

from .address import Address
from .ssl_handshaker import CERTIFICATE_UNKNOWN, KeyUsage, Refused

if TYPE_CHECKING:
    from .ssl_socket import SslSocket

LIBRARY: Final[Any] = vars(SSL)["_lib"]
"""The functions of OpenSSL, for what pyOpenSSL has no names for."""
FFI: Final[Any] = vars(SSL)["_ffi"]
_UNKNOWN: Final = 47
"""An error (`X509_V_ERR_PERMITTED_VIOLATION`) that has no alert of its own: the peer is told `certificate_unknown`."""
_CHUNK: Final = 256 * 1024


class OpenSslSession:
    """One session, on two buffers in memory.

    Attributes:
        context: an `OpenSslContext`; another one may be set before the handshake begins.
        chain_error: why the peer's chain is not to be trusted, if that is no reason to refuse it.
    """

    def __init__(
        self,
        context: Any,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        *,
        server_side: bool,
        server_hostname: str | None = None,
        session: Any = None,
    ) -> None:
        self._context = context
        self._incoming = incoming
        self._outgoing = outgoing
        self._connection = connection = SSL.Connection(context.native, None)
        connection.set_app_data(self)
        self.server_side = server_side
        self.chain_error = ""
        self._socket: SslSocket | None = None
        self._refused: Refused | KeyUsage | None = None
        self._judged = False
        self._taken = False
        self._shown: dict[int, bytes] = {}
        self._failure: tuple[int, int] | None = None
        if server_side:
            connection.set_accept_state()
        else:
            connection.set_connect_state()
            if server_hostname:
                connection.set_tlsext_host_name(server_hostname.encode("ascii"))
            if session is not None:
                connection.set_session(session)

    @property
    def context(self) -> Any:
        return self._context

    @context.setter
    def context(self, context: Any) -> None:
        self._context = context
        self._connection.set_context(context.native)

    def belong_to(self, socket: SslSocket) -> None:
        """Whom to ask about the peer, in the handshake."""
        self._socket = socket

    def addresses(self) -> tuple[Address | None, Address | None]:
        """(local, remote)"""
        socket = self._socket
        if socket is None:
            return None, None
        info = socket.connection.info
        local = info.local_address
        if local is None and info.remote_address is not None and socket.raw is not None:
            local = Address.from_sockaddr(info.remote_address.family, socket.raw.get_extra_info("sockname"))
        return local, info.remote_address

    # -- as `ssl.SSLObject`

    def do_handshake(self) -> None:
        self._take()
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            raise ssl.SSLWantReadError from None
        except SSL.Error as error:
            if self._refused is not None:
                raise self._refused from None
            raise self._error(error) from None
        finally:
            self._give()

    def read(self, size: int) -> bytes:
        self._take()
        try:
            data: bytes = self._connection.recv(min(size, 16384))
        except SSL.WantReadError:
            self._taken = False
            self._give()
            raise ssl.SSLWantReadError from None
        except SSL.ZeroReturnError:
            self._give()
            raise ssl.SSLZeroReturnError from None
        except SSL.Error as error:
            self._give()
            raise self._error(error) from None
        return data

    def write(self, data: bytes | memoryview) -> int:
        try:
            written: int = self._connection.send(data)
        except SSL.Error as error:
            raise self._error(error) from None
        finally:
            self._give()
        return written

    def pending(self) -> int:
        """More than 0 if there may be something to read: bytes that the library has taken are seen by nobody else."""
        return int(self._taken)

    def unwrap(self) -> None:
        try:
            self._connection.shutdown()
        except SSL.Error as error:
            raise self._error(error) from None
        finally:
            self._give()

    def version(self) -> str:
        name: str = self._connection.get_protocol_version_name()
        return name

    def cipher(self) -> tuple[str, str, int] | None:
        name = self._connection.get_cipher_name()
        return None if name is None else (name, self.version(), self._connection.get_cipher_bits() or 0)

    def selected_alpn_protocol(self) -> str | None:
        chosen: bytes = self._connection.get_alpn_proto_negotiated()
        return chosen.decode("latin-1") or None

    @property
    def session(self) -> Any:
        """What `session=` of another one goes on with."""
        return self._connection.get_session()

    @property
    def session_reused(self) -> bool:
        return bool(LIBRARY.SSL_session_reused(self._connection._ssl))

    def chain(self) -> list[bytes]:
        """What the peer has shown, its own certificate first, DER."""
        own = self._connection.get_peer_certificate()
        if own is None:
            return []
        # A server's library does not count a client's own certificate as one of its chain.
        shown = [_der(each) for each in self._connection.get_peer_cert_chain() or ()]
        first = _der(own)
        return [first, *(each for each in shown if each != first)]

    # -- what the library calls

    def on_certificate(self, certificate: bytes, number: int, depth: int, good: bool) -> bool:
        """Each certificate of the chain that was found, from its end to the peer's own; perhaps several times."""
        self._shown[depth] = certificate
        if not good:
            if self._context.refuses_untrusted:
                self._failure = (number, depth)
                return False
            self.chain_error = self.chain_error or verification_error(number, depth)
            return True
        handshaker = self._socket.handshaker if self._socket is not None else None
        if depth == 0 and handshaker is not None and not self._judged:
            self._judged = True
            try:
                handshaker.judge([self._shown[at] for at in sorted(self._shown)])
            except (Refused, KeyUsage) as refused:
                self._refused = refused
            except ValueError:
                self._refused = Refused("the certificate can not be read", CERTIFICATE_UNKNOWN)
        return self._refused is None

    @property
    def refused(self) -> bool:
        """The peer is known to be unwelcome."""
        return self._refused is not None

    # -- inside

    def _take(self) -> None:
        if self._incoming.pending:
            self._connection.bio_write(self._incoming.read())
            self._taken = True

    def _give(self) -> None:
        read, write = self._connection.bio_read, self._outgoing.write
        try:
            while True:
                write(read(_CHUNK))
        except SSL.WantReadError:
            return

    def _error(self, error: SSL.Error) -> ssl.SSLError:
        if self._failure is not None:
            failed = ssl.SSLCertVerificationError(1, "certificate verify failed")
            number, depth = self._failure
            failed.verify_message = message_of(number)
            failed.verify_code = number
            failed.depth = depth  # type: ignore[attr-defined]
            return failed
        reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
        made = ssl.SSLError(1, str(error))
        made.reason = reason_name(reasons[-1][2]) if reasons else ""
        return made


def verify_callback() -> Any:
    """What OpenSSL calls for every certificate; pyOpenSSL's own can not say why one is refused."""

    def on_certificate(good: int, store: Any) -> int:
        handle = LIBRARY.X509_STORE_CTX_get_ex_data(store, LIBRARY.SSL_get_ex_data_X509_STORE_CTX_idx())
        session: OpenSslSession = SSL.Connection._reverse_mapping[handle].get_app_data()
        certificate = LIBRARY.X509_STORE_CTX_get_current_cert(store)
        LIBRARY.X509_up_ref(certificate)
        der = _der(crypto.X509._from_raw_x509_ptr(certificate))
        number, depth = LIBRARY.X509_STORE_CTX_get_error(store), LIBRARY.X509_STORE_CTX_get_error_depth(store)
        welcome = session.on_certificate(der, number, depth, bool(good))
        if welcome:
            LIBRARY.X509_STORE_CTX_set_error(store, 0)
        elif session.refused:
            LIBRARY.X509_STORE_CTX_set_error(store, _UNKNOWN)
        return int(welcome)

    return FFI.callback("int (*)(int, X509_STORE_CTX *)", on_certificate)


def reason_name(text: str) -> str:
    """As Python's `ssl` writes it; newer libraries say "ssl/tls alert" where older ones say "sslv3 alert"."""
    return text.replace("ssl/tls alert", "sslv3 alert").replace(" ", "_").upper()


def message_of(number: int) -> str:
    """The library's words for an error of a chain."""
    text: bytes = FFI.string(LIBRARY.X509_verify_cert_error_string(number))
    return text.decode("ascii").replace("self-signed", "self signed")


def verification_error(number: int, depth: int) -> str:
    """In Envoy's words."""
    return f"X509_verify_cert: certificate verification error at depth {depth}: {message_of(number)}"


def _der(certificate: Any) -> bytes:
    dumped: bytes = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
    return dumped
