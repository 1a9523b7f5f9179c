"""URI templates: `/videos/{id}/{rest=**}` matches paths, and what its variables caught can be put into another path.

Envoy: `Extensions::UriTemplate` (path/match/uri_template, path/rewrite/uri_template). A template is compiled to a
regular expression: `*` is one segment, `**` is what remains, a variable is a `*` unless it says what it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from ...config.fields import honours
from ...errors import ConfigError
from ...matchers.regex import compile_pattern
from ...router.path_rewriter import PATH_REWRITERS, ReplacePath
from ...router.route_matcher import PATH_MATCHERS, PathMatcher

URI_TEMPLATE_MATCH: Final = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
URI_TEMPLATE_REWRITE: Final = "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig"
MATCHER_NAME: Final = "envoy.path.match.uri_template.uri_template_matcher"
REWRITER_NAME: Final = "envoy.path.rewrite.uri_template.uri_template_rewriter"

honours(URI_TEMPLATE_MATCH, "path_template")
honours(URI_TEMPLATE_REWRITE, "path_template_rewrite")

MAX_VARIABLES: Final = 5
MAX_NAME: Final = 16
_LITERAL: Final = r"a-zA-Z0-9\-._~%!$&'()+,;:@="
_VALUE: Final = _LITERAL + "*"
_ONE: Final = f"[{_VALUE}]+"
_REST: Final = f"[{_VALUE}/]*"
_IS_LITERAL: Final = re.compile(f"[{_LITERAL}]+")
_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")
_REWRITE: Final = re.compile(r"([^{}]+)|\{([^{}]*)\}")
_REWRITE_LITERAL: Final = re.compile(f"[{_LITERAL}*/]*")


class UriTemplate(PathMatcher):
    """A compiled `path_template`.

    Attributes:
        description: the template as it was written.
        variables: their names, in order.
        full_match: the match of a path without query, or None.
    """

    __slots__ = ("full_match", "variables")

    def __init__(self, template: str, path: str) -> None:
        """Raises ConfigError if it is no template."""
        self.description = template
        try:
            regex, self.variables = _Parser(template).parse()
        except ValueError as error:
            raise ConfigError(
                f"path_match_policy.path_template {template} is invalid", path, remedy=f"{error}"
            ) from None
        self.full_match: Callable[[bytes], Any] = compile_pattern(regex, path).fullmatch

    def matches(self, path: bytes) -> bool:
        return self.full_match(path) is not None


class _Parser:
    """One pass from left to right; what can not be understood is a ValueError that says so."""

    def __init__(self, template: str) -> None:
        self._rest = template
        self._variables: list[str] = []
        self._seen_rest = False

    def parse(self) -> tuple[str, tuple[str, ...]]:
        if not self._rest.startswith("/"):
            raise ValueError("it must begin with /")
        regex = ""
        while self._rest.startswith("/"):
            self._rest = self._rest[1:]
            regex += "/" + self._segment()
        if self._rest:
            # What follows the last operator without a slash, as in `/{file}.m3u8`.
            regex += self._literal(re.compile(r"[^/]*"))
            if self._rest:
                raise ValueError("only the last segment can end in a literal")
        return regex, tuple(self._variables)

    def _segment(self) -> str:
        if self._rest.startswith("{"):
            return self._variable()
        if self._rest.startswith("*"):
            return self._operator()
        if not self._rest:
            return ""
        return self._literal(re.compile(r"[^/*{}]*"))

    def _operator(self) -> str:
        if self._seen_rest:
            raise ValueError("nothing that varies can follow **")
        if self._rest.startswith("**"):
            self._rest = self._rest[2:]
            self._seen_rest = True
            return _REST
        self._rest = self._rest[1:]
        return _ONE

    def _literal(self, until: re.Pattern[str]) -> str:
        found = until.match(self._rest)
        text = found.group() if found is not None else ""
        if not _IS_LITERAL.fullmatch(text):
            raise ValueError(f"{text or self._rest!r} is no literal")
        self._rest = self._rest[len(text) :]
        return re.escape(text)

    def _variable(self) -> str:
        if self._seen_rest:
            raise ValueError("nothing that varies can follow **")
        inside, brace, after = self._rest[1:].partition("}")
        if not brace:
            raise ValueError("a { has no }")
        name, equals, pattern = inside.partition("=")
        if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
            raise ValueError(f"{name!r} is no name of a variable: it has 1 to {MAX_NAME} letters, digits and _")
        if name in self._variables:
            raise ValueError(f"variable {name} stands twice")
        if len(self._variables) == MAX_VARIABLES:
            raise ValueError(f"there are more than {MAX_VARIABLES} variables")
        if equals and not pattern:
            raise ValueError(f"variable {name} has an empty pattern")
        self._variables.append(name)
        self._rest = after
        if not equals:
            return f"({_ONE})"
        outer, self._rest = self._rest, pattern
        parts = []
        while self._rest:
            parts.append(self._operator() if self._rest.startswith("*") else self._literal(re.compile(r"[^/*{}]*")))
            if self._rest and not self._rest.startswith("/"):
                raise ValueError(f"segments in variable {name} are separated by /")
            if self._rest == "/":
                raise ValueError(f"variable {name} ends in /")
            self._rest = self._rest[1:]
        self._rest = outer
        return "(" + "/".join(parts) + ")"


@PATH_MATCHERS.register(MATCHER_NAME, URI_TEMPLATE_MATCH)
def create_uri_template_matcher(config: Any, path: str) -> PathMatcher:
    return UriTemplate(config.path_template, f"{path}.path_template")


@PATH_REWRITERS.register(REWRITER_NAME, URI_TEMPLATE_REWRITE)
def create_uri_template_rewriter(config: Any, matcher: PathMatcher | None, path: str) -> ReplacePath:
    if not isinstance(matcher, UriTemplate):
        raise ConfigError(f"unable to use {REWRITER_NAME} extension without {MATCHER_NAME} extension", path)
    return compile_uri_template_rewrite(config.path_template_rewrite, matcher, f"{path}.path_template_rewrite")


def compile_uri_template_rewrite(rewrite: str, template: UriTemplate, path: str) -> Callable[[bytes], bytes | None]:
    """What makes the new path of one that `template` matches; None if it does not match it.

    Raises:
        ConfigError: it is no template, or has variables that `template` has not.
    """
    wrong = ConfigError(f"path_rewrite_policy.path_template_rewrite {rewrite} is invalid", path)
    if not rewrite.startswith("/"):
        raise wrong
    pieces: list[bytes | int] = []
    at = 0
    while at < len(rewrite):
        found = _REWRITE.match(rewrite, at)
        if found is None:
            raise wrong
        at = found.end()
        literal, name = found.groups()
        if name is None:
            if not _REWRITE_LITERAL.fullmatch(literal) or "//" in literal:
                raise wrong
            pieces.append(literal.encode())
        elif name in template.variables:
            pieces.append(template.variables.index(name) + 1)
        elif _NAME.fullmatch(name):
            raise ConfigError(
                f"mismatch between path_match_policy {template.description} and path_rewrite_policy {rewrite}", path
            )
        else:
            raise wrong
    full_match = template.full_match

    def substitute(path: bytes) -> bytes | None:
        match = full_match(path)
        if match is None:
            return None
        return b"".join(piece if isinstance(piece, bytes) else match.group(piece) for piece in pieces)

    return substitute
