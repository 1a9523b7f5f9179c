"""Whether a query string has the parameters that the configuration asks for.

Envoy: `Router::ConfigUtility::QueryParameterMatcher`, `Http::Utility::QueryParamsMulti`. Names and values are compared
as they were sent, without decoding; of a parameter that is repeated, only the first value counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..config.fields import honours
from .string import compile_string_matcher

honours("envoy.config.route.v3.QueryParameterMatcher", "name", "string_match", "present_match")

QueryParameters = Mapping[bytes, bytes]


def parse_query(path: bytes) -> dict[bytes, bytes]:
    """The parameters of a path: name -> first value, empty for a name without `=`."""
    query = path.partition(b"?")[2]
    parameters: dict[bytes, bytes] = {}
    if query:
        for pair in query.split(b"&"):
            name, _, value = pair.partition(b"=")
            parameters.setdefault(name, value)
    return parameters


class QueryParameterMatcher:
    """One compiled matcher; `matches` takes what `parse_query` gives."""

    __slots__ = ("description", "matches", "name")

    def __init__(self, name: bytes, matches: Callable[[QueryParameters], bool], description: str) -> None:
        self.name = name
        self.matches = matches
        self.description = description

    @classmethod
    def from_proto(cls, proto: Any, path: str = "") -> QueryParameterMatcher:
        """Compile an `envoy.config.route.v3.QueryParameterMatcher`.

        Raises:
            ConfigError: a wrong regular expression or a custom string matcher.
        """
        name = proto.name.encode()
        if proto.WhichOneof("query_parameter_match_specifier") == "string_match":
            test = compile_string_matcher(proto.string_match, f"{path}.string_match")

            def matches(parameters: QueryParameters) -> bool:
                value = parameters.get(name)
                return value is not None and test(value)

            return cls(name, matches, f"{proto.name} {proto.string_match.WhichOneof('match_pattern')}")
        wanted = proto.present_match or not proto.HasField("present_match")
        return cls(
            name,
            lambda parameters: (name in parameters) == wanted,
            f"{proto.name} {'present' if wanted else 'absent'}",
        )

    def __repr__(self) -> str:
        return f"QueryParameterMatcher({self.description})"


def compile_query_parameter_matchers(protos: Iterable[Any], path: str = "") -> tuple[QueryParameterMatcher, ...]:
    """Compile a repeated field; `path` is that of the field."""
    return tuple(QueryParameterMatcher.from_proto(proto, f"{path}[{index}]") for index, proto in enumerate(protos))
