"""Where AWS credentials come from.

Envoy: `Extensions::Common::Aws::InlineCredentialProvider`, `EnvironmentCredentialsProvider`,
`CredentialsFileCredentialsProvider`, `DefaultCredentialsProviderChain`; message `AwsCredentialProvider`. Those that ask
AWS itself (instance and container metadata, STS) are refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, Protocol

from ....config.data_source import read_data_source
from ....config.fields import honours
from ....errors import ConfigError
from .sigv4_signer import Credentials

_TYPE: Final = "envoy.extensions.common.aws.v3"

honours(
    f"{_TYPE}.AwsCredentialProvider",
    "inline_credential",
    "credentials_file_provider",
    "environment_credential_provider",
    "custom_credential_provider_chain",
)
honours(f"{_TYPE}.InlineCredentialProvider", "access_key_id", "secret_access_key", "session_token")
honours(f"{_TYPE}.CredentialsFileCredentialProvider", "credentials_data_source", "profile")
honours(f"{_TYPE}.EnvironmentCredentialProvider")

REFRESH: Final = 3600.0
"""Seconds after which a file is read again."""


class CredentialProvider(Protocol):
    def credentials(self) -> Credentials | None:
        """As they are now; None if there are none here."""


class InlineCredentialProvider:
    """They stand in the configuration."""

    def __init__(self, proto: Any) -> None:
        self._credentials = Credentials(proto.access_key_id, proto.secret_access_key, proto.session_token)

    def credentials(self) -> Credentials | None:
        return self._credentials


class EnvironmentCredentialProvider:
    """They are variables of the environment."""

    def credentials(self) -> Credentials | None:
        return _of(lambda name: os.environ.get(name, "").strip())


class CredentialsFileProvider:
    """They are lines below a name in brackets, as the tools of AWS write them."""

    def __init__(self, read: Callable[[], bytes], profile: str, monotonic_time: Callable[[], float]) -> None:
        self._read = read
        self._profile = profile
        self._monotonic_time = monotonic_time
        self._read_at: float | None = None
        self._credentials: Credentials | None = None

    def credentials(self) -> Credentials | None:
        now = self._monotonic_time()
        if self._read_at is None or now - self._read_at >= REFRESH:
            self._read_at = now
            try:
                self._credentials = credentials_of_file(self._read().decode("latin-1"), self._profile)
            except (OSError, ConfigError):
                self._credentials = None
        return self._credentials


def credentials_of_file(text: str, profile: str) -> Credentials | None:
    """What a file says of `profile`."""
    values: dict[str, str] = {}
    mine = False
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            mine = line == f"[{profile}]"
        elif mine and not line.startswith("#"):
            name, equals, value = line.partition("=")
            if equals:
                values[name.strip().upper()] = value.strip()
    return _of(lambda name: values.get(name, ""))


def _of(find: Callable[[str], str]) -> Credentials | None:
    key_id, secret = find("AWS_ACCESS_KEY_ID"), find("AWS_SECRET_ACCESS_KEY")
    return Credentials(key_id, secret, find("AWS_SESSION_TOKEN")) if key_id and secret else None


class CredentialProviderChain:
    """The first that has some."""

    def __init__(self, providers: list[CredentialProvider]) -> None:
        self._providers = providers

    def credentials(self) -> Credentials | None:
        for provider in self._providers:
            found = provider.credentials()
            if found is not None:
                return found
        return None


def create_credential_provider(proto: Any, path: str, monotonic_time: Callable[[], float]) -> CredentialProvider:
    """From an `AwsCredentialProvider`, which may say nothing.

    Raises:
        ConfigError: below `path`.
    """
    if proto.HasField("inline_credential"):
        return InlineCredentialProvider(proto.inline_credential)
    providers: list[CredentialProvider] = []
    custom = proto.custom_credential_provider_chain
    if not custom or proto.HasField("environment_credential_provider"):
        providers.append(EnvironmentCredentialProvider())
    if proto.HasField("credentials_file_provider"):
        said = proto.credentials_file_provider
        source = said.credentials_data_source if said.HasField("credentials_data_source") else None
        if source is not None and source.WhichOneof("specifier") == "filename":
            read_data_source(source, f"{path}.credentials_file_provider.credentials_data_source")
        providers.append(CredentialsFileProvider(_reader(source), said.profile or _profile(), monotonic_time))
    elif not custom:
        providers.append(CredentialsFileProvider(_reader(None), _profile(), monotonic_time))
    if not providers:
        raise ConfigError("Custom credential provider chain must have at least one credential provider", path)
    return CredentialProviderChain(providers)


def _profile() -> str:
    return os.environ.get("AWS_PROFILE") or "default"


def _reader(source: Any) -> Callable[[], bytes]:
    if source is not None:
        return lambda: read_data_source(source)

    def read() -> bytes:
        name = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or f"{os.environ.get('HOME', '')}/.aws/credentials"
        with open(name, "rb") as file:  # noqa: PTH123 (importing pathlib costs 5 ms)
            return file.read()

    return read
