"""Certificates and validation contexts that TLS contexts call by name: from the bootstrap, or from a file
or a control plane.

Envoy: `Secret::SecretManagerImpl`; docs "Secret discovery service (SDS)".

Those of files are in `discovery.file_secret`, those of control planes in `discovery.sds_api`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from ..config.fields import honours
from ..errors import ConfigError
from .file_secret import DynamicSecretProvider, FileSecretProvider, SecretProvider
from .subscription import file_of, is_file

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher
    from ..event.file_watcher import FileWatcher
    from ..stats.store import Scope
    from .subscription_factory import SubscriptionFactory

_TYPE: Final = "envoy.extensions.transport_sockets.tls.v3"

_KINDS: Final = {
    "tls_certificate": "static secret",
    "validation_context": "static certificate validation context",
    "session_ticket_keys": "tls session ticket keys",
    "generic_secret": "generic secret",
}
_APIS: Final = {
    "tls_certificate": "TlsCertificateSdsApi",
    "validation_context": "CertificateValidationContextSdsApi",
    "session_ticket_keys": "TlsSessionTicketKeysSdsApi",
    "generic_secret": "GenericSecretSdsApi",
}


honours(f"{_TYPE}.Secret", "name", "tls_certificate", "validation_context", "session_ticket_keys", "generic_secret")
honours(f"{_TYPE}.GenericSecret", "secret")
honours(f"{_TYPE}.SdsSecretConfig", "name", "sds_config")


class SecretManager:
    """All secrets of a server; providers of the same source and name are shared.

    Attributes:
        subscriptions: where secrets of control planes come from; None where there is no server, as in many tests.
    """

    def __init__(
        self, secrets: Iterable[Any], watcher: FileWatcher, scope: Scope, dispatcher: Dispatcher, node: Any = None
    ) -> None:
        """`scope` is that of the server; `node` is its own `Node`, None where nobody asks who it is."""
        self._watcher = watcher
        self._scope = scope
        self._dispatcher = dispatcher
        self._named = node is None or bool(node.id and node.cluster)
        self._static: dict[tuple[str, str], SecretProvider] = {}
        for secret in secrets:
            kind = secret.WhichOneof("type")
            if kind is None:
                raise ConfigError("Secret type not implemented", "static_resources.secrets")
            if (kind, secret.name) in self._static:
                raise ConfigError(f"Duplicate static {kind} secret name {secret.name}", "static_resources.secrets")
            self._static[kind, secret.name] = SecretProvider(secret.name, secret)
        self._dynamic: dict[tuple[str, bytes, str], DynamicSecretProvider] = {}
        self.subscriptions: SubscriptionFactory | None = None
        self.contexts: WeakSet[Any] = WeakSet()
        """TLS contexts that exist; each says by `shown_certificates` what it has (`Ssl::ContextManager`)."""

    def days_until_first_expiration(self, now: float) -> int:
        """Of all certificates of all contexts; the largest there is if there are none."""
        ends = [
            certificate.not_after
            for context in self.contexts
            for _, certificate in (*context.shown_certificates.authorities, *context.shown_certificates.own)
        ]
        return max(0, int(min(ends) - now) // 86400) if ends else 2**32 - 1

    def find(self, config: Any, kind: str, path: str) -> SecretProvider:
        """From an `SdsSecretConfig` at `path`; `kind` is the field of `Secret` that is wanted.

        Raises:
            ConfigError: no static secret has the name.
        """
        if not config.HasField("sds_config"):
            found = self._static.get((kind, config.name))
            if found is None:
                words = _KINDS[kind]
                raise ConfigError(f"Unknown {words}: {config.name}", path)
            return found
        if not self._named:
            api = _APIS[kind]
            raise ConfigError(
                f"{api}: node 'id' and 'cluster' are required. Set it either in 'node' config or via --service-node "
                "and --service-cluster options.",
                path,
            )
        source = config.sds_config
        if not is_file(source):
            return self._from_control_plane(config, kind, path)
        name, directory = file_of(source, path)
        key = (kind, name.encode(), config.name)
        if key not in self._dynamic:
            scope = self._scope.scope(f"sds.{config.name}")
            self._dynamic[key] = FileSecretProvider(
                config.name, kind, name, directory, self._watcher, scope, self._dispatcher.wall_time
            )
        return self._dynamic[key]

    def _from_control_plane(self, config: Any, kind: str, path: str) -> SecretProvider:
        from .sds_api import SdsApi

        subscriptions = self.subscriptions
        if subscriptions is None:
            raise ConfigError("there is no server that could ask for secrets", path)
        subscriptions.check(config.sds_config, f"{path}.sds_config")
        key = (kind, config.sds_config.SerializeToString(deterministic=True), config.name)
        if key not in self._dynamic:
            self._dynamic[key] = SdsApi(
                config.name,
                kind,
                config.sds_config,
                f"{path}.sds_config",
                subscriptions,
                self._scope.scope(f"sds.{config.name}"),
                lambda: self._forget(key),
            )
        return self._dynamic[key]

    def _forget(self, key: tuple[str, bytes, str]) -> None:
        self._dynamic.pop(key, None)

    def dynamic(self) -> Iterable[DynamicSecretProvider]:
        """Those that may change."""
        return self._dynamic.values()
