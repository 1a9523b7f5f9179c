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
        return None


class Redirect:
    """Sends the client elsewhere."""

    __slots__ = ("_host", "_https", "_match", "_path", "_port", "_prefix", "_scheme", "_strip_query", "status")
    is_redirect = True
    body = b""

    def __init__(self, proto: Any, match: RouteMatch) -> None:
        self.status = _STATUS[proto.response_code]
        self._match = match
        self._https = proto.https_redirect
        self._scheme = proto.scheme_redirect.lower().encode()
        self._host = proto.host_redirect.encode()
        self._port: int = proto.port_redirect
        self._path = proto.path_redirect.encode()
        self._prefix = (
            proto.prefix_rewrite.encode() if proto.WhichOneof("path_rewrite_specifier") == "prefix_rewrite" else b""
        )
        self._strip_query = proto.strip_query

    def location(self, headers: RequestHeaderMap) -> bytes:
        """Where to, for this request."""
        from .route_entry import rewrite_prefix

        scheme = self._scheme or (b"https" if self._https else headers.get(b"x-forwarded-proto") or b"http")
        host = self._host
        if not host:
            host = headers.authority
            if self._port or self._scheme or self._https:
                host = _without_default_port(host, headers.scheme, bool(self._port))
        port = b":%d" % self._port if self._port else b""
        path = headers.path
        if self._path:
            if b"?" not in self._path and not self._strip_query:
                query = path.find(b"?")
                path = self._path + (path[query:] if query >= 0 else b"")
            else:
                path = self._path
        else:
            if self._prefix:
                # The log shows the path that the client is sent to, or the one it asked for.
                headers.set(b"x-envoy-original-path", path)
                path = headers.path = rewrite_prefix(path, self._match, self._prefix)
            if self._strip_query:
                path = path.partition(b"?")[0]
        return b"%b://%b%b%b" % (scheme, host, port, path)


def _without_default_port(host: bytes, scheme: bytes, replaced: bool) -> bytes:
    """A port that goes with the old scheme, or is replaced, must not follow to the new place."""
    at = host.rfind(b":")
    if at <= host.rfind(b"]") or not host[at + 1 :].isdigit():
        return host
    default = b"443" if scheme == b"https" else b"80"
    return host[:at] if replaced or host[at + 1 :] == default else host
