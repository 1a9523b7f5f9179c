"""Regular expressions with RE2's meaning and RE2's promise: linear time, whatever the peer sends.

Envoy: `Regex::CompiledGoogleReMatcher`. Patterns and texts are bytes, and `.` is one byte. The `re2` package is
imported when the first pattern is compiled.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..config.fields import honours
from ..errors import ConfigError

honours(
    "envoy.type.matcher.v3.RegexMatcher",
    "regex",
    ignored={"google_re2": "there is no other engine"},
)
honours(
    "xds.type.matcher.v3.RegexMatcher",
    "regex",
    ignored={"google_re2": "there is no other engine"},
)
honours("envoy.type.matcher.v3.RegexMatchAndSubstitute", "pattern", "substitution")

BytesPredicate = Callable[[bytes], bool]


def compile_pattern(regex: str, path: str = "") -> Any:
    """A compiled pattern of the `re2` package, over bytes.

    Raises:
        ConfigError: in RE2's words.
    """
    import re2

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    try:
        return re2.compile(regex.encode(), options)
    except re2.error as error:
        problem = error.args[0]
        if isinstance(problem, bytes):
            problem = problem.decode("utf-8", "replace")
        raise ConfigError(problem, path) from None


class CompiledRegex:
    """One pattern (`Regex::CompiledMatcher`).

    Attributes:
        regex: as it was written.
        full_match: whether all of a text matches.
    """

    __slots__ = ("full_match", "regex")

    def __init__(self, regex: str, path: str = "") -> None:
        """Raises ConfigError if the pattern is wrong."""
        self.regex = regex
        match = compile_pattern(regex, path).fullmatch
        self.full_match: BytesPredicate = lambda text: match(text) is not None

    def __repr__(self) -> str:
        return f"CompiledRegex({self.regex!r})"


def compile_regex(proto: Any, path: str = "") -> CompiledRegex:
    """Compile an `envoy.type.matcher.v3.RegexMatcher`.

    Raises:
        ConfigError: the pattern is wrong.
    """
    return CompiledRegex(proto.regex, f"{path}.regex")


def compile_substitution(proto: Any, path: str = "") -> Callable[[bytes], bytes]:
    r"""Compile a `RegexMatchAndSubstitute`, which replaces every match.

    In the substitution `\1` to `\9` are groups, `\0` is the match, `\\` a backslash. As in Envoy a wrong substitution
    is no error: with a group that the pattern does not have nothing is replaced, and from any other `\` on it is cut.

    Raises:
        ConfigError: the pattern is wrong.
    """
    pattern = compile_pattern(proto.pattern.regex, f"{path}.pattern.regex")
    pieces: list[bytes | int] = []
    for literal, escaped in re.findall(rb"([^\\]+)|\\(.?)", proto.substitution.encode(), re.DOTALL):
        if literal or escaped == b"\\":
            pieces.append(literal or b"\\")
        elif not escaped.isdigit():
            break
        elif int(escaped) > pattern.groups:
            return lambda text: text
        else:
            pieces.append(int(escaped))
    substitute = pattern.sub

    def replace(text: bytes) -> bytes:
        end = -1

        def expand(match: Any) -> bytes:
            nonlocal end
            before, end = end, match.end()
            if match.start() == end == before:
                return b""  # RE2 does not take nothing for another match where one has just ended
            return b"".join(piece if isinstance(piece, bytes) else match.group(piece) or b"" for piece in pieces)

        return bytes(substitute(expand, text))

    return replace
