"""Answers that need no upstream: direct responses and redirects.

Envoy: `Router::DirectResponseEntry`, `RouteEntryImplBase::newUri`; docs "Redirects".
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..config.fields import honours
from ..errors import ConfigError
from ..http.header_map import RequestHeaderMap

if TYPE_CHECKING:
    from .route_matcher import RouteMatch

honours("envoy.config.route.v3.DirectResponseAction", "status", "body")
honours("envoy.config.core.v3.DataSource", "filename", "inline_bytes", "inline_string", "environment_variable")
honours(
    "envoy.config.route.v3.RedirectAction",
    "https_redirect",
    "scheme_redirect",
    "host_redirect",
    "port_redirect",
    "path_redirect",
    "prefix_rewrite",
    "response_code",
    "strip_query",
)

MAX_BODY: Final = 4096
"""`max_direct_response_body_size_bytes` when it is not set."""
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
            return Path(source.filename).read_bytes()
        except OSError as error:
            raise ConfigError(f"unable to read file: {source.filename}: {error.strerror}", f"{path}.filename") from None
    return b""


class DirectResponse:
    """A fixed answer.

    Attributes:
        status, body: of the answer.
        is_redirect: False.
    """

    __slots__ = ("body", "status")
    is_redirect = False

    def __init__(self, proto: Any, path: str, max_body: int = MAX_BODY) -> None:
        self.status: int = proto.status
        body = read_data_source(proto.body, f"{path}.body")
        if len(body) > max_body:
            raise ConfigError(f"response body size is {len(body)} bytes; maximum is {max_body}", f"{path}.body")
        self.body = body

    def location(self, headers: RequestHeaderMap) -> bytes | None:
        """As for a redirect that changes nothing: Envoy gives one to whatever has a status that may have a location."""
        if self.status == 201 or 300 <= self.status < 400:
            return b"%b://%b%b" % (headers.scheme, headers.authority, headers.path)
        return None


class Redirect:
    """Sends the client elsewhere."""

    __slots__ = ("_host", "_match", "_path", "_port", "_prefix", "_scheme", "_strip_query", "status")
    is_redirect = True
    body = b""

    def __init__(self, proto: Any, match: RouteMatch) -> None:
        self.status = _STATUS[proto.response_code]
        self._match = match
        self._scheme = b"https" if proto.https_redirect else proto.scheme_redirect.encode()
        self._host = proto.host_redirect.encode()
        self._port = b":%d" % proto.port_redirect if proto.port_redirect else b""
        self._path = proto.path_redirect.encode()
        self._prefix = (
            proto.prefix_rewrite.encode() if proto.WhichOneof("path_rewrite_specifier") == "prefix_rewrite" else b""
        )
        # A query of `path_redirect` is no query of the request.
        self._strip_query = proto.strip_query and b"?" not in self._path

    def location(self, headers: RequestHeaderMap) -> bytes:
        """Where to, for this request."""
        from .route_entry import rewrite_prefix

        scheme = self._scheme or headers.scheme
        host = self._host or _host_of(headers, scheme, self._port)
        path = headers.path
        if self._path:
            query = path.find(b"?")
            path = self._path if b"?" in self._path or query < 0 else self._path + path[query:]
        elif self._prefix:
            # The log shows the path that the client is sent to, or the one it asked for.
            headers.set(b"x-envoy-original-path", path)
            path = headers.path = rewrite_prefix(path, self._match, self._prefix)
        if self._strip_query:
            path = path.partition(b"?")[0]
        return b"%b://%b%b%b" % (scheme, host, self._port, path)


def _host_of(headers: RequestHeaderMap, scheme: bytes, port: bytes) -> bytes:
    """The request's own, without a port that is replaced, or that stood for the scheme that the redirect leaves."""
    host = headers.authority
    at = host.rfind(b"]:") + 1 if host[:1] == b"[" else host.rfind(b":")
    if at <= 0:
        return host
    before = headers.get(b"x-forwarded-proto")
    leaves = before != scheme and (before, host[at:]) in ((b"https", b":443"), (b"http", b":80"))
    return host[:at] if port or leaves else host
