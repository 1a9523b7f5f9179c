"""Answers that need no upstream: direct responses and redirects.

Envoy: `Router::DirectResponseEntry`, `RouteEntryImplBase::newUri`; docs "Redirects".
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from ..access_log.context import FormatterContext
from ..config.fields import honours
from ..errors import ConfigError
from ..http.header_map import RequestHeaderMap, ResponseHeaderMap, without_controls
from .common_virtual_host import MAX_DIRECT_RESPONSE_BODY
from .path_rewriter import PathRewriter, format_rewriter, prefix_rewriter, regex_rewriter
from .route_entry import finalize_path_header

if TYPE_CHECKING:
    from ..access_log.substitution_format_string import CompiledFormat
    from ..http.conn_manager_stats import RouterStats
    from ..http.filter_manager import FilterManager
    from ..stream_info import StreamInfo
    from .route_entry import RouteEntry
    from .route_matcher import RouteMatch

honours("envoy.config.route.v3.DirectResponseAction", "status", "body", "body_format")
honours("envoy.config.core.v3.DataSource", "filename", "inline_bytes", "inline_string", "environment_variable")
honours(
    "envoy.config.route.v3.RedirectAction",
    "https_redirect",
    "scheme_redirect",
    "host_redirect",
    "port_redirect",
    "path_redirect",
    "prefix_rewrite",
    "regex_rewrite",
    "path_rewrite",
    "response_code",
    "strip_query",
)

_STATUS: Final = {0: 301, 1: 302, 2: 303, 3: 307, 4: 308}


def read_data_source(source: Any, path: str) -> bytes:
    """What a `DataSource` holds, now.

    Raises:
        ConfigError: the file or the environment variable is not there.
    """
    kind = source.WhichOneof("specifier")
    if kind == "inline_string":
        return bytes(source.inline_string, "utf-8")
    if kind == "inline_bytes":
        return bytes(source.inline_bytes)
    if kind == "environment_variable":
        value = os.environ.get(source.environment_variable)
        if value is None:
            raise ConfigError(f"Environment variable doesn't exist: {source.environment_variable}", path)
        return value.encode()
    if kind == "filename":
        try:
            with open(source.filename, "rb") as file:  # noqa: PTH123
                return file.read()
        except OSError as error:
            raise ConfigError(f"unable to read file: {source.filename}: {error.strerror}", f"{path}.filename") from None
    return b""


class DirectResponseEntry:
    """What a route answers by itself.

    Attributes:
        status, body: of the answer.
        body_format: makes the body of what is known of the request, and of `body`; or None.
        content_type: of that body; empty: as for any other.
        is_redirect: it sends the client elsewhere.
    """

    __slots__ = ()
    status: int
    body = b""
    body_format: CompiledFormat | None = None
    content_type = b""
    is_redirect = True

    def location(self, headers: RequestHeaderMap, stream: StreamInfo) -> bytes | None:
        """Where the client is sent to, if anywhere."""
        raise NotImplementedError

    def answer(self, route: RouteEntry, stream: FilterManager, headers: RequestHeaderMap, stats: RouterStats) -> None:
        stats.rq_direct_response += 1
        location = self.location(headers, stream)
        body, content_type = self.body, self.content_type
        if self.body_format is not None:
            stream.describe()
            context = FormatterContext(stream, headers, local_reply_body=body.decode("latin-1"))
            body = self.body_format.format(context).encode("latin-1", "replace")

        def modify(response: ResponseHeaderMap) -> None:
            if location is not None:
                response.add(b"location", location)
            if content_type:
                response.add(b"content-type", content_type)
            if route.changes_response:
                stream.describe()
            route.finalize_response_headers(response, stream, headers)

        stream.send_local_reply(self.status, body, "direct_response", modify)


class DirectResponse(DirectResponseEntry):
    """A fixed answer."""

    __slots__ = ("body", "body_format", "content_type", "status")
    is_redirect = False

    def __init__(self, proto: Any, path: str, max_body: int = MAX_DIRECT_RESPONSE_BODY, sources: Any = None) -> None:
        self.status = proto.status
        body = read_data_source(proto.body, f"{path}.body")
        if len(body) > max_body:
            raise ConfigError(f"response body size is {len(body)} bytes; maximum is {max_body}", f"{path}.body")
        self.body = body
        self.body_format = None
        self.content_type = b""
        if proto.HasField("body_format"):
            from ..access_log.substitution_format_string import compile_substitution_format, content_type_of

            self.body_format = compile_substitution_format(proto.body_format, sources, f"{path}.body_format")
            if proto.body_format.content_type or proto.body_format.WhichOneof("format") == "json_format":
                self.content_type = content_type_of(proto.body_format).encode()

    def location(self, headers: RequestHeaderMap, stream: StreamInfo) -> bytes | None:
        """As for a redirect that changes nothing: Envoy gives one to whatever has a status that may have a location."""
        if headers.path and (self.status == 201 or 300 <= self.status < 400):
            return b"%b://%b%b" % (headers.scheme, headers.authority, headers.path)
        return None


class Redirect(DirectResponseEntry):
    """Sends the client elsewhere."""

    __slots__ = ("_formats", "_host", "_path", "_port", "_rewriter", "_scheme", "_strip_query", "status")

    def __init__(self, proto: Any, match: RouteMatch, path: str, sources: Any) -> None:
        """Raises ConfigError below `path` for a wrong regular expression or format."""
        self.status = _STATUS[proto.response_code]
        self._scheme = b"https" if proto.https_redirect else proto.scheme_redirect.encode()
        self._host = proto.host_redirect.encode()
        self._port = b":%d" % proto.port_redirect if proto.port_redirect else b""
        self._path = proto.path_redirect.encode()
        self._rewriter: PathRewriter | None = None
        self._formats = False
        kind = proto.WhichOneof("path_rewrite_specifier")
        if kind == "prefix_rewrite" and proto.prefix_rewrite:
            if match.matcher is not None:
                raise ConfigError("Cannot use redirect.prefix_rewrite with path_match_policy", f"{path}.prefix_rewrite")
            self._rewriter = prefix_rewriter(match, proto.prefix_rewrite.encode())
        elif kind == "regex_rewrite":
            self._rewriter = regex_rewriter(proto.regex_rewrite, f"{path}.regex_rewrite")
        elif kind == "path_rewrite" and proto.path_rewrite:
            self._formats = True
            self._rewriter = format_rewriter(proto.path_rewrite, f"{path}.path_rewrite", sources)
        # A query of `path_redirect` is no query of the request.
        self._strip_query = proto.strip_query and b"?" not in self._path

    def location(self, headers: RequestHeaderMap, stream: StreamInfo) -> bytes | None:
        """Where to, for this request; nowhere if it has no path (CONNECT)."""
        if not headers.path:
            return None
        scheme = self._scheme or headers.scheme
        host = self._host or _host_of(headers, scheme, self._port)
        path = headers.path
        if self._path:
            query = path.find(b"?")
            path = self._path if b"?" in self._path or query < 0 else self._path + path[query:]
        elif self._rewriter is not None:
            if self._formats:
                path = without_controls(self._rewriter(headers, stream) or path)
            else:
                # The log shows the path that the client is sent to.
                finalize_path_header(headers, stream, self._rewriter, True)
                path = headers.path
            if path[:1] != b"/":
                path = b"/" + path
        if self._strip_query:
            path = path.partition(b"?")[0]
        return b"%b://%b%b%b" % (scheme, host, self._port, path)


class SslRedirect(DirectResponseEntry):
    """What `require_tls` answers (`SslRedirector`)."""

    __slots__ = ()
    status = 301

    def location(self, headers: RequestHeaderMap, stream: StreamInfo) -> bytes | None:
        if not headers.path:
            return None
        return b"https://%b%b" % (headers.authority, headers.path)


def _host_of(headers: RequestHeaderMap, scheme: bytes, port: bytes) -> bytes:
    """The request's own, without a port that is replaced, or that stood for the scheme that the redirect leaves."""
    host = headers.authority
    at = host.rfind(b"]:") + 1 if host[:1] == b"[" else host.rfind(b":")
    if at <= 0:
        return host
    before = headers.get(b"x-forwarded-proto")
    leaves = before != scheme and (before, host[at:]) in ((b"https", b":443"), (b"http", b":80"))
    return host[:at] if port or leaves else host
