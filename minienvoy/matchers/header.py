"""Whether a header map has the headers that the configuration asks for.

Envoy: `Http::HeaderUtility::HeaderData`. Of a header that is repeated, every value is looked at by itself: one that
matches is enough, and with `invert_match` one that matches is too much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from ..config.fields import honours
from ..lazy_pattern import lazy_pattern
from .regex import BytesPredicate, compile_regex
from .string import compile_plain_matcher, compile_string_matcher

honours(
    "envoy.config.route.v3.HeaderMatcher",
    "name",
    "string_match",
    "range_match",
    "present_match",
    "exact_match",
    "prefix_match",
    "suffix_match",
    "contains_match",
    "safe_regex_match",
    "invert_match",
    "treat_missing_header_as_empty",
)
honours("envoy.type.v3.Int64Range", "start", "end")

_INTEGER: Final = lazy_pattern(rb"[ \t\n\v\f\r]*([-+]?[0-9]{1,19})[ \t\n\v\f\r]*")


class Headers(Protocol):
    """As much of a header map as matching needs; names are in lower case."""

    def get(self, name: bytes) -> bytes | None: ...
    def get_all(self, name: bytes) -> list[bytes]: ...


class HeaderMatcher:
    """One compiled matcher.

    Attributes:
        name: of the header, in lower case.
        matches: the test.
        description: for explanations, such as `x-user exact "bob"`.
    """

    __slots__ = ("description", "matches", "name")

    def __init__(self, name: bytes, matches: Callable[[Headers], bool], description: str) -> None:
        self.name = name
        self.matches = matches
        self.description = description

    @classmethod
    def from_proto(cls, proto: Any, path: str = "") -> HeaderMatcher:
        """Compile an `envoy.config.route.v3.HeaderMatcher`.

        Raises:
            ConfigError: a wrong regular expression or a custom string matcher.
        """
        name = proto.name.lower().encode()
        kind = proto.WhichOneof("header_match_specifier") or "present_match"
        if kind == "present_match":
            # Nothing but a name asks whether the header is there.
            wanted = (proto.present_match or not proto.HasField("present_match")) != proto.invert_match
            matches = _compile_present(name, wanted, proto.treat_missing_header_as_empty)
            return cls(name, matches, f"{proto.name} {'present' if wanted else 'absent'}")
        test = _compile_value(proto, kind, path)
        matches = _compile_matches(name, test, proto.invert_match, proto.treat_missing_header_as_empty)
        return cls(name, matches, f"{proto.name} {'not ' if proto.invert_match else ''}{_described(proto, kind)}")

    def __repr__(self) -> str:
        return f"HeaderMatcher({self.description})"


def compile_header_matchers(protos: Iterable[Any], path: str = "") -> tuple[HeaderMatcher, ...]:
    """Compile a repeated field; `path` is that of the field."""
    return tuple(HeaderMatcher.from_proto(proto, f"{path}[{index}]") for index, proto in enumerate(protos))


def matches_all(matchers: Iterable[HeaderMatcher], headers: Headers) -> bool:
    """True if every matcher does, also if there is none (`HeaderUtility::matchHeaders`)."""
    return all(matcher.matches(headers) for matcher in matchers)


def _compile_value(proto: Any, kind: str, path: str) -> BytesPredicate:
    if kind == "string_match":
        return compile_string_matcher(proto.string_match, f"{path}.string_match")
    if kind == "safe_regex_match":
        return compile_regex(proto.safe_regex_match, f"{path}.safe_regex_match").full_match
    if kind == "range_match":
        return in_range(proto.range_match.start, proto.range_match.end)
    return compile_plain_matcher(kind.removesuffix("_match"), getattr(proto, kind))


def in_range(start: int, end: int) -> BytesPredicate:
    """Whether a text is a decimal 64-bit integer, from `start` to just below `end`."""

    def test(text: bytes) -> bool:
        number = _INTEGER.fullmatch(text)
        return number is not None and start <= int(number[1]) < end

    return test


def _compile_present(name: bytes, wanted: bool, missing_is_empty: bool) -> Callable[[Headers], bool]:
    if missing_is_empty:
        return lambda headers: wanted
    return lambda headers: (headers.get(name) is not None) == wanted


def _compile_matches(
    name: bytes, test: BytesPredicate, invert: bool, missing_is_empty: bool
) -> Callable[[Headers], bool]:
    of_missing = missing_is_empty and test(b"") != invert

    def matches(headers: Headers) -> bool:
        value = headers.get(name)
        if value is None:
            return of_missing
        if test(value):
            return not invert
        for other in headers.get_all(name)[1:]:
            if test(other):
                return not invert
        return invert

    return matches


def _described(proto: Any, kind: str) -> str:
    if kind == "range_match":
        return f"range [{proto.range_match.start}, {proto.range_match.end})"
    if kind == "string_match":
        inner = proto.string_match
        kind = inner.WhichOneof("match_pattern")
        value = inner.safe_regex.regex if kind == "safe_regex" else getattr(inner, kind)
        return f'{kind} "{value}"' + (" (any case)" if inner.ignore_case else "")
    value = proto.safe_regex_match.regex if kind == "safe_regex_match" else getattr(proto, kind)
    return f'{kind.removesuffix("_match")} "{value}"'
