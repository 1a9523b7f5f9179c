"""What puts credentials into requests.

Envoy: `Extensions::Http::InjectedCredentials::Common` (`CredentialInjector`, `SecretReader`).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol

from ....config.data_source import read_data_source
from ....registry import Registry

if TYPE_CHECKING:
    from ....discovery.file_secret import SecretProvider
    from ....http.header_map import RequestHeaderMap
    from ....server.factory_context import FactoryContext


class Injection(Enum):
    """What came of it."""

    INJECTED = "injected"
    ALREADY_EXISTS = "already_exists"
    FAILED = "failed"


class CredentialInjector(Protocol):
    def inject(self, headers: RequestHeaderMap, overwrite: bool) -> Injection:
        """Put the credential into the request; one that is there already stays, unless `overwrite`."""


class SecretReader:
    """A `GenericSecret` by its name, as it is now.

    Attributes:
        credential: empty while there is no secret.
    """

    def __init__(self, config: Any, context: FactoryContext, path: str) -> None:
        """From an `SdsSecretConfig` at `path`; the listener of `context` waits for a secret that a control plane has.

        Raises:
            ConfigError: nobody knows that secret, or its file can not be read.
        """
        secrets = context.server.secrets
        assert secrets is not None
        self._provider: SecretProvider = secrets.find(config, "generic_secret", path)
        self.credential = b""
        self._read()
        self._provider.add_update_callback(self._read)
        self._provider.acquire()
        if self._provider.secret is None:
            context.wait_for(self._provider.initialize)
        context.on_destroy.append(self._give_up)

    def _give_up(self) -> None:
        self._provider.remove_update_callback(self._read)
        self._provider.release()

    def _read(self) -> None:
        secret = self._provider.secret
        if secret is not None:
            # Files end in a line break, and it is no part of the secret.
            self.credential = read_data_source(secret.generic_secret.secret).rstrip(b"\r\n")


INJECTED_CREDENTIALS: Final[Registry[Callable[[Any, Any], CredentialInjector]]] = Registry(
    "envoy.http.injected_credentials"
)
"""(configuration message, `FactoryContext`) -> CredentialInjector"""
