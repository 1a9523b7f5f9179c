"""One secret that changes, such as one that a file holds, and what is counted of it.

Envoy: `Secret::SdsApi` (`source/common/secret/sds_api.cc`); docs "Secret discovery service (SDS)".

The file is read again when something is moved to its name, or into its `watched_directory`; so it is with the files of
certificates that the secret names, whose content is part of it. What can not be had leaves in force what was before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from .. import logger
from ..config.api import unpack
from ..config.data_source import read_data_source
from ..config.fields import unsupported
from ..config.loader import load_file
from ..errors import ConfigError
from ..stats.histogram import Histogram
from ..stats.store import CounterValue, GaugeValue, StatsStruct
from ..upstream.xx_hash import xx_hash64_of_all

if TYPE_CHECKING:
    from ..event.file_watcher import FileWatcher
    from ..stats.store import Scope

log = logger.get("secret")
SECRET: Final = "envoy.extensions.transport_sockets.tls.v3.Secret"
DISCOVERY_RESPONSE: Final = "envoy.service.discovery.v3.DiscoveryResponse"
_FILES: Final = {
    "tls_certificate": ("certificate_chain", "private_key", "password", "pkcs12", "ocsp_staple"),
    "validation_context": ("trusted_ca", "crl"),
    "generic_secret": ("secret",),
}
_WATCHED: Final = frozenset({"certificate_chain", "private_key", "password", "trusted_ca", "crl"})


class SdsStats(StatsStruct):
    """`sds.NAME.*`"""

    init_fetch_timeout: CounterValue
    key_rotation_failed: CounterValue
    update_attempt: CounterValue
    update_failure: CounterValue
    update_rejected: CounterValue
    update_success: CounterValue
    update_time: GaugeValue
    version: GaugeValue
    update_duration: Histogram


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

    def remove_update_callback(self, callback: Callable[[], None]) -> None:
        if callback in self._callbacks:
            self._callbacks.remove(callback)

    def initialize(self, on_ready: Callable[[], None]) -> None:
        """Have it looked for; `on_ready` is called when there is an answer, be it that there is none."""
        on_ready()

    def acquire(self) -> None:
        """One more wants it."""

    def release(self) -> None:
        """One less wants it."""

    def updated(self) -> None:
        for callback in tuple(self._callbacks):
            callback()


class DynamicSecretProvider(SecretProvider):
    """A secret that comes from elsewhere and may change.

    Attributes:
        kind: the field of `Secret` that is wanted.
        version: of the response that brought it.
        last_updated: seconds since the epoch; while there is no secret, when it was first wanted.
    """

    def __init__(
        self, name: str, kind: str, origin: str, watcher: FileWatcher, scope: Scope, now: Callable[[], float]
    ) -> None:
        """`origin` is where it comes from, for the log."""
        super().__init__(name)
        self.kind = kind
        self.version = ""
        self.last_updated = now()
        self._origin = origin
        self._watcher = watcher
        self._now = now
        self._scope = scope
        self._stats = scope.struct(SdsStats)
        self._as_written: Any = None
        self._watched: set[str] = set()

    def stop(self) -> None:
        """Nobody wants it any more."""
        if self._watched:
            self._watcher.remove_watch(self._on_files_moved)
        self._scope.remove()

    def _take(self, resources: Sequence[Any], version: str) -> bool:
        """Use what has come; whether it is another secret.

        Raises:
            ConfigError: it can not be used.
        """
        written = self._wanted(resources)
        secret = self._with_files(written)
        self.version = version
        self._as_written = written
        self._watch_files()
        if secret == self.secret:
            return False
        self.secret, self.last_updated = secret, self._now()
        return True

    def _stays(self, error: ConfigError) -> None:
        # No words of the secret are told.
        log.warning(f"the secret '{self.name}' can not be had from {self._origin}: {error.problem}")

    def _wanted(self, resources: Sequence[Any]) -> Any:
        if not resources:
            raise ConfigError(f"Missing SDS resources for {self.name}")
        if len(resources) > 1:
            raise ConfigError(f"Unexpected SDS secrets length: {len(resources)}")
        (secret,) = resources
        if secret.DESCRIPTOR.full_name != SECRET:
            raise ConfigError(f"it holds a {secret.DESCRIPTOR.full_name}")
        if secret.name != self.name:
            raise ConfigError(f"Unexpected SDS secret (expecting {self.name}): {secret.name}")
        if secret.WhichOneof("type") != self.kind:
            certificate = self.kind == "tls_certificate"
            raise ConfigError(
                "Failed to load incomplete private key from path: " if certificate else f"it is no {self.kind}"
            )
        for item in unsupported(secret):
            raise ConfigError(f"{item.path}: {item.reason}")
        return secret

    def _with_files(self, written: Any) -> Any:
        """The secret with what is in its files, as they are now."""
        secret = type(written)()
        secret.CopyFrom(written)
        for _, source in self._sources(secret):
            source.inline_bytes = read_data_source(source)
        return secret

    def _sources(self, secret: Any) -> Iterator[tuple[str, Any]]:
        """(field, `DataSource`) of those that are files."""
        held = getattr(secret, self.kind)
        for field in _FILES.get(self.kind, ()):
            if held.HasField(field) and getattr(held, field).WhichOneof("specifier") == "filename":
                yield field, getattr(held, field)

    def _watch_files(self) -> None:
        held = getattr(self._as_written, self.kind)
        may_watch = "watched_directory" in held.DESCRIPTOR.fields_by_name
        if self.kind in _FILES and may_watch and held.HasField("watched_directory"):
            paths = [held.watched_directory.path]
        else:
            paths = [source.filename for field, source in self._sources(self._as_written) if field in _WATCHED]
        for path in paths:
            if path not in self._watched:
                self._watched.add(path)
                self._watcher.add_watch(path, self._on_files_moved)

    def _on_files_moved(self) -> None:
        try:
            secret = self._with_files(self._as_written)
        except ConfigError as error:
            self._stats.key_rotation_failed += 1
            self._stays(error)
            return
        if secret != self.secret:
            self.secret, self.last_updated = secret, self._now()
            self.updated()


class FileSecretProvider(DynamicSecretProvider):
    """A secret in a file that holds a `DiscoveryResponse` with it and nothing else."""

    def __init__(
        self,
        name: str,
        kind: str,
        path: str,
        directory: str,
        watcher: FileWatcher,
        scope: Scope,
        now: Callable[[], float],
    ) -> None:
        """`kind` is the field of `Secret` that is wanted; `directory`, if there is one, is looked at for it."""
        super().__init__(name, kind, path, watcher, scope, now)
        self._path = path
        self._version_text = scope.text_readout("version_text")
        watcher.add_watch(directory or path, self._on_moved)
        self._load()

    def _on_moved(self) -> None:
        if self._load():
            self.updated()

    def _load(self) -> bool:
        """Whether there is another secret now."""
        stats = self._stats
        stats.update_attempt += 1
        try:
            response = load_file(self._path, DISCOVERY_RESPONSE).message
        except ConfigError as error:
            stats.update_failure += 1
            self._stays(error)
            return False
        try:
            resources = [unpack(each, f"resources[{at}]", validate=True) for at, each in enumerate(response.resources)]
            changed = self._take(resources, response.version_info)
        except ConfigError as error:
            stats.update_rejected += 1
            self._stays(error)
            return False
        stats.update_success += 1
        stats.update_time = int(self._now() * 1000)
        stats.version = xx_hash64_of_all((self.version.encode(),))
        self._version_text.set(self.version)
        return changed
