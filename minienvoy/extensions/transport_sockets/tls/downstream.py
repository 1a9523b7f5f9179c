"""`DownstreamTlsContext`: TLS with clients.

Envoy: `Extensions::TransportSockets::Tls::ServerContextImpl`, `ServerSslSocketFactory`,
`DefaultTlsCertificateSelector`.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final

from ....config.fields import honours
from ....errors import ConfigError
from ....network.ssl_connection_info import SslConnectionInfo
from ....network.ssl_stats import SslStats
from ....network.transport_socket import DOWNSTREAM_TRANSPORT_SOCKETS, TransportSocketFactory
from ....network.x509 import Certificate
from .certificate import TlsCertificate
from .cipher_order import CipherOrder
from .context_config import TlsContext
from .ocsp import Stapler
from .secrets import SocketFactoryStats, create_factory
from .session_settings import SessionSettings, session_scope

TYPE: Final = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"

honours(
    TYPE,
    "common_tls_context",
    "require_client_certificate",
    "full_scan_certs_on_sni_mismatch",
    "prefer_client_ciphers",
    "ocsp_staple_policy",
    ignored={"require_sni": "Envoy does not look at it either"},
)


class ServerContext(TlsContext):
    """Of one filter chain."""

    server_side = True

    def __init__(
        self,
        config: Any,
        stats: SslStats,
        path: str,
        names: Sequence[str] = (),
        now: Callable[[], float] = lambda: 0.0,
        server_names: Sequence[str] = (),
    ) -> None:
        """`names` are those of the certificates that are secrets, the last ones; `now` is the clock on the wall;
        `server_names` are those that the filter chain is for."""
        super().__init__(config, stats, path, names)
        self._config = config
        if not self.certificates:
            raise ConfigError("No TLS certificates found for server context", path)
        self._stapler = Stapler(self.certificates, config.ocsp_staple_policy, now, stats, path)
        self._sessions = SessionSettings(config, path)
        self._needs_library = self.uses_library(self._stapler.is_needed or self._sessions.needs_library)
        if self._needs_library:
            self._sessions.do_without_keys()
        required = config.require_client_certificate.value
        self._session_scope = session_scope(self.certificates, self.validator, server_names, required)
        self._by_name: dict[str, tuple[TlsCertificate, ...]] = {}
        for certificate in self.certificates:
            for name in certificate.names:
                self._add(name.removeprefix("*"), certificate)
        self._contexts: dict[tuple[Any, ...], Any] = {}
        self._order = CipherOrder(self.parameters.cipher_groups)
        self._order_depends = self._order.depends and not config.prefer_client_ciphers
        #  Whoever says no name may have the first of each kind.
        self._of_each_kind = self._one_of_each_kind(self.certificates)
        self._default = self._context(self._of_each_kind, self._order.first)
        self._full_scan = config.full_scan_certs_on_sni_mismatch.value
        for chosen in self._by_name.values():
            self._context(chosen, self._order.first)  # errors are told now

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, info: SslConnectionInfo, options: Any) -> Any:
        return self._default.wrap_bio(incoming, outgoing, server_side=True)

    def verify(self, chain: tuple[Certificate, ...], info: SslConnectionInfo, options: Any) -> None:
        if chain and self.validator.wants_certificate:
            self.validator.verify(chain, info.chain_error)
            info.validated = not info.chain_error
            info.issuer_certificate = self.validator.issuer_of(chain)

    def on_handshake(self, session: Any, info: SslConnectionInfo, options: Any) -> None:
        info.local_certificate = _shown(session.context.minienvoy_certificates, info.ciphersuite)
        info.sni = getattr(session, "requested_name", "") or ""
        session.is_established = True

    # -- inside

    def _add(self, name: str, certificate: TlsCertificate) -> None:
        known = self._by_name.get(name, ())
        if not any(each.is_ecdsa == certificate.is_ecdsa for each in known):
            self._by_name[name] = (*known, certificate)

    @staticmethod
    def _one_of_each_kind(certificates: list[TlsCertificate]) -> tuple[TlsCertificate, ...]:
        found: dict[bool, TlsCertificate] = {}
        for each in certificates:
            found.setdefault(each.is_ecdsa, each)
        return tuple(found.values())

    def _context(self, certificates: Sequence[TlsCertificate], order: tuple[str, ...]) -> Any:
        key = (order, *map(id, certificates))
        context = self._contexts.get(key)
        if context is None:
            made = self._library_context if self._needs_library else self._plain_context
            context = self._contexts[key] = made(certificates, order)
        return context

    def _plain_context(self, certificates: Sequence[TlsCertificate], order: tuple[str, ...]) -> ssl.SSLContext:
        config = self._config
        context = self.plain_context(certificates, self.common.alpn_protocols, order)
        if config.prefer_client_ciphers:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        if not self._sessions.tickets:
            context.options |= ssl.OP_NO_TICKET
            context.num_tickets = 0
        if self.validator.wants_certificate:
            required = config.require_client_certificate.value
            context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        self._sessions.apply(context, self._session_scope)
        context.sni_callback = self._on_server_name
        context.minienvoy_certificates = tuple(certificates)  # type: ignore[attr-defined]
        return context

    def _library_context(self, certificates: Sequence[TlsCertificate], order: tuple[str, ...]) -> Any:
        config, sessions, validator = self._config, self._sessions, self.validator
        context = self.library_context(
            certificates, self.common.alpn_protocols, ciphers=order, client_order=config.prefer_client_ciphers
        )
        context.limit_sessions(tickets=sessions.tickets, kept=sessions.kept, timeout=sessions.timeout)
        if validator.wants_certificate:
            required = config.require_client_certificate.value or validator.requires_certificate
            context.ask_for_certificate(required, validator.max_depth)
        context.call_on_server_name(self._on_server_name)
        if self._stapler.is_needed:
            context.call_for_staple(self._stapler.staple)
        return context

    def _on_server_name(self, session: Any, name: str | None, _: Any) -> int | None:
        """OpenSSL has read a ClientHello; it may have no name."""
        if getattr(session, "is_established", False):
            return ssl.ALERT_DESCRIPTION_NO_RENEGOTIATION
        chosen: Sequence[TlsCertificate] = self._of_each_kind
        if name:
            session.requested_name = name
            # As it is written: letters of the other case are others for Envoy here.
            found = self._by_name.get(name)
            if found is None:
                dot = name.find(".")
                found = self._by_name.get(name[dot:]) if dot > 0 else None
            if found is not None:
                chosen = found
            elif not self._full_scan:
                chosen = self.certificates[:1]
        order = self._order.first
        if self._order_depends:
            order = self._order.of_client(bytes(session.received))
        context = self._context(chosen, order)
        if context is not session.context:
            session.context = context
        return None


def _shown(certificates: tuple[TlsCertificate, ...], ciphersuite: str) -> Certificate | None:
    """Which one OpenSSL took; of two kinds the cipher suite tells, or with TLS 1.3 that ECDSA is what is preferred."""
    if len(certificates) > 1:
        ecdsa = "RSA" not in ciphersuite
        for each in certificates:
            if each.is_ecdsa is ecdsa:
                return each.certificate
    return certificates[0].certificate if certificates else None


@DOWNSTREAM_TRANSPORT_SOCKETS.register("envoy.transport_sockets.tls", TYPE)
def create_downstream_tls(config: Any, context: Any, path: str) -> TransportSocketFactory:
    stats = SslStats(context.listener_scope.scope("ssl"))
    counters = context.listener_scope.scope("server_ssl_socket_factory").struct(SocketFactoryStats)
    now = context.server.dispatcher.wall_time
    server_names = context.server_names

    def compile_context(resolved: Any, names: Sequence[str]) -> ServerContext:
        return ServerContext(resolved, stats, path, names, now, server_names)

    def not_ready() -> None:
        counters.downstream_context_secrets_not_ready += 1

    return create_factory(config, context.server.secrets, path, compile_context, counters, not_ready)
