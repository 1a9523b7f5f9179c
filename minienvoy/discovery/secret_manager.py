"""Certificates and validation contexts that TLS contexts call by name: from the bootstrap, or from a file that changes.

Envoy: `Secret::SecretManagerImpl`, `SdsApi`; docs "Secret discovery service (SDS)".

A file is read again when something is moved to its name, or into its `watched_directory`; so it is with the files of
certificates that a secret names. What can not be read leaves in force what was there before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from .. import logger
from ..config.api import unpack
from ..config.fields import honours, unsupported
from ..config.loader import load_file
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..event.file_watcher import FileWatcher

log = logger.get("secret")
_TYPE: Final = "envoy.extensions.transport_sockets.tls.v3"
SECRET: Final = f"{_TYPE}.Secret"
DISCOVERY_RESPONSE: Final = "envoy.service.discovery.v3.DiscoveryResponse"
_FILES: Final = ("certificate_chain", "private_key", "password", "trusted_ca", "crl")

_KINDS: Final = {
    "tls_certificate": "static secret",
    "validation_context": "static certificate validation context",
    "session_ticket_keys": "tls session ticket keys",
}
_APIS: Final = {
    "tls_certificate": "TlsCertificateSdsApi",
    "validation_context": "CertificateValidationContextSdsApi",
    "session_ticket_keys": "TlsSessionTicketKeysSdsApi",
}


def _from_a_file(config: Any) -> str | None:
    kind = config.sds_config.WhichOneof("config_source_specifier")
    return None if kind in ("path", "path_config_source") else f"secrets come from files only, not from {kind}"


honours(f"{_TYPE}.Secret", "name", "tls_certificate", "validation_context", "session_ticket_keys")
honours(
    f"{_TYPE}.SdsSecretConfig",
    "name",
    when={"sds_config": _from_a_file},
    skips={"sds_config": lambda config: True},
)


class SecretProvider:
    """One secret, under the name that configurations have for it.

    Attributes:
        secret: the `Secret` message; None while there is none.
    """

    def __init__(self, name: str, secret: Any = None) -> None:
        self.name = name
        self.secret = secret
        self._callbacks: list[Callable[[], None]] = []

    def add_update_callback(self, callback: Callable[[], None]) -> None:
        """Called when there is another secret."""
        self._callbacks.append(callback)

    def updated(self) -> None:
        for callback in tuple(self._callbacks):
            callback()


class FileSecretProvider(SecretProvider):
    """A secret in a file that holds a `DiscoveryResponse`."""

    def __init__(self, name: str, path: str, directory: str, watcher: FileWatcher) -> None:
        super().__init__(name)
        self._path = path
        self._watcher = watcher
        self._watched: set[str] = set()
        self._watch(directory or path)
        self._load()

    def _watch(self, path: str) -> None:
        if path not in self._watched:
            self._watched.add(path)
            self._watcher.add_watch(path, self._on_moved)

    def _on_moved(self) -> None:
        if self._load():
            self.updated()

    def _load(self) -> bool:
        try:
            self.secret = self._read()
        except ConfigError as error:
            # Neither path nor words of a file are told: they may be the secret.
            log.warning(f"the secret '{self.name}' can not be had from {self._path}: {error.problem}")
            return False
        self._watch_files(self.secret)
        return True

    def _read(self) -> Any:
        response = load_file(self._path, DISCOVERY_RESPONSE).message
        for at, resource in enumerate(response.resources):
            secret = unpack(resource, f"resources[{at}]", validate=True)
            if secret.DESCRIPTOR.full_name == SECRET and secret.name == self.name:
                for item in unsupported(secret):
                    raise ConfigError(f"{item.path}: {item.reason}")
                return secret
        raise ConfigError("no such secret is there")

    def _watch_files(self, secret: Any) -> None:
        for kind in ("tls_certificate", "validation_context"):
            if not secret.HasField(kind):
                continue
            held = getattr(secret, kind)
            if held.HasField("watched_directory"):
                self._watch(held.watched_directory.path)
                continue
            for field, source in held.ListFields():
                if field.name in _FILES and source.filename:
                    self._watch(source.filename)


class SecretManager:
    """All secrets of a server; providers of the same file and name are shared."""

    def __init__(self, secrets: Iterable[Any], watcher: FileWatcher, node: Any = None) -> None:
        """`node` is the server's own `Node`; None where nobody asks who it is."""
        self._watcher = watcher
        self._named = node is None or bool(node.id and node.cluster)
        self._static: dict[tuple[str, str], SecretProvider] = {}
        for secret in secrets:
            kind = secret.WhichOneof("type")
            if (kind, secret.name) in self._static:
                raise ConfigError(f"Duplicate static {kind} secret name {secret.name}", "static_resources.secrets")
            self._static[kind, secret.name] = SecretProvider(secret.name, secret)
        self._files: dict[tuple[str, str], FileSecretProvider] = {}
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
        name = source.path or source.path_config_source.path
        if not os.path.exists(name):  # noqa: PTH110
            raise ConfigError(f"paths must refer to an existing path in the system: '{name}' does not exist", path)
        key = (name, config.name)
        if key not in self._files:
            directory = source.path_config_source.watched_directory.path
            self._files[key] = FileSecretProvider(config.name, name, directory, self._watcher)
        return self._files[key]
