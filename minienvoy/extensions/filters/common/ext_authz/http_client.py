"""Asks an authorization server that speaks HTTP: it gets the head of the request, and 200 lets it pass.

Envoy: `Filters::Common::ExtAuthz::RawHttpClientImpl`, `ClientConfig`. Statuses of 500 and above are failures of the
server; every other status than 200 is a denial, and the answer becomes the client's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from .....config.api import message_class
from .....config.fields import honours
from .....errors import ConfigError
from .....http.header_map import SUSPECT, HeaderMap, RequestHeaderMap, ResponseHeaderMap
from .....matchers.regex import BytesPredicate
from .....router.header_parser import OVERWRITE_IF_EXISTS_OR_ADD, HeaderParser
from .....server.async_services import async_client, core_retry_policy, host_and_path, retries_by
from .....upstream.async_client import AsyncStream, StreamOptions
from .....upstream.duration import duration_of
from .check_request import PARTIAL_BODY, HeaderRules, compile_key_matchers
from .grpc_client import DEFAULT_TIMEOUT
from .response import CheckStatus, Header, RequestCallbacks, Response

if TYPE_CHECKING:
    from .....router.http_call_span import HttpCallSpan
    from .....server.factory_context import ServerContext
    from .....stream_info import StreamInfo
    from .....upstream.cluster import Cluster
    from .response import Call

_TYPE: Final = "envoy.extensions.filters.http.ext_authz.v3"

honours(
    f"{_TYPE}.HttpService",
    "server_uri",
    "path_prefix",
    "path_override",
    "authorization_request",
    "authorization_response",
    whole=("retry_policy",),
)
honours(f"{_TYPE}.AuthorizationRequest", "allowed_headers", "headers_to_add")
honours(
    f"{_TYPE}.AuthorizationResponse",
    "allowed_upstream_headers",
    "allowed_upstream_headers_to_append",
    "allowed_client_headers",
    "allowed_client_headers_on_success",
    "dynamic_metadata_from_headers",
)

HEADERS_TO_REMOVE: Final = b"x-envoy-auth-headers-to-remove"
_OF_REPLIES: Final = (b":status", b"content-length", b"www-authenticate", b"location")
_OK: Final = 200


class HttpAuthorizationClient:
    """Of one configuration."""

    def __init__(self, proto: Any, path: str, server: ServerContext) -> None:
        """From an `ext_authz.v3.HttpService`; raises ConfigError below `path`."""
        if proto.path_prefix and proto.path_override:
            problem = "Only one of path_prefix or path_override may be set, not both."
            raise ConfigError(problem, f"{path}.path_override")
        for name in ("path_prefix", "path_override"):
            value = getattr(proto, name)
            if value and not value.startswith("/"):
                raise ConfigError(f'{name} should start with "/".', f"{path}.{name}")
        host_and_path(proto.server_uri.uri)
        self._server = server
        self._cluster = proto.server_uri.cluster
        self._timeout = duration_of(proto.server_uri, "timeout", DEFAULT_TIMEOUT)
        self._prefix = proto.path_prefix.encode()
        self._path = proto.path_override.encode()
        option = message_class("envoy.config.core.v3.HeaderValueOption")
        self._headers_to_add = HeaderParser.from_proto(
            [
                option(header=each, append_action=OVERWRITE_IF_EXISTS_OR_ADD)
                for each in proto.authorization_request.headers_to_add
            ],
            (),
            f"{path}.authorization_request.headers",
            server,
        )
        retries = None
        if proto.HasField("retry_policy"):
            for name in ("retry_priority", "retry_host_predicate", "host_selection_retry_max_attempts"):
                if name in {field.name for field, _ in proto.retry_policy.ListFields()}:
                    raise ConfigError(f"{name} is not supported here", f"{path}.retry_policy.{name}")
            policy = core_retry_policy(proto.retry_policy, f"{path}.retry_policy", proto.retry_policy.retry_on)
            retries = retries_by(policy, server)
        self._options = StreamOptions(send_xff=False, retries=retries)
        where, said = f"{path}.authorization_response", proto.authorization_response

        def matchers(name: str) -> BytesPredicate:
            return compile_key_matchers(getattr(said, name), f"{where}.{name}")

        self._to_upstream = matchers("allowed_upstream_headers")
        self._added_upstream = matchers("allowed_upstream_headers_to_append")
        self._to_client = matchers("allowed_client_headers_on_success")
        self._to_metadata = matchers("dynamic_metadata_from_headers")
        listed = matchers("allowed_client_headers")
        # Without a list the client has everything of a denial.
        self._denied: BytesPredicate = lambda name: name != b":authority"
        if said.allowed_client_headers.patterns:
            self._denied = lambda name: name in _OF_REPLIES or listed(name)

    def check(
        self,
        callbacks: RequestCallbacks,
        rules: HeaderRules,
        headers: RequestHeaderMap,
        stream: StreamInfo,
        body: bytes | None,
        partial: bool,
        emits_span: bool,
    ) -> Call | None:
        """Ask about a request whose `headers` go as far as `rules` let them; a `body` of None is not told.

        With `emits_span` this call is told of as the request is; without, its span is not sampled.
        """
        cluster = self._server.cluster_manager.get(self._cluster)
        if cluster is None:
            callbacks.on_complete(Response(CheckStatus.ERROR))
            return None
        told = rules.joined(headers)
        path = self._path or self._prefix + told.pop(b":path", b"")
        request = RequestHeaderMap(told.pop(b":method", b""), path, told.pop(b":authority", b""))
        request.add(b"content-length", b"%d" % len(body or b""))
        for name, value in told.items():
            if name[:1] != b":" and name != b"content-length":
                request.add(name, value)
        if not request.method or not request.path:
            # Who may be told of neither is told of nothing: the codec refuses to send it.
            request.seen |= SUSPECT
        if body is not None:
            request.add(PARTIAL_BODY, b"true" if partial else b"false")
        if self._headers_to_add is not None:
            self._headers_to_add.evaluate(request, stream, headers, None)
        span = None
        if stream.active_span is not None:
            span = _call_span(stream, cluster)
            if not emits_span:
                span.span.sampled = False
            span.inject(request)
        sent = async_client(self._server).send(
            self._cluster, request, body or b"", _Call(callbacks, self), self._timeout, options=self._options, span=span
        )
        return sent if span is None else _TracedCall(sent, span)

    def response_of(self, headers: ResponseHeaderMap, body: bytes) -> Response:
        """What an answer means (`RawHttpClientImpl::toResponse`)."""
        if headers.status >= 500:
            return Response(CheckStatus.ERROR)
        removed = headers.get_all(HEADERS_TO_REMOVE)
        headers.remove(HEADERS_TO_REMOVE)
        if headers.status == _OK:
            response = Response(CheckStatus.OK, _OK)
            for value in removed:
                response.headers_to_remove += [name for each in value.split(b",") if (name := each.strip())]
            kept = self._to_upstream
        else:
            response = Response(CheckStatus.DENIED, headers.status)
            response.body = body
            kept = self._denied
        for name, value in _fields(headers):
            if kept(name):
                response.headers_to_set.append((name, value))
            if self._added_upstream(name):
                response.headers_to_add.append((name, value))
            if self._to_client(name):
                response.response_headers_to_add.append((name, value))
            if self._to_metadata(name):
                response.dynamic_metadata[name.decode("latin-1")] = value.decode("latin-1")
        return response


def _fields(headers: ResponseHeaderMap) -> Iterator[Header]:
    yield b":status", b"%d" % headers.status
    for item in headers.entries:
        yield item[0], item[1]


def _call_span(stream: StreamInfo, cluster: Cluster) -> HttpCallSpan:
    from .call_span import AuthorizationSpan

    return AuthorizationSpan(stream, f"async {cluster.name} egress", cluster)


class _TracedCall:
    """A call that has a span: whoever gives it up ends that, too."""

    def __init__(self, stream: AsyncStream, span: HttpCallSpan) -> None:
        self._stream = stream
        self._span = span

    def reset(self) -> None:
        if not self._stream.done:
            self._span.cancel(self._stream)
        self._stream.reset()


class _Call:
    """One question."""

    def __init__(self, callbacks: RequestCallbacks, client: HttpAuthorizationClient) -> None:
        self._callbacks = callbacks
        self._client = client

    def on_success(self, headers: ResponseHeaderMap, body: bytes, trailers: HeaderMap | None) -> None:
        self._callbacks.on_complete(self._client.response_of(headers, body))

    def on_failure(self) -> None:
        self._callbacks.on_complete(Response(CheckStatus.ERROR))
