"""Verifies the tokens that were found, one after another, and has their claims told.

Envoy: `Extensions::HttpFilters::JwtAuthn::AuthenticatorImpl`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .....http.header_map import entry, suspect
from .encoding import write_json
from .extractor import Found
from .provider import Audiences, Provider
from .status import Refusal, Status
from .token import Token

if TYPE_CHECKING:
    from .keys import KeySet
    from .remote_keys import Fetch
    from .verifier import Context


class Authenticator:
    """For one request and one requirement.

    A requirement that names a `provider` takes tokens of that one alone. Otherwise tokens of all are taken, and
    `allow_failed` or `allow_missing` says what does not matter.
    """

    __slots__ = (
        "_allow_failed",
        "_allow_missing",
        "_audiences",
        "_busy",
        "_context",
        "_current",
        "_done",
        "_fetch",
        "_more",
        "_named",
        "_provider",
        "_token",
        "_tokens",
    )

    def __init__(
        self,
        context: Context,
        tokens: list[Found],
        provider: Provider | None,
        audiences: Audiences | None,
        done: Callable[[Status], None],
        allow_failed: bool = False,
        allow_missing: bool = False,
    ) -> None:
        self._context = context
        self._tokens = tokens
        self._named = provider
        self._provider = provider
        self._audiences = audiences
        self._done: Callable[[Status], None] | None = done
        self._allow_failed = allow_failed
        self._allow_missing = allow_missing
        self._fetch: Fetch | None = None
        self._busy = self._more = False

    def start(self) -> None:
        if self._tokens:
            self._next()
        else:
            self._finish(Status.MISSED)

    def cancel(self) -> None:
        """Nothing is told any more."""
        self._done = None
        fetch, self._fetch = self._fetch, None
        if fetch is not None:
            fetch.cancel()

    def _next(self) -> None:
        """The last one first, as in Envoy; one after another here, however many there are."""
        self._more = True
        if self._busy:
            return
        self._busy = True
        while self._more:
            self._more = False
            self._current = self._tokens.pop()
            try:
                self._verify()
            except Refusal as refusal:
                self._finish(refusal.status)
        self._busy = False

    def _verify(self) -> None:
        """Raises Refusal: the token is not taken."""
        text, stats, now = self._current.text, self._context.stats, self._context.now
        cached = None
        provider = self._provider = self._named
        if provider is not None:
            cached = provider.cache.find(text, now) if provider.cache is not None else None
            if cached is None:
                stats.jwt_cache_miss += 1
            else:
                stats.jwt_cache_hit += 1
        self._token = token = cached or Token(text)
        if not self._current.is_issuer_allowed(token.issuer):
            raise Refusal(Status.UNKNOWN_ISSUER)
        if provider is None:
            provider = self._provider = self._context.providers.of_issuer(token.issuer)
        if provider is None:
            raise Refusal(Status.UNKNOWN_ISSUER)
        if provider.issuer and provider.issuer != token.issuer:
            raise Refusal(Status.UNKNOWN_ISSUER)
        status = provider.check(token, now, self._audiences or provider.audiences)
        if status is not Status.OK:
            raise Refusal(status)
        if cached is not None:
            self._good(provider, token)
        elif (keys := provider.keys) is not None:
            self._by(provider, keys)
        elif provider.remote is not None:
            fetch = provider.remote.fetch(self._fetched)
            if fetch.running:
                self._fetch = fetch
        else:
            raise Refusal(Status.NO_VALID_KEYS)

    def _fetched(self, keys: KeySet | None) -> None:
        self._fetch = None
        if self._done is None:
            return
        if keys is None or self._provider is None:
            self._finish(Status.FETCH_FAIL)
            return
        try:
            self._by(self._provider, keys)
        except Refusal as refusal:
            self._finish(refusal.status)

    def _by(self, provider: Provider, keys: KeySet) -> None:
        status = keys.verify(self._token)
        if status is not Status.OK:
            raise Refusal(status)
        if provider.cache is not None and self._named is not None:
            provider.cache.put(self._current.text, self._token)
        self._good(provider, self._token)

    def _good(self, provider: Provider, token: Token) -> None:
        headers, context = self._context.headers, self._context
        changed = False
        if provider.payload_header:
            payload = token.payload_text
            if provider.pad_payload:
                payload += b"=" * (-len(payload) % 4)
            headers.add_entry(suspect(entry(provider.payload_header, payload)))
            changed = True
        for name, way in provider.claims:
            value = _header_value(_claim(token.payload, way))
            if value:
                headers.add_entry(suspect(entry(name, value)))
                changed = True
        if changed and provider.clear_route_cache:
            context.clear_route_cache()
        if not provider.forward:
            self._current.remove(headers)
        if provider.header_name:
            context.metadata[provider.header_name] = token.header
        if provider.payload_name:
            context.metadata[provider.payload_name] = _normalized(token.payload, provider.space_delimited)
        self._finish(Status.OK)

    def _finish(self, status: Status) -> None:
        """Of one token; the last one's, or the first bad one's, is that of all."""
        if status is not Status.OK:
            provider = self._provider
            if provider is not None and provider.failed_status_name:
                told = {"code": float(status.code), "message": status.text}
                self._context.metadata[provider.failed_status_name] = told
        if self._tokens and (status is Status.OK or self._allow_failed or self._allow_missing):
            self._next()
            return
        self._tokens.clear()
        done, self._done = self._done, None
        if done is not None:
            allowed = self._allow_failed or (self._allow_missing and status is Status.MISSED)
            done(Status.OK if allowed else status)


def _claim(payload: dict[str, Any], way: tuple[str, ...]) -> Any:
    value: Any = payload
    for name in way:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _header_value(value: Any) -> bytes:
    """Empty for nothing."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, float):
        if value.is_integer() and 0 <= value < 2.0**64:
            return b"%d" % int(value)
        return b"%f" % value
    if isinstance(value, (dict, list)):
        return base64.b64encode(write_json(value).encode())
    return b""


def _normalized(payload: dict[str, Any], claims: tuple[str, ...]) -> dict[str, Any]:
    """With the claims that are words in a string as lists of them."""
    changed = {
        name: [word for word in payload[name].split(" ") if word]
        for name in claims
        if isinstance(payload.get(name), str)
    }
    return {**payload, **changed} if changed else payload
