"""What a request is required to have.

Envoy: `Extensions::HttpFilters::JwtAuthn::Verifier`. Verifiers are made once; a `Context` is one request's. All parts
of `requires_any` and `requires_all` begin at once, so one that waits for keys does not hold up another that suffices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from .....config.fields import honours
from .....errors import ConfigError
from .....http.header_map import RequestHeaderMap
from .authenticator import Authenticator
from .extractor import Extractor
from .provider import Audiences, Provider, Providers
from .remote_keys import JwtStats
from .status import Status

_PACKAGE: Final = "envoy.extensions.filters.http.jwt_authn.v3"
honours(
    f"{_PACKAGE}.JwtRequirement",
    "provider_name",
    "provider_and_audiences",
    "requires_any",
    "requires_all",
    "allow_missing_or_failed",
    "allow_missing",
    "extract_only_without_validation",
)
honours(f"{_PACKAGE}.ProviderWithAudiences", "provider_name", "audiences")
honours(f"{_PACKAGE}.JwtRequirementOrList", "requirements")
honours(f"{_PACKAGE}.JwtRequirementAndList", "requirements")
honours(f"{_PACKAGE}.ExtractOnlyWithoutValidation", "verification_status_header")

_STATUS_HEADER: Final = "x-jwt-signature-verified"

Done = Callable[[Status], None]


class Context:
    """Of one request; `cancel` it when the request is gone.

    Attributes:
        metadata: what the tokens leave there.
    """

    __slots__ = ("_running", "clear_route_cache", "headers", "metadata", "now", "providers", "stats")

    def __init__(
        self,
        headers: RequestHeaderMap,
        providers: Providers,
        stats: JwtStats,
        now: int,
        clear_route_cache: Callable[[], None],
    ) -> None:
        self.headers = headers
        self.providers = providers
        self.stats = stats
        self.now = now
        self.clear_route_cache = clear_route_cache
        self.metadata: dict[str, Any] = {}
        self._running: list[Authenticator] = []

    def run(self, authenticator: Authenticator) -> None:
        self._running.append(authenticator)
        authenticator.start()

    def cancel(self) -> None:
        for each in self._running:
            each.cancel()
        self._running.clear()


class Verifier:
    """One requirement."""

    def verify(self, context: Context, done: Done) -> None:
        """Calls `done` once, perhaps before this returns, and never if the context is cancelled."""
        raise NotImplementedError


class ProviderVerifier(Verifier):
    """A token of one provider."""

    def __init__(self, provider: Provider, audiences: Audiences | None) -> None:
        self._provider = provider
        self._audiences = audiences

    def verify(self, context: Context, done: Done) -> None:
        tokens = self._provider.extractor.extract(context.headers)
        context.run(Authenticator(context, tokens, self._provider, self._audiences, done))


class LenientVerifier(Verifier):
    """Tokens may be missing, and, if `failed`, bad. What good ones say is told all the same.

    Attributes:
        status_header: tells the upstream that a token is bad; empty for no header.
    """

    def __init__(self, extractor: Extractor, failed: bool, status_header: bytes = b"") -> None:
        self._extractor = extractor
        self._failed = failed
        self._status_header = status_header

    def verify(self, context: Context, done: Done) -> None:
        tokens = self._extractor.extract(context.headers)
        if not self._status_header:
            context.run(
                Authenticator(
                    context, tokens, None, None, done, allow_failed=self._failed, allow_missing=not self._failed
                )
            )
            return

        def finished(status: Status) -> None:
            if status not in (Status.OK, Status.MISSED):
                context.headers.remove(self._status_header)
                context.headers.add(self._status_header, b"false")
            done(Status.OK)

        context.run(Authenticator(context, tokens, None, None, finished))


class FreeVerifier(Verifier):
    """One of a list, that requires nothing."""

    def verify(self, context: Context, done: Done) -> None:
        done(Status.OK)


class GroupVerifier(Verifier):
    """Any of several, or all. The first word that decides is that of the group; of several that all failed it is the
    last that is more than a missing token."""

    def __init__(self, verifiers: Iterable[Verifier], any_suffices: bool) -> None:
        self._verifiers = tuple(verifiers)
        self._any = any_suffices

    def verify(self, context: Context, done: Done) -> None:
        left = len(self._verifiers)
        finished = False
        worst = Status.MISSED

        def one(status: Status) -> None:
            nonlocal left, finished, worst
            if finished:
                return
            left -= 1
            if status is not Status.MISSED:
                worst = status
            if not left or (status is Status.OK) is self._any:
                finished = True
                done(worst if self._any else status)

        for each in self._verifiers:
            if finished:
                return
            each.verify(context, one)


def compile_requirement(proto: Any, path: str, providers: Providers) -> Verifier | None:
    """From `JwtRequirement`; None if it requires nothing. Raises ConfigError below `path`."""
    kind = proto.WhichOneof("requires_type")
    if kind is None:
        return None
    return _compile(proto, kind, path, providers)


def _compile(proto: Any, kind: str | None, path: str, providers: Providers) -> Verifier:
    where = f"{path}.{kind}"
    if kind == "provider_name":
        return ProviderVerifier(_provider(proto.provider_name, where, providers), None)
    if kind == "provider_and_audiences":
        wanted = proto.provider_and_audiences
        audiences = Audiences(wanted.audiences) if wanted.audiences else None
        return ProviderVerifier(_provider(wanted.provider_name, where, providers), audiences)
    if kind == "requires_any":
        return _any(proto.requires_any.requirements, f"{where}.requirements", providers)
    if kind == "requires_all":
        return GroupVerifier(
            (
                _compile(each, each.WhichOneof("requires_type"), f"{where}.requirements[{at}]", providers)
                for at, each in enumerate(proto.requires_all.requirements)
            ),
            any_suffices=False,
        )
    if kind in ("allow_missing", "allow_missing_or_failed"):
        return LenientVerifier(providers.extractor, failed=kind == "allow_missing_or_failed")
    if kind == "extract_only_without_validation":
        header = proto.extract_only_without_validation.verification_status_header or _STATUS_HEADER
        return LenientVerifier(providers.extractor, failed=True, status_header=header.lower().encode())
    return FreeVerifier()


def _any(protos: Any, path: str, providers: Providers) -> Verifier:
    """A requirement that is lenient comes last: only what the others did not take is left to it."""
    verifiers = []
    used: list[Any] = []
    lenient = ""
    for at, proto in enumerate(protos):
        kind = proto.WhichOneof("requires_type")
        if kind in ("allow_missing", "allow_missing_or_failed"):
            lenient = max(lenient, kind, key=len)
            continue
        if kind == "provider_name":
            used.append(proto.provider_name)
        elif kind == "provider_and_audiences":
            used.append(proto.provider_and_audiences.provider_name)
        verifiers.append(_compile(proto, kind, f"{path}[{at}]", providers))
    if lenient:
        extractor = Extractor(providers.protos[name] for name in used)
        verifiers.append(LenientVerifier(extractor, failed=lenient == "allow_missing_or_failed"))
    return GroupVerifier(verifiers, any_suffices=True)


def _provider(name: str, path: str, providers: Providers) -> Provider:
    if name not in providers.by_name:
        raise ConfigError(f"Required provider ['{name}'] is not configured.", path)
    return providers.by_name[name]
