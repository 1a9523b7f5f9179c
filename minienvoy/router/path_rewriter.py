"""How the path that the upstream sees is made of the one that came.

Envoy: `RouteEntryImplBase::currentUrlPathAfterRewriteWithMatchedPath`; docs "URL rewrites". The query stays as it is,
but for a prefix that reaches into it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..access_log.context import FormatterContext
from ..config import api
from ..errors import ConfigError
from ..http.header_map import SUSPECT, RequestHeaderMap, is_valid_value
from ..matchers.regex import compile_substitution
from ..registry import Registry

if TYPE_CHECKING:
    from ..stream_info import StreamInfo
    from .route_matcher import PathMatcher, RouteMatch

PathRewriter = Callable[[RequestHeaderMap, "StreamInfo"], "bytes | None"]
"""Gives the new path with its query; None leaves it."""

ReplacePath = Callable[[bytes], "bytes | None"]
"""Of a path without its query; None leaves it."""

PATH_REWRITERS: Registry[Callable[[Any, PathMatcher | None, str], ReplacePath]] = Registry("envoy.path.rewrite")
"""`factory(config, the route's matcher if it is an extension, path)`."""


def compile_path_rewriter(action: Any, match: RouteMatch, path: str, sources: Any) -> PathRewriter | None:
    """Of a `RouteAction`; None if it leaves the path.

    Raises:
        ConfigError: a wrong regular expression, template or format.
    """
    if action.prefix_rewrite:
        if match.matcher is not None:
            raise ConfigError("Cannot use prefix_rewrite with matcher extension", f"{path}.prefix_rewrite")
        return prefix_rewriter(match, action.prefix_rewrite.encode())
    if action.path_rewrite:
        return format_rewriter(action.path_rewrite, f"{path}.path_rewrite", sources)
    if action.HasField("regex_rewrite"):
        return regex_rewriter(action.regex_rewrite, f"{path}.regex_rewrite")
    if action.HasField("path_rewrite_policy"):
        return _policy(action.path_rewrite_policy, match, f"{path}.path_rewrite_policy")
    return None


def prefix_rewriter(match: RouteMatch, rewrite: bytes) -> PathRewriter:
    """Put `rewrite` in the place of what was matched: a prefix, or the whole path."""
    if match.rewrites_whole_path or match.prefix is None:
        return lambda headers, stream: rewrite + _query(headers.path)
    prefix, length, sensitive = match.prefix, len(match.prefix), match.case_sensitive
    if sensitive:
        return lambda headers, stream: rewrite + headers.path[length:] if headers.path.startswith(prefix) else None
    lower = prefix.lower()

    def replace(headers: RequestHeaderMap, stream: StreamInfo) -> bytes | None:
        # Parameters that were not looked at for the match may stand in what would be replaced.
        path = headers.path
        return rewrite + path[length:] if path[:length].lower() == lower else None

    return replace


def regex_rewriter(proto: Any, path: str) -> PathRewriter:
    """Replace every match of a pattern in the path without its query; if nothing is left the path stays."""
    substitute = compile_substitution(proto, path)

    def rewrite(headers: RequestHeaderMap, stream: StreamInfo) -> bytes | None:
        query = _query(headers.path)
        new = substitute(headers.path[: len(headers.path) - len(query)])
        return new + query if new else None

    return rewrite


def format_rewriter(text: str, path: str, sources: Any) -> PathRewriter:
    """Put what a format gives in the place of the path; if it gives nothing the path stays."""
    formatter = compile_text(text, path, sources, omit_empty_values=True)

    def rewrite(headers: RequestHeaderMap, stream: StreamInfo) -> bytes | None:
        new = formatter(headers, stream)
        return new + _query(headers.path) if new else None

    return rewrite


def compile_text(
    text: str, path: str, sources: Any, omit_empty_values: bool = False
) -> Callable[[RequestHeaderMap, StreamInfo], bytes]:
    """A format in the language of the access log, of a request that has no response yet."""
    from ..access_log.formatter import compile_format

    formatter = compile_format(text, sources, omit_empty_values=omit_empty_values, path=path)

    def text_of(headers: RequestHeaderMap, stream: StreamInfo) -> bytes:
        made = formatter.format(FormatterContext(stream, headers, None)).encode("latin-1")
        if not is_valid_value(made):
            headers.seen |= SUSPECT
        return made

    return text_of


def _policy(policy: Any, match: RouteMatch, path: str) -> PathRewriter:
    here = f"{path}.typed_config"
    found = PATH_REWRITERS.find(policy.typed_config.type_url, here, policy.name)
    replace = found.factory(api.unpack(policy.typed_config, here, validate=True), match.matcher, here)

    def rewrite(headers: RequestHeaderMap, stream: StreamInfo) -> bytes | None:
        query = _query(headers.path)
        new = replace(headers.path[: len(headers.path) - len(query)])
        return None if new is None else new + query

    return rewrite


def _query(path: bytes) -> bytes:
    at = path.find(b"?")
    return b"" if at < 0 else path[at:]
