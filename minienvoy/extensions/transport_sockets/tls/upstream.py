"""`UpstreamTlsContext`: TLS with upstreams.

Envoy: `Extensions::TransportSockets::Tls::ClientContextImpl`, `ClientSslSocketFactory`.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from ....config.fields import honours
from ....errors import ConfigError
from ....network.client_hello import ClientHello
from ....network.ssl_connection_info import SslConnectionInfo
from ....network.ssl_handshaker import UNKNOWN_CA, Refused
from ....network.ssl_socket import SslSocket
from ....network.ssl_stats import SslStats
from ....network.transport_socket import (
    UPSTREAM_TRANSPORT_SOCKETS,
    TransportSocketFactory,
    TransportSocketOptions,
    UpstreamTransportContext,
)
from ....network.x509 import Certificate
from .context_config import TlsContext
from .secrets import SocketFactoryStats, create_factory

TYPE: Final = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
NO_OPTIONS: Final = TransportSocketOptions()

honours(
    TYPE,
    "common_tls_context",
    "sni",
    "auto_host_sni",
    "auto_sni_san_validation",
    "allow_renegotiation",
    "max_session_keys",
    ignored={"enforce_rsa_key_usage": "it always is, as in Envoy"},
)

_SPOKEN: Final = (("h2",), ("http/1.1",), ("h2", "http/1.1"))


class ClientContext(TlsContext):
    """Of one cluster."""

    server_side = False

    def __init__(self, config: Any, stats: SslStats, path: str, names: Sequence[str] = ()) -> None:
        """`names` are those of the certificates that are secrets, the last ones."""
        self._sni: str = config.sni
        if "\0" in self._sni:
            raise ConfigError("SNI names containing NULL-byte are not allowed", f"{path}.sni")
        super().__init__(config, stats, path, names)
        self._auto_host_sni: bool = config.auto_host_sni
        self._validates_sni: bool = config.auto_sni_san_validation
        if self._validates_sni and not self.validator.wants_certificate:
            raise ConfigError("'auto_sni_san_validation' was configured without a validation context", path)
        if self._validates_sni and not self.validator.trusted_ca:
            raise ConfigError("'auto_sni_san_validation' was configured without configuring a trusted CA", path)
        if len(self.certificates) > 1:
            raise ConfigError("Multiple TLS certificates are not supported for client contexts", self.where)
        self._certificate: Certificate | None = self.certificates[0].certificate if self.certificates else None
        self.may_renegotiate = config.allow_renegotiation
        self._needs_library = self.uses_library()
        self._max_sessions: int = config.max_session_keys.value if config.HasField("max_session_keys") else 1
        self._sessions: dict[Any, deque[Any]] = {}
        protocols = self.protocols
        if not all(protocols):
            raise ConfigError("an empty ALPN protocol can not be offered", f"{self.where}.alpn_protocols")
        self._context = self._make(protocols)
        self._contexts: dict[tuple[str, ...], Any] = {}
        if not protocols:
            self._contexts = {alpn: self._make(alpn) for alpn in _SPOKEN}

    def protocol(self, connection: Any, options: Any = None) -> SslSocket:
        return super().protocol(connection, options or NO_OPTIONS)

    def wrap(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        info: SslConnectionInfo,
        options: Any,
        hello: ClientHello | None = None,
    ) -> Any:
        info.sni = name = self._server_name(options)
        context = self._contexts.get(options.alpn_fallback, self._context)
        if options.alpn_override:
            context = self._overriding(options.alpn_override)
        session = self._earlier_session(context, info)
        try:
            return context.wrap_bio(
                incoming, outgoing, server_side=False, server_hostname=name or None, session=session
            )
        except (ValueError, UnicodeError):
            # A name that can not be said: Envoy says none either.
            info.sni = ""
            return context.wrap_bio(incoming, outgoing, server_side=False, session=session)

    def verify(self, chain: tuple[Certificate, ...], info: SslConnectionInfo, options: Any) -> None:
        info.local_certificate = self._certificate
        validator = self.validator
        names: tuple[str, ...] = options.verify_san_override
        if not names and self._validates_sni and info.sni:
            names = (info.sni,)
        if not chain or not (validator.wants_certificate or names):
            return
        if options.verify_san_override and not validator.wants_certificate:
            raise Refused("", UNKNOWN_CA)  # a name is asked for, and nobody is trusted to have given it
        validator.verify(chain, info.chain_error, names, bool(options.verify_san_override))
        info.validated = not info.chain_error

    def on_handshake(self, session: Any, info: SslConnectionInfo, options: Any) -> None:
        """Keep the session: a later connection goes on with it, and with what TLS 1.3 says of it after this."""
        # Who has gone on with one of TLS 1.2 has no other: it is kept already.
        if self._max_sessions and not (info.session_reused and session.version() != "TLSv1.3"):
            kept = self._sessions.get(session.context)
            if kept is None:
                kept = self._sessions[session.context] = deque(maxlen=self._max_sessions)
            kept.appendleft((session, info))

    # -- inside

    def _earlier_session(self, context: Any, info: SslConnectionInfo) -> Any:
        for at, (session, earlier) in enumerate(self._sessions.get(context, ())):
            if earlier.sni == info.sni:
                if session.version() == "TLSv1.3":
                    # RFC 8446 appendix C.4: a ticket is for one connection.
                    del self._sessions[context][at]
                info.earlier = earlier
                return session.session
        return None

    def _overriding(self, alpn: tuple[str, ...]) -> Any:
        """Of a health check that offers something else."""
        context = self._contexts.get(alpn)
        if context is None:
            context = self._contexts[alpn] = self._make(alpn)
        return context

    def _make(self, alpn: Sequence[str]) -> Any:
        validator = self.validator
        own = self.certificates[0] if self.certificates else None
        if not self._needs_library:
            context = self.plain_context(own, alpn)
            if validator.verifies_chain and not validator.accepts_untrusted:
                context.verify_mode = ssl.CERT_REQUIRED
            if self.may_renegotiate:
                context.options &= ~ssl.OP_NO_RENEGOTIATION
            return context
        made = self.library_context(own, alpn, renegotiates=self.may_renegotiate)
        if validator.wants_certificate:
            made.ask_for_certificate(False, validator.max_depth)
        return made

    def _server_name(self, options: TransportSocketOptions) -> str:
        if options.server_name_override:
            return options.server_name_override
        if self._auto_host_sni and options.host_name:
            return options.host_name
        return self._sni


@UPSTREAM_TRANSPORT_SOCKETS.register("envoy.transport_sockets.tls", TYPE)
def create_upstream_tls(config: Any, context: UpstreamTransportContext, path: str) -> TransportSocketFactory:
    stats = SslStats(context.scope.scope("ssl"), client=True)
    counters = context.scope.scope("client_ssl_socket_factory").struct(SocketFactoryStats)

    def compile_context(resolved: Any, names: Sequence[str]) -> ClientContext:
        return ClientContext(resolved, stats, path, names)

    def not_ready() -> None:
        counters.upstream_context_secrets_not_ready += 1

    return create_factory(config, context.secrets, context, path, compile_context, counters, not_ready)
