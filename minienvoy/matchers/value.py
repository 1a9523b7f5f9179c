"""Whether a plain value, or a value in metadata, is what the configuration asks for.

Envoy: `Matchers::ValueMatcher` and its children, `Matchers::MetadataMatcher`. Values are what JSON has: None, bool,
number, str, list, dict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..config.fields import honours
from ..errors import ConfigError
from .string import compile_string_matcher

honours(
    "envoy.type.matcher.v3.ValueMatcher",
    "null_match",
    "double_match",
    "string_match",
    "bool_match",
    "present_match",
    "list_match",
    "or_match",
)
honours("envoy.type.matcher.v3.ValueMatcher.NullMatch")
honours("envoy.type.matcher.v3.DoubleMatcher", "range", "exact")
honours("envoy.type.v3.DoubleRange", "start", "end")
honours("envoy.type.matcher.v3.ListMatcher", "one_of")
honours("envoy.type.matcher.v3.OrMatcher", "value_matchers")
honours("envoy.type.matcher.v3.MetadataMatcher", "filter", "path", "value", "invert")
honours("envoy.type.matcher.v3.MetadataMatcher.PathSegment", "key")

ValuePredicate = Callable[[Any], bool]


class _Missing:
    """What is looked for and not there; `null_match` and `present_match` tell it from None."""


MISSING = _Missing()


def compile_value_matcher(proto: Any, path: str = "") -> ValuePredicate:
    """Compile an `envoy.type.matcher.v3.ValueMatcher`.

    Raises:
        ConfigError: a wrong regular expression or a custom string matcher.
    """
    kind = proto.WhichOneof("match_pattern")
    if kind == "null_match":
        return lambda value: value is None
    if kind == "double_match":
        return _compile_double(proto.double_match)
    if kind == "string_match":
        test = compile_string_matcher(proto.string_match, f"{path}.string_match")
        return lambda value: isinstance(value, str) and test(value.encode("utf-8", "surrogateescape"))
    if kind == "bool_match":
        wanted = proto.bool_match
        return lambda value: value is wanted
    if kind == "present_match":
        present = proto.present_match
        return lambda value: (value is not MISSING) == present
    if kind == "list_match":
        one = compile_value_matcher(proto.list_match.one_of, f"{path}.list_match.one_of")
        return lambda value: isinstance(value, (list, tuple)) and any(map(one, value))
    if kind == "or_match":
        several = [
            compile_value_matcher(inner, f"{path}.or_match.value_matchers[{index}]")
            for index, inner in enumerate(proto.or_match.value_matchers)
        ]
        return lambda value: any(test(value) for test in several)
    raise ConfigError("a value matcher needs a match_pattern", path)


def _compile_double(proto: Any) -> ValuePredicate:
    if proto.WhichOneof("match_pattern") == "range":
        start, end = proto.range.start, proto.range.end
        return lambda value: _is_number(value) and start <= value < end
    exact = proto.exact
    return lambda value: _is_number(value) and value == exact


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class MetadataMatcher:
    """A compiled `envoy.type.matcher.v3.MetadataMatcher`.

    Attributes:
        filter: the namespace in the metadata.
        path: the keys below it.
    """

    __slots__ = ("_invert", "_test", "filter", "path")

    def __init__(self, filter: str, path: tuple[str, ...], test: ValuePredicate, invert: bool = False) -> None:
        self.filter = filter
        self.path = path
        self._test = test
        self._invert = invert

    @classmethod
    def from_proto(cls, proto: Any, path: str = "") -> MetadataMatcher:
        """Raises ConfigError as `compile_value_matcher` does."""
        keys = tuple(segment.key for segment in proto.path)
        return cls(proto.filter, keys, compile_value_matcher(proto.value, f"{path}.value"), proto.invert)

    def find(self, metadata: Mapping[str, Any] | None) -> Any:
        """The value that is asked about, or `MISSING`."""
        value: Any = metadata
        for key in (self.filter, *self.path):
            if not isinstance(value, Mapping) or key not in value:
                return MISSING
            value = value[key]
        return value

    def matches(self, metadata: Mapping[str, Any] | None) -> bool:
        return self._test(self.find(metadata)) != self._invert
