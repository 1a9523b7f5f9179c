"""From `CommonTlsContext` to contexts of pyOpenSSL, where Python's `ssl` can not do what is configured.

Envoy: `Extensions::TransportSockets::Tls::ContextImpl`. Which contexts these are is decided in `tls.context_config`:
several curves, signature algorithms, policies of compliance, staples, key logs, chains that are looked at but need not
be good, names and hashes that clients must have.

pyOpenSSL has no names of its own for curves and signature algorithms; for those the functions of OpenSSL are called as
it calls them.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from OpenSSL import SSL, crypto

from ....errors import ConfigError
from ....network.memory_file import MemoryFile
from ....network.openssl_session import FFI, LIBRARY, OpenSslSession, verify_callback
from .native_context import NO_AUTO_CHAIN
from .tls_parameters import ALLOW_CLIENT_RENEGOTIATION

if TYPE_CHECKING:
    from .cert_validator import CertValidator
    from .certificate import TlsCertificate
    from .key_log import KeyLog
    from .tls_parameters import TlsParameters

_NO_CHECK_TIME: Final = 0x200000
_SESSION_CONTEXT: Final = b"minienvoy"
_MAX_TIMEOUT: Final = 2**31 - 1

OnServerName = Callable[[Any, str, Any], "int | None"]


class OpenSslContext:
    """What `ssl.SSLContext` is.

    Attributes:
        native: of pyOpenSSL.
        refuses_untrusted: a chain that is not good ends the handshake.
    """

    def __init__(
        self,
        parameters: TlsParameters,
        alpn: Sequence[str],
        certificate: TlsCertificate | None,
        validator: CertValidator,
        path: str,
        *,
        server_side: bool,
        ciphers: Sequence[str] = (),
        client_order: bool = False,
        renegotiates: bool = False,
    ) -> None:
        """`ciphers`: in another order than the first; `client_order`: the client's order of cipher suites counts;
        `renegotiates`: the peer may begin anew.

        Raises:
            ConfigError: OpenSSL does not take something.
        """
        self.native: Any = SSL.Context(SSL.TLS_SERVER_METHOD if server_side else SSL.TLS_CLIENT_METHOD)
        self.refuses_untrusted = validator.verifies_chain and not validator.accepts_untrusted
        self._server_side = server_side
        native = self.native
        native.set_options(
            SSL.OP_NO_COMPRESSION
            | (0 if client_order else SSL.OP_CIPHER_SERVER_PREFERENCE)
            | (ALLOW_CLIENT_RENEGOTIATION if server_side else 0 if renegotiates else SSL.OP_NO_RENEGOTIATION)
        )
        LIBRARY.SSL_CTX_set_mode(native._context, NO_AUTO_CHAIN)
        native.set_min_proto_version(parameters.lowest)
        native.set_max_proto_version(parameters.highest)
        self._set_algorithms(parameters, ciphers or parameters.ciphers, f"{path}.tls_params")
        self._protocols = [each.encode("latin-1") for each in alpn]
        if server_side:
            native.set_session_id(_SESSION_CONTEXT)
            if alpn:
                native.set_alpn_select_callback(self._select_protocol)
        elif alpn:
            native.set_alpn_protos(self._protocols)
        if certificate is not None:
            self._load(certificate)
        if validator.trusted_ca:
            self._load_trusted(validator, path)

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | None = None,
        session: Any = None,
    ) -> OpenSslSession:
        return OpenSslSession(
            self, incoming, outgoing, server_side=server_side, server_hostname=server_hostname, session=session
        )

    def ask_for_certificate(self, required: bool, depth: int | None) -> None:
        """Look at the peer's certificate; of clients, it is asked for."""
        self._verify_callback = verify_callback()
        LIBRARY.SSL_CTX_set_verify(
            self.native._context,
            SSL.VERIFY_PEER | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if required else 0),
            self._verify_callback,
        )
        if depth is not None and self._server_side:
            # BoringSSL counts the peer's own certificate, unless it is the only one; Envoy asks it of clients alone.
            self.native.set_verify_depth(max(depth - 1, 0))

    def name_authorities(self, pem: bytes) -> None:
        """Tell clients whose certificates are welcome."""
        with MemoryFile(pem) as name:
            self.native.load_client_ca(name.encode())

    def limit_sessions(self, *, tickets: bool, kept: bool, timeout: float | None) -> None:
        """Whether tickets are given and sessions are kept, and for how many seconds they are good."""
        if not tickets:
            self.native.set_options(SSL.OP_NO_TICKET)
        if not kept:
            self.native.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        if timeout is not None:
            self.native.set_timeout(min(int(timeout), _MAX_TIMEOUT))

    def call_on_server_name(self, callback: OnServerName) -> None:
        """`callback(session, name, context)` may set the session's context, or answer with an alert."""

        def on_name(handle: Any, alert: Any, _: Any) -> int:
            connection = SSL.Connection._reverse_mapping[handle]
            name = connection.get_servername()
            number = callback(connection.get_app_data(), name.decode("latin-1") if name else "", self)
            if number is None:
                return 0
            alert[0] = number
            return int(LIBRARY.SSL_TLSEXT_ERR_ALERT_FATAL)

        self._name_callback = FFI.callback("int (*)(SSL *, int *, void *)", on_name)
        LIBRARY.SSL_CTX_set_tlsext_servername_callback(self.native._context, self._name_callback)

    def call_for_staple(self, staple: Callable[[], bytes | None]) -> None:
        """`staple()`, when a client asks; None for none."""
        self.native.set_ocsp_server_callback(lambda connection, _: staple() or b"")

    def log_keys(self, log: KeyLog) -> None:
        def on_line(connection: Any, line: bytes) -> None:
            session: OpenSslSession = connection.get_app_data()
            local, remote = session.addresses()
            log.write(local, remote, line)

        self.native.set_keylog_callback(on_line)

    # -- inside

    def _select_protocol(self, connection: Any, offered: list[bytes]) -> Any:
        for each in self._protocols:
            if each in offered:
                return each
        return SSL.NO_OVERLAPPING_PROTOCOLS

    def _set_algorithms(self, parameters: TlsParameters, ciphers: Sequence[str], path: str) -> None:
        native, lib = self.native, LIBRARY
        names = ":".join(ciphers)
        try:
            native.set_cipher_list((names + (":@SECLEVEL=0" if parameters.is_old else "")).encode())
        except SSL.Error:
            raise ConfigError(f"Failed to initialize cipher suites {names}", f"{path}.cipher_suites") from None
        if parameters.ciphers_13:
            native.set_tls13_ciphersuites(":".join(parameters.ciphers_13).encode())
        curves = ":".join(parameters.curves)
        if lib.SSL_CTX_set1_curves_list(native._context, curves.encode()) != 1:
            lib.ERR_clear_error()
            raise ConfigError(
                f"Failed to initialize ECDH curves {curves}",
                f"{path}.ecdh_curves",
                remedy="the library of pyOpenSSL does not have them all",
            )
        algorithms = ":".join(parameters.signature_algorithms)
        if algorithms and lib.SSL_CTX_set1_sigalgs_list(native._context, algorithms.encode()) != 1:
            lib.ERR_clear_error()
            raise ConfigError(
                f"Failed to initialize TLS signature algorithms {algorithms}", f"{path}.signature_algorithms"
            )

    def _load(self, certificate: TlsCertificate) -> None:
        with MemoryFile(certificate.chain) as name:
            self.native.use_certificate_chain_file(name)
        try:
            self.native.use_privatekey(certificate.private_key())
            self.native.check_privatekey()
        except SSL.Error:
            raise certificate.mismatch() from None

    def _load_trusted(self, validator: CertValidator, path: str) -> None:
        with MemoryFile(validator.trusted_ca) as name:
            try:
                self.native.load_verify_locations(name)
            except SSL.Error:
                raise ConfigError(
                    f"Failed to load trusted CA certificates from {validator.source}",
                    f"{path}.validation_context.trusted_ca",
                ) from None
        store = self.native.get_cert_store()
        # Whatever is trusted may end the chain, also what somebody else has signed.
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        revoked = validator.revocation_lists()
        for each in revoked:
            store.add_crl(each)
        if validator.checks_revocation:
            flags = crypto.X509StoreFlags
            store.set_flags(flags.CRL_CHECK if validator.only_leaf_crl else flags.CRL_CHECK | flags.CRL_CHECK_ALL)
        if validator.allows_expired:
            store.set_flags(_NO_CHECK_TIME)
