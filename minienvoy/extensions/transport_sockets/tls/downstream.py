"""`DownstreamTlsContext`: TLS with clients.

Envoy: `Extensions::TransportSockets::Tls::ServerContextImpl`, `ServerSslSocketFactory`.

There is a context of OpenSSL for each certificate, and one more for each order of cipher suites that clients bring up.
Which one a client meets is decided by its ClientHello, before OpenSSL sees anything: later there would be a version
already, and curves.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ....config.fields import honours
from ....errors import ConfigError
from ....network.ssl_connection_info import SslConnectionInfo
from ....network.ssl_handshaker import Rejected
from ....network.ssl_stats import SslStats
from ....network.transport_socket import DOWNSTREAM_TRANSPORT_SOCKETS, TransportSocketFactory
from ....network.x509 import DNS, IP, URI, Certificate
from .certificate_selector import CertificateSelector
from .cipher_order import CipherOrder
from .context_config import TlsContext
from .native_context import native
from .ocsp import Stapler, StapleTooOld
from .secrets import SocketFactoryStats, create_factory
from .session_settings import SessionSettings, session_scope
from .tls_parameters import VERIFIED_SIGNATURES

if TYPE_CHECKING:
    from ....network.client_hello import ClientHello
    from ....network.connection import Connection
    from .certificate import TlsCertificate
    from .openssl_context import OpenSslContext
    from .tls_parameters import TlsParameters

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


class _Shown(NamedTuple):
    """A certificate, and how it is shown."""

    certificate: TlsCertificate
    parameters: TlsParameters
    order: CipherOrder
    first: Any
    """The context of the first certificate with the same parameters: sessions and tickets are those of that one."""
    contexts: dict[tuple[str, ...], Any]
    """By the order of the cipher suites."""


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
        # BoringSSL agrees on nothing if one is empty.
        self._protocols = self.protocols if all(self.protocols) else ()
        for each in self.certificates:
            shown = each.certificate
            if not (shown.common_name or shown.names(DNS) or shown.names(URI) or shown.names(IP)):
                raise ConfigError("Invalid TLS context has neither subject CN nor SAN names", each.path)
        parameters = [self._parameters_of(each) for each in self.certificates]
        self._stapler = Stapler(self.certificates, config.ocsp_staple_policy, now, stats, path)
        self._selector = CertificateSelector(
            self.certificates,
            self.parameters,
            self._stapler,
            full_scan=config.full_scan_certs_on_sni_mismatch.value,
        )
        self._sessions = SessionSettings(config, path)
        self._needs_library = self.uses_library(
            self._stapler.is_needed or self._sessions.needs_library or any(each.needs_library for each in parameters)
        )
        if self._needs_library:
            self._sessions.do_without_keys()
        required = config.require_client_certificate.value
        self._session_scope = session_scope(self.certificates, self.validator, server_names, required)
        self._clients_choose = not config.prefer_client_ciphers
        self._shown: dict[int, _Shown] = {}
        firsts: dict[int, Any] = {}
        for certificate, own in zip(self.certificates, parameters, strict=True):
            order = CipherOrder(own.cipher_groups)
            context = self._make(certificate, own, order.first)
            first = firsts.setdefault(id(own), context)
            self._shown[id(certificate)] = _Shown(certificate, own, order, first, {order.first: context})

    def announce(self, connection: Connection) -> None:
        """What a client would be shown of which nothing is known is the first certificate."""
        super().announce(connection)
        assert connection.info.ssl is not None
        connection.info.ssl.local_certificate = self.certificates[0].certificate

    def wrap(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        info: SslConnectionInfo,
        options: Any,
        hello: ClientHello | None = None,
    ) -> Any:
        """Raises Rejected."""
        try:
            chosen = self._selector.select(hello)
        except StapleTooOld:
            raise Rejected from None
        shown = self._shown[id(chosen)]
        order = shown.order.first
        if hello is not None:
            info.sni = hello.server_name
            if self._clients_choose and shown.order.depends:
                order = shown.order.of_client(hello.ciphers)
        context = shown.contexts.get(order)
        if context is None:
            context = shown.contexts[order] = self._make(chosen, shown.parameters, order)
        info.local_certificate = chosen.certificate
        session = shown.first.wrap_bio(incoming, outgoing, server_side=True)
        if context is not shown.first:
            session.context = context
        return session

    def verify(self, chain: tuple[Certificate, ...], info: SslConnectionInfo, options: Any) -> None:
        if chain and self.validator.wants_certificate:
            self.validator.verify(chain, info.chain_error)
            info.validated = not info.chain_error
            info.issuer_certificate = self.validator.issuer_of(chain)

    def on_handshake(self, session: Any, info: SslConnectionInfo, options: Any) -> None:
        session.is_established = True

    # -- inside

    @property
    def _authorities(self) -> bytes:
        return "".join(each.pem for each in self.validator.authorities).encode()

    def _parameters_of(self, certificate: TlsCertificate) -> TlsParameters:
        own = certificate.own_parameters
        return self.parameters if own is None else self.parameters.overridden(own, f"{certificate.path}.tls_params")

    def _make(self, certificate: TlsCertificate, parameters: TlsParameters, order: tuple[str, ...]) -> Any:
        made = self._library_context if self._needs_library else self._plain_context
        return made(certificate, parameters, order)

    def _plain_context(
        self, certificate: TlsCertificate, parameters: TlsParameters, order: tuple[str, ...]
    ) -> ssl.SSLContext:
        config = self._config
        context = self.plain_context(certificate, self._protocols, parameters, order)
        if config.prefer_client_ciphers:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        if not self._sessions.tickets:
            context.options |= ssl.OP_NO_TICKET
            context.num_tickets = 0
        if self.validator.wants_certificate:
            required = config.require_client_certificate.value or self.validator.requires_certificate
            context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
            told = native(context)
            if told is not None:
                told.ask_for_signatures(parameters.signature_algorithms or VERIFIED_SIGNATURES)
                if self.validator.names_authorities:
                    told.name_authorities(self._authorities)
        self._sessions.apply(context, self._session_scope)
        context.sni_callback = _on_server_name
        return context

    def _library_context(
        self, certificate: TlsCertificate, parameters: TlsParameters, order: tuple[str, ...]
    ) -> OpenSslContext:
        config, sessions, validator, stapler = self._config, self._sessions, self.validator, self._stapler
        context = self.library_context(
            certificate,
            self._protocols,
            parameters=parameters,
            ciphers=order,
            client_order=config.prefer_client_ciphers,
        )
        context.limit_sessions(tickets=sessions.tickets, kept=sessions.kept, timeout=sessions.timeout)
        if validator.wants_certificate:
            required = config.require_client_certificate.value or validator.requires_certificate
            context.ask_for_certificate(required, validator.max_depth)
            if validator.names_authorities:
                context.name_authorities(self._authorities)
        context.call_on_server_name(_on_server_name)
        if stapler.is_needed:
            context.call_for_staple(lambda: stapler.staple(certificate))
        return context


def _on_server_name(session: Any, name: str | None, _: Any) -> int | None:
    """OpenSSL has read a ClientHello, which may have no name; within a session that is one too many."""
    return ssl.ALERT_DESCRIPTION_NO_RENEGOTIATION if getattr(session, "is_established", False) else None


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

    common = config.common_tls_context
    if common.tls_certificates and common.tls_certificate_sds_secret_configs:
        raise ConfigError(
            "SDS and non-SDS TLS certificates may not be mixed in server contexts", f"{path}.common_tls_context"
        )
    return create_factory(config, context.server.secrets, context, path, compile_context, counters, not_ready)
