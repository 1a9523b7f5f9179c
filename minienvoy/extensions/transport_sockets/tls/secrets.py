"""TLS contexts whose certificates, or what peers are checked against, are secrets that may change.

Envoy: `ContextConfigImpl::setSecretUpdateCallback`, `NotReadySslSocket`, `ServerSslSocketFactory::onAddOrUpdateSecret`.

The secrets are put in the place where they are called for, and the context is compiled from that as any other. When one
changes, the context is compiled anew: connections that exist keep theirs, new ones get the new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from .... import logger
from ....config.fields import honours
from ....errors import ConfigError
from ....network.ssl_connection_info import SslConnectionInfo
from ....network.transport_socket import TransportSocketFactory
from ....stats.store import CounterValue, StatsStruct

if TYPE_CHECKING:
    from ....discovery.file_secret import SecretProvider
    from ....discovery.secret_manager import SecretManager
    from ....event.init_manager import InitTarget
    from ....network.connection import Connection

log = logger.get("config")
_TYPE: Final = "envoy.extensions.transport_sockets.tls.v3"

honours(
    f"{_TYPE}.CommonTlsContext",
    "tls_certificate_sds_secret_configs",
    "validation_context_sds_secret_config",
    "combined_validation_context",
)
honours(f"{_TYPE}.DownstreamTlsContext", "session_ticket_keys_sds_secret_config")
honours(
    f"{_TYPE}.CommonTlsContext.CombinedCertificateValidationContext",
    "default_validation_context",
    "validation_context_sds_secret_config",
)


class Resolver:
    """Finds the secrets of one context, and puts them into copies of its configuration."""

    def __init__(self, config: Any, secrets: SecretManager | None, path: str) -> None:
        self._config = config
        common = config.common_tls_context
        self._certificates: list[SecretProvider] = []
        self._validation: SecretProvider | None = None
        self._ticket_keys: SecretProvider | None = None

        def find(sds: Any, kind: str, where: str) -> SecretProvider:
            if secrets is None:
                raise ConfigError("there are no secrets here", where)
            return secrets.find(sds, kind, where)

        where = f"{path}.common_tls_context"
        for at, each in enumerate(common.tls_certificate_sds_secret_configs):
            self._certificates.append(
                find(each, "tls_certificate", f"{where}.tls_certificate_sds_secret_configs[{at}]")
            )
        kind = common.WhichOneof("validation_context_type")
        if kind == "validation_context_sds_secret_config":
            self._validation = find(
                common.validation_context_sds_secret_config, "validation_context", f"{where}.{kind}"
            )
        elif kind == "combined_validation_context":
            combined = common.combined_validation_context
            self._validation = find(
                combined.validation_context_sds_secret_config,
                "validation_context",
                f"{where}.{kind}.validation_context_sds_secret_config",
            )
        field = "session_ticket_keys_sds_secret_config"
        if field in config.DESCRIPTOR.fields_by_name and config.HasField(field):
            self._ticket_keys = find(getattr(config, field), "session_ticket_keys", f"{path}.{field}")

    @property
    def providers(self) -> list[SecretProvider]:
        others = (self._validation, self._ticket_keys)
        return [*self._certificates, *(each for each in others if each is not None)]

    @property
    def certificate_names(self) -> list[str]:
        return [provider.name for provider in self._certificates]

    @property
    def ready(self) -> bool:
        return all(provider.secret is not None for provider in self.providers)

    def resolved(self) -> Any:
        """The configuration with the secrets in it; only when it is `ready`."""
        made = type(self._config)()
        made.CopyFrom(self._config)
        common = made.common_tls_context
        for provider in self._certificates:
            common.tls_certificates.add().CopyFrom(provider.secret.tls_certificate)
        del common.tls_certificate_sds_secret_configs[:]
        if self._validation is not None:
            merged = type(common.validation_context)()
            if common.HasField("combined_validation_context"):
                merged.CopyFrom(common.combined_validation_context.default_validation_context)
            merged.MergeFrom(self._validation.secret.validation_context)
            common.validation_context.CopyFrom(merged)
        if self._ticket_keys is not None:
            made.session_ticket_keys.CopyFrom(self._ticket_keys.secret.session_ticket_keys)
        return made


class SecretOwner(Protocol):
    """Who has connections with secrets."""

    on_destroy: list[Callable[[], None]]

    def wait_for(self, target: InitTarget) -> None: ...


class SocketFactoryStats(StatsStruct):
    """`listener.ADDRESS.server_ssl_socket_factory.*`, `cluster.NAME.client_ssl_socket_factory.*`"""

    downstream_context_secrets_not_ready: CounterValue
    ssl_context_update_by_sds: CounterValue
    upstream_context_secrets_not_ready: CounterValue


def create_factory(
    config: Any,
    secrets: SecretManager | None,
    owner: SecretOwner,
    path: str,
    compile_context: Callable[[Any, Sequence[str]], TransportSocketFactory],
    stats: SocketFactoryStats,
    not_ready: Callable[[], None],
) -> TransportSocketFactory:
    """The context of a configuration that is complete, or else one that changes with its secrets.

    `compile_context` takes the configuration with the secrets in it, and the names of the certificates among them.
    `owner` is the listener or the cluster: it waits for the secrets, and gives them up when it is gone.
    """
    resolver = Resolver(config, secrets, path)

    def make(resolved: Any) -> TransportSocketFactory:
        made = compile_context(resolved, resolver.certificate_names)
        if secrets is not None:
            secrets.contexts.add(made)
        return made

    if not resolver.providers:
        return make(config)
    made = SecretTlsFactory(resolver, make, stats, not_ready)
    for provider in resolver.providers:
        provider.acquire()
        if provider.secret is None:
            owner.wait_for(provider.initialize)

    def give_up() -> None:
        made.stop()
        for provider in resolver.providers:
            provider.release()

    owner.on_destroy.append(give_up)
    return made


class SecretTlsFactory:
    """A transport socket factory that is made anew when a secret changes."""

    secure = True
    wants_proxy_header = False

    def __init__(
        self,
        resolver: Resolver,
        compile_context: Callable[[Any], TransportSocketFactory],
        stats: SocketFactoryStats,
        not_ready: Callable[[], None],
    ) -> None:
        self._resolver = resolver
        self._compile = compile_context
        self._stats = stats
        self._not_ready = not_ready
        self._current: TransportSocketFactory | None = None
        if resolver.ready:
            self._current = compile_context(resolver.resolved())
            stats.ssl_context_update_by_sds += 1
        for provider in resolver.providers:
            provider.add_update_callback(self._on_update)

    def stop(self) -> None:
        """Changes are of no interest any more."""
        for provider in self._resolver.providers:
            provider.remove_update_callback(self._on_update)

    def _on_update(self) -> None:
        if not self._resolver.ready:
            return
        try:
            self._current = self._compile(self._resolver.resolved())
        except ConfigError as error:
            log.warning(f"a TLS context stays as it is: {error.problem}")
            return
        self._stats.ssl_context_update_by_sds += 1

    def announce(self, connection: Connection) -> None:
        connection.info.ssl = SslConnectionInfo()

    def protocol(self, connection: Connection, options: Any = None) -> asyncio.Protocol:
        if self._current is None:
            self._not_ready()
            return NotReadySocket(connection)
        return self._current.protocol(connection, options)


class NotReadySocket(asyncio.Protocol):
    """Ends its connection: there is nothing yet to make it safe with."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def connection_made(self, transport: Any) -> None:
        transport.abort()
        self._connection.transport_failure_reason = "TLS error: Secret is not supplied by SDS"
        self._connection.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)
