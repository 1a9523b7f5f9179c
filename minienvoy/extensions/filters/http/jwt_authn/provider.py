"""A provider: whose tokens are taken, by which keys, and what of them goes on.

Envoy: `Extensions::HttpFilters::JwtAuthn::JwksCacheImpl`, `JwtProvider`.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING, Any, Final

from .....config.data_source import read_data_source
from .....config.fields import honours
from .....errors import ConfigError
from .....matchers.string import compile_string_matcher
from .....upstream.duration import duration_of
from .extractor import Extractor
from .keys import KeySet
from .remote_keys import JwtStats, RemoteKeys
from .status import Refusal, Status
from .token import CLOCK_SKEW, Token
from .token_cache import TokenCache

if TYPE_CHECKING:
    from .....server.factory_context import ServerContext

_PACKAGE: Final = "envoy.extensions.filters.http.jwt_authn.v3"
honours(
    f"{_PACKAGE}.JwtProvider",
    "issuer",
    "audiences",
    "subjects",
    "require_expiration",
    "max_lifetime",
    "remote_jwks",
    "local_jwks",
    "forward",
    "from_headers",
    "from_params",
    "from_cookies",
    "forward_payload_header",
    "pad_forward_payload_header",
    "payload_in_metadata",
    "normalize_payload_in_metadata",
    "header_in_metadata",
    "failed_status_in_metadata",
    "clock_skew_seconds",
    "jwt_cache_config",
    "claim_to_headers",
    "clear_route_cache",
)
honours(f"{_PACKAGE}.JwtProvider.NormalizePayload", "space_delimited_claims")
honours(f"{_PACKAGE}.JwtClaimToHeader", "header_name", "claim_name", "claim_path")
honours(f"{_PACKAGE}.JwtClaimToHeader.PathSegment", "key")


class Audiences:
    """Who a token may be for; anybody, if there are none."""

    __slots__ = ("_allowed",)

    def __init__(self, audiences: Iterable[str]) -> None:
        self._allowed = frozenset(map(_bare, audiences))

    def allow(self, audiences: tuple[str, ...]) -> bool:
        return not self._allowed or any(_bare(each) in self._allowed for each in audiences)


def _bare(audience: str) -> str:
    """Without scheme and slash at the end."""
    for scheme in ("http://", "https://"):
        audience = audience.removeprefix(scheme)
    return audience.removesuffix("/")


def _claim(provider: str, proto: Any, path: str) -> tuple[bytes, tuple[str, ...]]:
    """The header, and the way to its claim."""
    if bool(proto.claim_name) is bool(proto.claim_path):
        raise ConfigError(
            f"Provider '{provider}' has a claim_to_headers entry for header '{proto.header_name}' which does not set "
            "exactly one of claim_name and claim_path",
            path,
        )
    way = tuple(segment.key for segment in proto.claim_path) or tuple(proto.claim_name.split("."))
    return proto.header_name.lower().encode(), way


class Provider:
    """Attributes:
    claims: headers, with the way to the claim that each is told.
    keys: those that are at hand, or None.
    remote: where they are fetched, or None.
    cache: None if tokens are verified each time.
    """

    __slots__ = (
        "_local",
        "_longest",
        "_subjects",
        "audiences",
        "cache",
        "claims",
        "clear_route_cache",
        "extractor",
        "failed_status_name",
        "forward",
        "header_name",
        "issuer",
        "name",
        "pad_payload",
        "payload_header",
        "payload_name",
        "remote",
        "skew",
        "space_delimited",
    )

    def __init__(self, name: str, proto: Any, path: str, server: ServerContext, stats: JwtStats) -> None:
        """Raises ConfigError: keys that are none, or that can not be fetched."""
        self.name = name
        self.issuer: str = proto.issuer
        self.audiences = Audiences(proto.audiences)
        self._subjects = (
            compile_string_matcher(proto.subjects, f"{path}.subjects") if proto.HasField("subjects") else None
        )
        self._longest: float | None = inf if proto.require_expiration else None
        if proto.HasField("max_lifetime"):
            self._longest = duration_of(proto, "max_lifetime", 0.0)
        self.skew: int = proto.clock_skew_seconds or CLOCK_SKEW
        self.extractor = Extractor((proto,))
        self.forward: bool = proto.forward
        self.payload_header: bytes = proto.forward_payload_header.lower().encode()
        self.pad_payload: bool = proto.pad_forward_payload_header
        self.payload_name: str = proto.payload_in_metadata
        self.header_name: str = proto.header_in_metadata
        self.failed_status_name: str = proto.failed_status_in_metadata
        self.space_delimited: tuple[str, ...] = tuple(proto.normalize_payload_in_metadata.space_delimited_claims)
        self.clear_route_cache: bool = proto.clear_route_cache
        self.claims = tuple(
            _claim(name, each, f"{path}.claim_to_headers[{at}]") for at, each in enumerate(proto.claim_to_headers)
        )
        self.cache = TokenCache(proto.jwt_cache_config) if proto.HasField("jwt_cache_config") else None
        self._local: KeySet | None = None
        self.remote: RemoteKeys | None = None
        if proto.HasField("remote_jwks"):
            self.remote = RemoteKeys(proto.remote_jwks, f"{path}.remote_jwks", name, server, stats)
            return
        data = read_data_source(proto.local_jwks, f"{path}.local_jwks")
        if not data:
            # Envoy takes it, and no token.
            return
        try:
            self._local = KeySet(data)
        except Refusal as refusal:
            raise ConfigError(
                f"Provider '{name}' in jwt_authn config has invalid local jwks: {refusal.status.text}",
                f"{path}.local_jwks",
            ) from None

    @property
    def keys(self) -> KeySet | None:
        return self._local if self.remote is None else self.remote.keys

    def check(self, token: Token, now: int, audiences: Audiences) -> Status:
        """All but the signature."""
        if self._subjects is not None and not self._subjects(token.subject.encode()):
            return Status.VERIFICATION_FAIL
        status = token.time_status(now, self.skew)
        if status is not Status.OK:
            return status
        if self._longest is not None and not (token.expires and token.expires - now < self._longest):
            return Status.VERIFICATION_FAIL
        return Status.OK if audiences.allow(token.audiences) else Status.AUDIENCE_NOT_ALLOWED


class Providers:
    """All of a filter; `by_name` are in the order of their names."""

    __slots__ = ("_by_issuer", "by_name", "extractor", "own_headers", "protos")

    def __init__(self, protos: Any, server: ServerContext, stats: JwtStats) -> None:
        """Raises ConfigError: what a provider says makes no sense."""
        names = sorted(protos)
        self.by_name = {name: Provider(name, protos[name], f"providers[{name}]", server, stats) for name in names}
        self._by_issuer: dict[str, Provider] = {}
        for provider in self.by_name.values():
            self._by_issuer.setdefault(provider.issuer, provider)
        self.protos = protos
        self.extractor = Extractor(protos[name] for name in names)
        own = [provider.payload_header for provider in self.by_name.values() if provider.payload_header]
        own += [header for provider in self.by_name.values() for header, _ in provider.claims]
        self.own_headers: tuple[bytes, ...] = tuple(dict.fromkeys(own))
        """That only this filter may set."""

    def of_issuer(self, issuer: str) -> Provider | None:
        """The first that takes tokens of that issuer, or of any."""
        return self._by_issuer.get(issuer) or self._by_issuer.get("")
