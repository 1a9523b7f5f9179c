"""Whether the cookies of a request are what the configuration asks for.

Envoy: `Router::ConfigUtility::CookieMatcher`, `Http::Utility::parseCookies`. Of a cookie that is repeated, the first
value counts; a cookie that is not there matches only an inverted matcher.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..config.fields import honours
from .regex import BytesPredicate
from .string import compile_string_matcher

honours("envoy.config.route.v3.CookieMatcher", "name", "string_match", "invert_match")


def parse_cookies(values: Iterable[bytes]) -> dict[bytes, bytes]:
    """Of the values of all `cookie` headers: name -> first value, without quotes around it."""
    cookies: dict[bytes, bytes] = {}
    for value in values:
        for pair in value.split(b";"):
            name, equals, content = pair.strip().partition(b"=")
            if equals:
                if len(content) > 1 and content[:1] == content[-1:] == b'"':
                    content = content[1:-1]
                cookies.setdefault(name, content)
    return cookies


class CookieMatcher:
    """One compiled matcher; `matches` takes what `parse_cookies` gives."""

    __slots__ = ("_invert", "_name", "_test", "description")

    def __init__(self, name: bytes, test: BytesPredicate, invert: bool, description: str) -> None:
        self._name = name
        self._test = test
        self._invert = invert
        self.description = description

    @classmethod
    def from_proto(cls, proto: Any, path: str = "") -> CookieMatcher:
        """Raises ConfigError for a wrong regular expression or a custom string matcher."""
        test = compile_string_matcher(proto.string_match, f"{path}.string_match")
        description = (
            f"{proto.name} {'not ' if proto.invert_match else ''}{proto.string_match.WhichOneof('match_pattern')}"
        )
        return cls(proto.name.encode(), test, proto.invert_match, description)

    def matches(self, cookies: Mapping[bytes, bytes]) -> bool:
        value = cookies.get(self._name)
        return (value is not None and self._test(value)) != self._invert
