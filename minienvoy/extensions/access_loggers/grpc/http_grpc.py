"""`envoy.access_loggers.http_grpc`: an entry for each request, sent to an access log service.

Envoy: `AccessLoggers::HttpGrpc::HttpGrpcAccessLog`; `envoy.data.accesslog.v3.HTTPAccessLogEntry`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from ....access_log.access_log import ACCESS_LOGGERS, AccessLogContext, Emit
from ....access_log.context import FormatterContext, Headers
from ....config.api import message_class
from ....config.fields import honours
from ....errors import ConfigError
from ....server.factory_context import ServerContext
from ...filters.common.ext_authz.check_request import sanitized
from .grpc_access_log_utils import below_common_config, compile_common_properties
from .grpc_access_logger import shared_logger

CONFIG_TYPE: Final = "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig"
honours(
    CONFIG_TYPE,
    "common_config",
    "additional_request_headers_to_log",
    "additional_response_headers_to_log",
    "additional_response_trailers_to_log",
)

_PROTOCOLS: Final = {"HTTP/1.0": 1, "HTTP/1.1": 2, "HTTP/2": 3, "HTTP/3": 4}
_REQUEST: Final = (
    ("authority", b":authority"),
    ("path", b":path"),
    ("user_agent", b"user-agent"),
    ("referer", b"referer"),
    ("forwarded_for", b"x-forwarded-for"),
    ("request_id", b"x-request-id"),
    ("original_path", b"x-envoy-original-path"),
)
Names = tuple[tuple[str, bytes], ...]


@ACCESS_LOGGERS.register("envoy.access_loggers.http_grpc", CONFIG_TYPE)
def create_http_grpc_access_log(config: Any, context: AccessLogContext, path: str) -> Emit:
    """Raises ConfigError below `path`."""
    server = cast(ServerContext, context.server)
    try:
        fill_common = compile_common_properties(config.common_config, server)
        logger = shared_logger(config.common_config, "http_logs", server)
    except ConfigError as error:
        raise below_common_config(error, path) from None
    make = message_class("envoy.data.accesslog.v3.HTTPAccessLogEntry")
    method = make.DESCRIPTOR.fields_by_name["request"].message_type.fields_by_name["request_method"].enum_type
    methods = {value.name: value.number for value in method.values if value.number}
    request_names = _names(config.additional_request_headers_to_log)
    response_names = _names(config.additional_response_headers_to_log)
    trailer_names = _names(config.additional_response_trailers_to_log)

    def emit(told: FormatterContext) -> None:
        info = told.stream_info
        entry = make(protocol_version=_PROTOCOLS.get(info.protocol or "", 0))
        fill_common(entry.common_properties, told)
        _fill_request(entry.request, told, methods)
        _fill_headers(entry.request.request_headers, told.request_headers, request_names)
        response = entry.response
        response.SetInParent()
        if info.response_code is not None:
            response.response_code.value = info.response_code
        response.response_code_details = sanitized((info.response_code_details or "").encode())
        response.response_headers_bytes = _size(told.response_headers)
        response.response_body_bytes = info.bytes_sent
        response.upstream_header_bytes_received = info.upstream_header_bytes_received
        response.downstream_header_bytes_sent = info.downstream_header_bytes_sent
        _fill_headers(response.response_headers, told.response_headers, response_names)
        _fill_headers(response.response_trailers, told.response_trailers, trailer_names)
        logger.log(entry)

    return emit


def _names(headers: Iterable[str]) -> Names:
    return tuple((name.lower(), name.lower().encode()) for name in headers)


def _fill_request(request: Any, told: FormatterContext, methods: Mapping[str, int]) -> None:
    info, headers = told.stream_info, told.request_headers
    request.SetInParent()
    request.scheme = sanitized(headers.get(b":scheme") or b"")
    for field, name in _REQUEST:
        value = headers.get(name)
        if value:
            setattr(request, field, sanitized(value))
    request.request_method = methods.get((headers.get(b":method") or b"").decode("latin-1"), 0)
    request.request_headers_bytes = _size(headers)
    request.request_body_bytes = info.bytes_received
    request.upstream_header_bytes_sent = info.upstream_header_bytes_sent
    request.downstream_header_bytes_received = info.downstream_header_bytes_received


def _size(headers: Headers) -> int:
    return sum(len(name) + len(value) for name, value in headers.pairs())


def _fill_headers(proto: Any, headers: Headers, names: Names) -> None:
    """Those that are there; of one that comes more than once all values."""
    for name, key in names:
        values = headers.get_all(key)
        if values:
            proto[name] = sanitized(b",".join(values))
