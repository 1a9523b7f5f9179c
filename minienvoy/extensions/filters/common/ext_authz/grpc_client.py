"""Asks an authorization server that speaks gRPC: `envoy.service.auth.v3.Authorization/Check`.

Envoy: `Filters::Common::ExtAuthz::GrpcClientImpl`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

from .....config.api import message_class, struct_to_dict
from .....errors import ConfigError
from .....server.async_services import GrpcServiceConfig
from .....upstream.duration import duration_of
from .....upstream.grpc_client import INTERNAL, OK, GrpcStream
from .response import FORBIDDEN, CheckStatus, RequestCallbacks, Response

if TYPE_CHECKING:
    from .....http.header_map import RequestHeaderMap
    from .....server.factory_context import ServerContext
    from .....stream_info import StreamInfo
    from .....tracing.call_span import GrpcCallSpan

METHOD: Final = "envoy.service.auth.v3.Authorization/Check"
DEFAULT_TIMEOUT: Final = 0.2
STATUS_TAG: Final = "ext_authz_status"
STATUS_OK: Final = "ext_authz_ok"
STATUS_UNAUTHORIZED: Final = "ext_authz_unauthorized"
_V2: Final = 1  # of `core.v3.ApiVersion`
_ADD, _ADD_IF_ABSENT, _OVERWRITE_OR_ADD, _OVERWRITE = range(4)  # of `HeaderValueOption.HeaderAppendAction`


def refuse_old_api(proto: Any) -> None:
    """Raises ConfigError if `transport_api_version` asks for messages that are gone."""
    if proto.transport_api_version == _V2:
        raise ConfigError("v2 of the API is not there any more", "transport_api_version", remedy="set it to V3")


class GrpcAuthorizationClient:
    """Of one configuration."""

    def __init__(self, proto: Any, path: str, server: ServerContext) -> None:
        """From a `GrpcService`; raises ConfigError below `path`."""
        self._service = GrpcServiceConfig.from_proto(proto, path, server)
        self._timeout = duration_of(proto, "timeout", DEFAULT_TIMEOUT)
        self._client = self._service.client(server)
        self._response = message_class("envoy.service.auth.v3.CheckResponse")

    def check(
        self, callbacks: RequestCallbacks, request: Any, stream: StreamInfo, headers: RequestHeaderMap | None = None
    ) -> GrpcStream:
        """`request` is a `CheckRequest` on behalf of `stream`, whose headers are `headers`."""
        metadata = self._service.call_metadata(stream, headers)
        span = self._service.call_span(stream, METHOD)
        call = _Call(callbacks, self._response, span)
        return self._client.send(METHOD, request.SerializeToString(), call, self._timeout, metadata, span)


class _Call:
    """One question."""

    def __init__(self, callbacks: RequestCallbacks, response: Any, span: GrpcCallSpan | None) -> None:
        self._callbacks = callbacks
        self._span = span
        self._response = response

    def on_success(self, message: bytes) -> None:
        try:
            decision = self._response.FromString(message)
        except DecodeError:
            self.on_failure(INTERNAL, "")
            return
        if self._span is not None:
            self._span.tag(STATUS_TAG, STATUS_OK if decision.status.code == OK else STATUS_UNAUTHORIZED)
        self._callbacks.on_complete(response_of(decision))

    def on_failure(self, status: int, message: str) -> None:
        response = Response(CheckStatus.ERROR)
        response.grpc_status = status
        self._callbacks.on_complete(response)


def response_of(decision: Any) -> Response:
    """From a `CheckResponse`."""
    kind = decision.WhichOneof("http_response")
    if decision.status.code == OK:
        response = Response(CheckStatus.OK, 200)
        if kind == "ok_response":
            _take_ok(response, decision.ok_response)
    elif kind == "error_response":
        response = Response(CheckStatus.ERROR, decision.error_response.status.code)
        _take_reply(response, decision.error_response)
    else:
        response = Response(CheckStatus.DENIED, FORBIDDEN)
        if kind == "denied_response":
            response.status_code = decision.denied_response.status.code or FORBIDDEN
            _take_reply(response, decision.denied_response)
    response.grpc_status = decision.status.code
    metadata = decision.dynamic_metadata
    if kind == "ok_response" and decision.ok_response.HasField("dynamic_metadata"):
        metadata = decision.ok_response.dynamic_metadata
    response.dynamic_metadata = struct_to_dict(metadata)
    return response


def _take_ok(response: Response, ok: Any) -> None:
    _take_request_headers(response, ok.headers)
    for option in ok.response_headers_to_add:
        if option.HasField("append"):
            action = _ADD if option.append.value else _OVERWRITE_OR_ADD
        else:
            action = option.append_action
        place = {
            _ADD: response.response_headers_to_add,
            _ADD_IF_ABSENT: response.response_headers_to_add_if_absent,
            _OVERWRITE_OR_ADD: response.response_headers_to_set,
            _OVERWRITE: response.response_headers_to_overwrite_if_exists,
        }.get(action)
        if place is None:
            response.invalid_action = True
        else:
            place.append((option.header.key.encode(), option.header.value.encode()))
    response.headers_to_remove = [name.encode() for name in ok.headers_to_remove]
    response.query_parameters_to_set = [(each.key.encode(), each.value.encode()) for each in ok.query_parameters_to_set]
    response.query_parameters_to_remove = [name.encode() for name in ok.query_parameters_to_remove]


def _take_reply(response: Response, reply: Any) -> None:
    _take_request_headers(response, reply.headers)
    response.body = reply.body.encode()


def _take_request_headers(response: Response, options: Iterable[Any]) -> None:
    """Only the old `append` counts here: actions are not looked at, and whatever is not appended replaces."""
    for option in options:
        place = response.headers_to_append if option.append.value else response.headers_to_set
        place.append((option.header.key.encode(), option.header.value.encode()))
