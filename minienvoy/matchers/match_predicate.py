"""Whether a response is what a predicate asks for.

Envoy: `envoy.config.common.matcher.v3.MatchPredicate`, `Extensions::Common::Matcher`; as far as a response's headers
decide it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..config.fields import honours
from .header import Headers, compile_header_matchers, matches_all

honours(
    "envoy.config.common.matcher.v3.MatchPredicate",
    "and_match",
    "any_match",
    "http_response_headers_match",
    "not_match",
    "or_match",
)
honours("envoy.config.common.matcher.v3.MatchPredicate.MatchSet", "rules")
honours("envoy.config.common.matcher.v3.HttpHeadersMatch", "headers")

ResponsePredicate = Callable[[Headers], bool]


def compile_match_predicate(proto: Any, path: str = "") -> ResponsePredicate:
    """Compile an `envoy.config.common.matcher.v3.MatchPredicate`.

    Raises:
        ConfigError: a matcher of a header that is none.
    """
    kind = proto.WhichOneof("rule")
    if kind in ("or_match", "and_match"):
        rules = tuple(
            compile_match_predicate(rule, f"{path}.{kind}.rules[{index}]")
            for index, rule in enumerate(getattr(proto, kind).rules)
        )
        combine = any if kind == "or_match" else all
        return lambda headers: combine(rule(headers) for rule in rules)
    if kind == "not_match":
        inner = compile_match_predicate(proto.not_match, f"{path}.not_match")
        return lambda headers: not inner(headers)
    if kind == "http_response_headers_match":
        where = f"{path}.http_response_headers_match.headers"
        matchers = compile_header_matchers(proto.http_response_headers_match.headers, where)
        return lambda headers: matches_all(matchers, headers)
    return lambda headers: kind == "any_match"
