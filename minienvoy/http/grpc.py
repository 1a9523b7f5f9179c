"""gRPC as far as HTTP has to know it: statuses in local replies.

Envoy: `Grpc::Utility::httpToGrpcStatus`, `Http::Utility::sendLocalReply` for gRPC requests.
"""

from __future__ import annotations

from typing import Final

from .header_map import ResponseHeaderMap

_STATUS_OF_HTTP: Final = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
_UNKNOWN: Final = 2
_DEADLINE_EXCEEDED: Final = 4
_MAX_TIMEOUT: Final = 99_999_999


FRAME_HEADER_SIZE: Final = 5
"""Bytes before each message: whether it is compressed, and its length."""


def frame_header(length: int) -> bytes:
    """What stands before a message of `length` bytes that is not compressed."""
    return b"\0" + length.to_bytes(4, "big")


_HTTP_OF_STATUS: Final = (200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401)
"""By gRPC status, as `google.rpc.Code` says."""


def http_to_grpc_status(status: int) -> int:
    """What an HTTP status without a `grpc-status` means (`Grpc::Utility::httpToGrpcStatus`)."""
    return _STATUS_OF_HTTP.get(status, _UNKNOWN)


def grpc_to_http_status(grpc_status: bytes | None) -> int | None:
    """What a `grpc-status` means in HTTP (`Grpc::Utility::grpcToHttpStatus`); None if there is none."""
    if grpc_status is None:
        return None
    if not grpc_status.isdigit() or len(grpc_status) > 9:
        return 500
    number = int(grpc_status)
    return _HTTP_OF_STATUS[number] if number < len(_HTTP_OF_STATUS) else 500


def is_grpc(content_type: bytes | None) -> bool:
    """`application/grpc`, or that with a `+suffix` (`Grpc::Common::hasGrpcContentType`)."""
    return content_type is not None and (
        content_type == b"application/grpc" or content_type.startswith(b"application/grpc+")
    )


def is_grpc_response(headers: ResponseHeaderMap, end_stream: bool) -> bool:
    """Whether these headers begin the answer to a call, or are all of it (`Grpc::Common::isGrpcResponseHeaders`)."""
    if end_stream:
        return headers.has(b"grpc-status")
    return headers.status == 200 and is_grpc(headers.get(b"content-type"))


def make_grpc_reply(headers: ResponseHeaderMap, message: bytes, details: str, grpc_status: int | None = None) -> None:
    """Change a reply into what a gRPC client understands: its status stands in headers that end the stream.

    Without a `grpc_status` it is what the HTTP status stands for.
    """
    if grpc_status is None:
        grpc_status = (
            _DEADLINE_EXCEEDED if details == "max_duration_timeout" else _STATUS_OF_HTTP.get(headers.status, _UNKNOWN)
        )
    headers.status = 200
    headers.set(b"content-type", b"application/grpc")
    if not headers.has(b"grpc-status"):
        headers.add(b"grpc-status", b"%d" % grpc_status)
    if message:
        headers.set(b"grpc-message", percent_encode(message))
    headers.remove(b"content-length")


def grpc_timeout(milliseconds: int) -> bytes:
    """The value of `grpc-timeout`, in the finest unit that needs no more than eight digits
    (`Grpc::Common::toGrpcTimeout`)."""
    count = milliseconds
    for unit, next_unit in ((b"m", 1000), (b"S", 60), (b"M", 60)):
        if count <= _MAX_TIMEOUT:
            return b"%d%s" % (count, unit)
        count //= next_unit
    return b"%dH" % min(count, _MAX_TIMEOUT)


def percent_encode(message: bytes) -> bytes:
    """As gRPC wants `grpc-message`: printable ASCII but `%`."""
    return b"".join(bytes((c,)) if 32 <= c <= 126 and c != 37 else b"%%%02X" % c for c in message)
