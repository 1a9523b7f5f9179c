"""Tokens that have been verified already.

Envoy: `Extensions::HttpFilters::JwtAuthn::JwtCacheImpl`. The one that was asked for longest ago makes room.
"""

from __future__ import annotations

from typing import Any, Final

from .....config.fields import honours
from .status import Status
from .token import Token

honours("envoy.extensions.filters.http.jwt_authn.v3.JwtCacheConfig", "jwt_cache_size", "jwt_max_token_size")

DEFAULT_SIZE: Final = 100
DEFAULT_LENGTH: Final = 4096


class TokenCache:
    __slots__ = ("_longest", "_size", "_tokens")

    def __init__(self, proto: Any) -> None:
        """`JwtCacheConfig`."""
        self._size: int = proto.jwt_cache_size or DEFAULT_SIZE
        self._longest: int = proto.jwt_max_token_size or DEFAULT_LENGTH
        self._tokens: dict[bytes, Token] = {}

    def __len__(self) -> int:
        return len(self._tokens)

    def find(self, text: bytes, now: int) -> Token | None:
        """None if it is not there, or has expired."""
        token = self._tokens.pop(text, None)
        if token is None or token.time_status(now) is Status.EXPIRED:
            return None
        self._tokens[text] = token
        return token

    def put(self, text: bytes, token: Token) -> None:
        if len(text) > self._longest:
            return
        self._tokens.pop(text, None)
        self._tokens[text] = token
        if len(self._tokens) > self._size:
            del self._tokens[next(iter(self._tokens))]
