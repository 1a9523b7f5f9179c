"""Whether a string is what the configuration asks for.

Envoy: `Matchers::StringMatcherImpl`. A matcher is compiled to a function on bytes. Case is ignored for ASCII letters
only.
"""

from __future__ import annotations

from typing import Any

from ..config.fields import honours
from ..errors import ConfigError
from .regex import BytesPredicate, compile_regex

honours(
    "envoy.type.matcher.v3.StringMatcher",
    "exact",
    "prefix",
    "suffix",
    "safe_regex",
    "contains",
    "ignore_case",
)
honours(
    "xds.type.matcher.v3.StringMatcher",
    "exact",
    "prefix",
    "suffix",
    "safe_regex",
    "contains",
    "ignore_case",
)
honours("envoy.type.matcher.v3.ListStringMatcher", "patterns")


def compile_string_matcher(proto: Any, path: str = "") -> BytesPredicate:
    """Compile an `envoy.type.matcher.v3.StringMatcher`.

    Raises:
        ConfigError: a wrong regular expression, `ignore_case` with one, or a custom matcher.
    """
    kind = proto.WhichOneof("match_pattern")
    if kind == "safe_regex":
        if proto.ignore_case:
            raise ConfigError(
                "ignore_case has no effect for safe_regex.", f"{path}.ignore_case", remedy="begin the regex with (?i)"
            )
        return compile_regex(proto.safe_regex, f"{path}.safe_regex").full_match
    if kind not in ("exact", "prefix", "suffix", "contains"):
        raise ConfigError("custom string matchers are not supported", f"{path}.{kind or 'match_pattern'}")
    return compile_plain_matcher(kind, getattr(proto, kind), proto.ignore_case)


def compile_plain_matcher(kind: str, pattern: str, ignore_case: bool = False) -> BytesPredicate:
    """`kind` is `exact`, `prefix`, `suffix` or `contains`."""
    wanted = pattern.encode()
    if not ignore_case:
        if kind == "exact":
            return wanted.__eq__
        if kind == "prefix":
            return lambda text: text.startswith(wanted)
        if kind == "suffix":
            return lambda text: text.endswith(wanted)
        return lambda text: wanted in text
    wanted = wanted.lower()
    if kind == "exact":
        return lambda text: text.lower() == wanted
    if kind == "prefix":
        return lambda text: text.lower().startswith(wanted)
    if kind == "suffix":
        return lambda text: text.lower().endswith(wanted)
    return lambda text: wanted in text.lower()
