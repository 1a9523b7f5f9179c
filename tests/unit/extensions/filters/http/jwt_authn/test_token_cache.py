"""Which tokens are remembered, and how many."""

from __future__ import annotations

import base64
import json
from typing import Any

from minienvoy.config.loader import load_dict
from minienvoy.extensions.filters.http.jwt_authn.token import Token
from minienvoy.extensions.filters.http.jwt_authn.token_cache import TokenCache


def cache(**fields: Any) -> TokenCache:
    return TokenCache(load_dict(fields, "envoy.extensions.filters.http.jwt_authn.v3.JwtCacheConfig").message)


def token(**claims: Any) -> Token:
    parts = ({"alg": "HS256"}, claims, "x")
    return Token(b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts))


def test_the_one_that_is_not_asked_for_makes_room() -> None:
    made, first, second, third = cache(jwt_cache_size=2), token(), token(), token()
    made.put(b"1", first)
    made.put(b"2", second)
    assert made.find(b"1", 0) is first
    made.put(b"3", third)
    assert [made.find(text, 0) for text in (b"1", b"2", b"3")] == [first, None, third]


def test_there_are_never_more_than_a_hundred() -> None:
    made = cache()
    for number in range(1000):
        made.put(b"%d" % number, token())
    assert len(made) == 100


def test_long_ones_are_not_kept() -> None:
    made = cache()
    made.put(b"x" * 4097, token())
    made.put(b"x" * 4096, token())
    assert len(made) == 1


def test_what_has_expired_is_forgotten() -> None:
    made = cache()
    made.put(b"1", token(exp=1000))
    assert made.find(b"1", 1060) is not None
    assert made.find(b"1", 1061) is None
    assert len(made) == 0
