"""`UpstreamTlsContext`: TLS with upstreams.

Envoy: `Extensions::TransportSockets::Tls::ClientContextImpl`, `ClientSslSocketFactory`.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ....config.fields import honours
from ....errors import ConfigError
from ....network.ssl_connection_info import SslConnectionInfo
from ....network.ssl_socket import SslSocket
from ....network.ssl_stats import SslStats
from ....network.transport_socket import (
    UPSTREAM_TRANSPORT_SOCKETS,
    TransportSocketFactory,
    TransportSocketOptions,
    UpstreamTransportContext,
)
from ....network.x509 import Certificate
from ....stats.store import CounterValue, StatsStruct
from .cert_validator import CertValidator
from .context_config import create_context, read_certificates, shown_certificates
from .secrets import Resolver, SecretTlsFactory

if TYPE_CHECKING:
    from ....network.connection import Connection

TYPE: Final = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
NO_OPTIONS: Final = TransportSocketOptions()

honours(
    TYPE,
    "common_tls_context",
    "sni",
    "auto_host_sni",
    "auto_sni_san_validation",
    values={"allow_renegotiation": (False,), "enforce_rsa_key_usage": (False,)},
    ignored={"max_session_keys": "no session is kept: every connection has a whole handshake"},
)

_SPOKEN: Final = (("h2",), ("http/1.1",), ("h2", "http/1.1"))


class ClientContext:
    """Of one cluster."""

    server_side = False
    secure = True

    def __init__(self, config: Any, stats: SslStats, path: str, names: Sequence[str] = ()) -> None:
        """`names` are those of the certificates that are secrets, the last ones."""
        common = config.common_tls_context
        where = f"{path}.common_tls_context"
        self.stats = stats
        self._sni: str = config.sni
        if len(self._sni) > 255:
            raise ConfigError("SNI names containing NULL-byte are not allowed", f"{path}.sni")
        self._auto_host_sni: bool = config.auto_host_sni
        self._validates_sni: bool = config.auto_sni_san_validation
        validation = common.validation_context if common.HasField("validation_context") else None
        self.validator = CertValidator(validation, stats, f"{where}.validation_context")
        if self._validates_sni and not self.validator.trusted_ca:
            raise ConfigError("'auto_sni_san_validation' was configured without configuring a trusted CA", path)
        certificates = read_certificates(common, where)
        if len(certificates) > 1:
            raise ConfigError("Multiple TLS certificates are not supported for client contexts", where)
        self.shown_certificates = shown_certificates(certificates, self.validator, stats, names)
        self._certificate: Certificate | None = certificates[0].certificate if certificates else None
        self._contexts: dict[tuple[str, ...], ssl.SSLContext] = {}

        def make(alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
            made = create_context(common, where, certificates, self.validator, server_side=False)
            if alpn:
                made.set_alpn_protocols(alpn)
            if self.validator.verifies_chain and not self.validator.accepts_untrusted:
                made.verify_mode = ssl.CERT_REQUIRED
            return made

        self._make = make
        self._context = make()
        if not common.alpn_protocols:
            self._contexts = {alpn: make(alpn) for alpn in _SPOKEN}

    def protocol(self, connection: Connection, options: Any = None) -> SslSocket:
        return SslSocket(connection, self, options or NO_OPTIONS)

    def announce(self, connection: Connection) -> None:
        connection.info.ssl = SslConnectionInfo()

    def wrap(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, info: SslConnectionInfo, options: Any
    ) -> ssl.SSLObject:
        info.sni = name = self._server_name(options)
        override = options.alpn_override
        if override:
            # What a configuration says: there are not many.
            context = self._contexts.get(override) or self._contexts.setdefault(override, self._make(override))
        else:
            context = self._contexts.get(options.alpn_fallback, self._context)
        try:
            return context.wrap_bio(incoming, outgoing, server_side=False, server_hostname=name or None)
        except (ValueError, UnicodeError):
            # A name that can not be said: Envoy says none either.
            info.sni = ""
            return context.wrap_bio(incoming, outgoing, server_side=False)

    def verify(self, chain: tuple[Certificate, ...], info: SslConnectionInfo, options: Any) -> None:
        info.local_certificate = self._certificate
        validator = self.validator
        names: tuple[str, ...] = options.verify_san_override
        if not names and self._validates_sni and info.sni:
            names = (info.sni,)
        if not chain or not (validator.wants_certificate or names):
            return
        validator.verify(chain, not validator.accepts_untrusted, names)
        info.validated = True

    def on_handshake(self, session: ssl.SSLObject, info: SslConnectionInfo, options: Any) -> None:
        """Nothing is kept of a session."""

    def _server_name(self, options: TransportSocketOptions) -> str:
        if options.server_name_override:
            return options.server_name_override
        if self._auto_host_sni and options.host_name:
            return options.host_name
        return self._sni


class ClientSocketFactoryStats(StatsStruct):
    """`cluster.NAME.client_ssl_socket_factory.*`"""

    downstream_context_secrets_not_ready: CounterValue
    ssl_context_update_by_sds: CounterValue
    upstream_context_secrets_not_ready: CounterValue


@UPSTREAM_TRANSPORT_SOCKETS.register("envoy.transport_sockets.tls", TYPE)
def create_upstream_tls(config: Any, context: UpstreamTransportContext, path: str) -> TransportSocketFactory:
    stats = SslStats(context.scope.scope("ssl"), client=True)
    factory_stats = context.scope.scope("client_ssl_socket_factory").struct(ClientSocketFactoryStats)

    secrets = context.secrets
    resolver = Resolver(config, secrets, path)

    def compile_context(resolved: Any) -> ClientContext:
        made = ClientContext(resolved, stats, path, resolver.certificate_names)
        if secrets is not None:
            secrets.contexts.add(made)
        return made

    def not_ready() -> None:
        factory_stats.upstream_context_secrets_not_ready += 1

    if not resolver.providers:
        return compile_context(config)
    return SecretTlsFactory(resolver, compile_context, factory_stats, not_ready)
