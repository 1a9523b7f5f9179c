"""`DownstreamTlsContext`: TLS with clients.

Envoy: `Extensions::TransportSockets::Tls::ServerContextImpl`, `ServerSslSocketFactory`,
`DefaultTlsCertificateSelector`.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final

from ....config.fields import honours
from ....errors import ConfigError
from ....network.ssl_connection_info import SslConnectionInfo
from ....network.ssl_socket import SslSocket
from ....network.ssl_stats import SslStats
from ....network.transport_socket import DOWNSTREAM_TRANSPORT_SOCKETS, TransportSocketFactory
from ....network.x509 import Certificate
from ....stats.store import CounterValue, StatsStruct
from .cert_validator import CertValidator
from .context_config import TlsCertificate, create_context, read_certificates
from .secrets import Resolver, SecretTlsFactory

if TYPE_CHECKING:
    from ....network.connection import Connection

TYPE: Final = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
STRICT_STAPLING, MUST_STAPLE = 1, 2


def _can_be_required(config: Any) -> str | None:
    """OpenSSL, as Python has it, asks for a certificate only if it has somebody to check it with."""
    common = config.common_tls_context
    if not config.require_client_certificate.value or common.validation_context.HasField("trusted_ca"):
        return None
    if common.WhichOneof("validation_context_type") not in (None, "validation_context"):
        return None  # that is known when the secret is
    return "a client certificate can be required only with a validation_context that has a trusted_ca"


honours(
    TYPE,
    "common_tls_context",
    "disable_stateless_session_resumption",
    "full_scan_certs_on_sni_mismatch",
    "prefer_client_ciphers",
    when={"require_client_certificate": _can_be_required},
    values={"ocsp_staple_policy": ("LENIENT_STAPLING",), "disable_stateful_session_resumption": (False,)},
    ignored={"require_sni": "Envoy does not look at it either"},
)


class ServerContext:
    """Of one filter chain; makes what stands between its transports and its connections."""

    server_side = True
    secure = True

    def __init__(self, config: Any, stats: SslStats, path: str) -> None:
        common = config.common_tls_context
        where = f"{path}.common_tls_context"
        self.stats = stats
        validation = common.validation_context if common.HasField("validation_context") else None
        self.validator = CertValidator(validation, stats, f"{where}.validation_context")
        if self.validator.wants_certificate and not self.validator.verifies_chain:
            raise ConfigError(
                "clients can not be asked for a certificate without a trusted_ca", f"{where}.validation_context"
            )
        if self.validator.accepts_untrusted:
            raise ConfigError(
                "ACCEPT_UNTRUSTED is not supported for clients",
                f"{where}.validation_context.trust_chain_verification",
            )
        if config.require_client_certificate.value and not self.validator.verifies_chain:
            raise ConfigError("a client certificate is required, and there is no trusted_ca to check it with", path)
        self._config, self._path = config, where
        self._certificates = read_certificates(common, where)
        if not self._certificates:
            raise ConfigError("No TLS certificates found for server context", path)
        self._by_name: dict[str, tuple[TlsCertificate, ...]] = {}
        for certificate in self._certificates:
            for name in certificate.names:
                self._add(name.removeprefix("*"), certificate)
        self._contexts: dict[tuple[int, ...], ssl.SSLContext] = {}
        #  Whoever says no name may have the first of each kind.
        self._default = self._context(self._one_of_each_kind(self._certificates))
        self._first = self._context(self._certificates[:1])
        self._full_scan = config.full_scan_certs_on_sni_mismatch.value
        for chosen in self._by_name.values():
            self._context(chosen)  # errors are told now

    def protocol(self, connection: Connection, options: Any = None) -> SslSocket:
        return SslSocket(connection, self, options)

    def announce(self, connection: Connection) -> None:
        connection.info.ssl = SslConnectionInfo()

    def wrap(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, info: SslConnectionInfo, options: Any
    ) -> ssl.SSLObject:
        return self._default.wrap_bio(incoming, outgoing, server_side=True)

    def verify(self, chain: tuple[Certificate, ...], info: SslConnectionInfo, options: Any) -> None:
        if chain and self.validator.wants_certificate:
            self.validator.verify(chain, True)
            info.validated = True

    def on_handshake(self, session: ssl.SSLObject, info: SslConnectionInfo, options: Any) -> None:
        chosen = _certificates_of(session.context)
        info.local_certificate = _shown(chosen, info.ciphersuite, session)
        info.sni = getattr(session, "requested_name", "") or ""

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

    def _context(self, certificates: Any) -> ssl.SSLContext:
        key = tuple(map(id, certificates))
        context = self._contexts.get(key)
        if context is not None:
            return context
        config = self._config
        context = create_context(config.common_tls_context, self._path, certificates, self.validator, server_side=True)
        if config.prefer_client_ciphers:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        if config.disable_stateless_session_resumption:
            context.options |= ssl.OP_NO_TICKET
            context.num_tickets = 0
        if self.validator.wants_certificate:
            required = config.require_client_certificate.value
            context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        context.sni_callback = self._on_server_name
        context.minienvoy_certificates = tuple(certificates)  # type: ignore[attr-defined]
        self._contexts[key] = context
        return context

    def _on_server_name(self, session: Any, name: str | None, _: ssl.SSLContext) -> None:
        if not name:
            return
        session.requested_name = name
        # As it is written: letters of the other case are others for Envoy here.
        chosen = self._by_name.get(name)
        if chosen is None:
            dot = name.find(".")
            chosen = self._by_name.get(name[dot:]) if dot > 0 else None
        if chosen is not None:
            session.context = self._context(chosen)
        elif not self._full_scan:
            session.context = self._first


def _certificates_of(context: ssl.SSLContext) -> tuple[TlsCertificate, ...]:
    found: tuple[TlsCertificate, ...] = getattr(context, "minienvoy_certificates", ())
    return found


def _shown(certificates: tuple[TlsCertificate, ...], ciphersuite: str, session: ssl.SSLObject) -> Certificate | None:
    """Which one OpenSSL took; of two kinds the cipher suite tells, or with TLS 1.3 that ECDSA is what is preferred."""
    if len(certificates) > 1:
        ecdsa = "RSA" not in ciphersuite
        for each in certificates:
            if each.is_ecdsa is ecdsa:
                return each.certificate
    return certificates[0].certificate if certificates else None


class ServerSocketFactoryStats(StatsStruct):
    """`listener.ADDRESS.server_ssl_socket_factory.*`"""

    downstream_context_secrets_not_ready: CounterValue
    ssl_context_update_by_sds: CounterValue
    upstream_context_secrets_not_ready: CounterValue


@DOWNSTREAM_TRANSPORT_SOCKETS.register("envoy.transport_sockets.tls", TYPE)
def create_downstream_tls(config: Any, context: Any, path: str) -> TransportSocketFactory:
    stats = SslStats(context.listener_scope.scope("ssl"))
    factory_stats = context.listener_scope.scope("server_ssl_socket_factory").struct(ServerSocketFactoryStats)

    def compile_context(resolved: Any) -> ServerContext:
        return ServerContext(resolved, stats, path)

    def not_ready() -> None:
        factory_stats.downstream_context_secrets_not_ready += 1

    resolver = Resolver(config, context.server.secrets, path)
    if not resolver.providers:
        return compile_context(config)
    return SecretTlsFactory(resolver, compile_context, factory_stats, not_ready)
