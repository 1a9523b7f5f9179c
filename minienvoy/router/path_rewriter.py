"""How the path that the upstream sees is made of the one that came.

Envoy: `RouteEntryImplBase::currentUrlPathAfterRewriteWithMatchedPath`; docs "URL rewrites". The query stays as it is,
but for a prefix that reaches into it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..access_log.context import FormatterContext
from ..access_log.formatter import compile_format
from ..config import api
from ..config.fields import honours
from ..errors import ConfigError
from ..http.header_map import RequestHeaderMap
from ..matchers.regex import compile_substitution
from .uri_template import URI_TEMPLATE_REWRITE, compile_uri_template_rewrite

if TYPE_CHECKING:
    from ..stream_info import StreamInfo
    from .route_matcher import RouteMatch

honours("envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig", "path_template_rewrite")

PathRewriter = Callable[[RequestHeaderMap, "StreamInfo"], "bytes | None"]
"""Gives the new path with its query; None leaves it."""

ORIGINAL_PATH: Final = b"x-envoy-original-path"


def compile_path_rewriter(action: Any, match: RouteMatch, path: str, sources: Any) -> PathRewriter | None:
    """Of a `RouteAction`; None if it leaves the path.

    Raises:
        ConfigError: more than one way is asked for, a wrong regular expression, template or format.
    """
    messages = ("regex_rewrite", "path_rewrite_policy")
    asked = [bool(action.prefix_rewrite), bool(action.path_rewrite), *(action.HasField(name) for name in messages)]
    if asked.count(True) > 1:
        raise ConfigError("Specify only one of prefix_rewrite, regex_rewrite or path_rewrite_policy", path)
    if action.prefix_rewrite:
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
    length = len(match.prefix)
    return lambda headers, stream: rewrite + headers.path[length:]


def regex_rewriter(proto: Any, path: str) -> PathRewriter:
    """Replace every match of a pattern in the path without its query."""
    substitute = compile_substitution(proto, path)

    def rewrite(headers: RequestHeaderMap, stream: StreamInfo) -> bytes:
        query = _query(headers.path)
        return substitute(headers.path[: len(headers.path) - len(query)]) + query

    return rewrite


def format_rewriter(text: str, path: str, sources: Any) -> PathRewriter:
    """Put what a format gives in the place of the path; if it gives nothing the path stays."""
    formatter = compile_text(text, path, sources)

    def rewrite(headers: RequestHeaderMap, stream: StreamInfo) -> bytes | None:
        new = formatter(headers, stream)
        return new + _query(headers.path) if new else None

    return rewrite


def compile_text(text: str, path: str, sources: Any) -> Callable[[RequestHeaderMap, StreamInfo], bytes]:
    """A format in the language of the access log, of a request that has no response yet."""
    try:
        formatter = compile_format(text, sources, omit_empty_values=True)
    except ConfigError as error:
        raise ConfigError(error.problem, path, remedy=error.remedy) from None
    return lambda headers, stream: formatter.format(FormatterContext(stream, headers, None)).encode("latin-1")


def rewrite_path(headers: RequestHeaderMap, stream: StreamInfo, rewriter: PathRewriter, keep_original: bool) -> None:
    """Rewrite, and keep the path that came in `x-envoy-original-path`."""
    new = rewriter(headers, stream)
    if new is None:
        return
    if keep_original:
        headers.set(ORIGINAL_PATH, headers.path)
    headers.path = new


def _policy(policy: Any, match: RouteMatch, path: str) -> PathRewriter:
    if policy.typed_config.type_url.rpartition("/")[2] != URI_TEMPLATE_REWRITE:
        problem = f"Didn't find a registered implementation for {policy.name}"
        raise ConfigError(problem, path, remedy="the only policy is a UriTemplateRewriteConfig")
    template = api.unpack(policy.typed_config, f"{path}.typed_config", validate=True)
    if match.uri_template is None:
        raise ConfigError(
            f"unable to use {policy.name} extension without envoy.path.match.uri_template.uri_template_matcher "
            "extension",
            path,
        )
    substitute = compile_uri_template_rewrite(
        template.path_template_rewrite, match.uri_template, f"{path}.typed_config.path_template_rewrite"
    )

    def rewrite(headers: RequestHeaderMap, stream: StreamInfo) -> bytes | None:
        query = _query(headers.path)
        new = substitute(headers.path[: len(headers.path) - len(query)])
        return None if new is None else new + query

    return rewrite


def _query(path: bytes) -> bytes:
    at = path.find(b"?")
    return b"" if at < 0 else path[at:]
