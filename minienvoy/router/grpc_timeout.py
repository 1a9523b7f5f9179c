"""`grpc-timeout`: the deadline that a gRPC client sends along.

Envoy: `Grpc::Common::getGrpcTimeout`, `toGrpcTimeout`, `FilterUtility::finalTimeout`; FAQ "How do I configure
timeouts".
"""

from __future__ import annotations

from typing import Any, Final

from ..config.fields import honours
from ..http.ascii_number import unsigned
from ..http.header_map import RequestHeaderMap

honours(
    "envoy.config.route.v3.RouteAction.MaxStreamDuration",
    "max_stream_duration",
    "grpc_timeout_header_max",
    "grpc_timeout_header_offset",
)

_NAME: Final = b"grpc-timeout"
_MILLISECONDS: Final = {b"H": 3_600_000, b"M": 60_000, b"S": 1000, b"m": 1}
_FRACTIONS: Final = {b"u": 1000, b"n": 1_000_000}
MAX_DIGITS: Final = 8
AT_ONCE: Final = 1e-9
"""Seconds: no time at all. 0 stands for any time."""


def grpc_timeout(headers: RequestHeaderMap) -> float | None:
    """Seconds, whole milliseconds rounded up; None if there is no such header, or a wrong one."""
    value = headers.get(_NAME)
    if not value:
        return None
    number, unit = unsigned(value[:-1]), value[-1:]
    if number is None or len(value) > MAX_DIGITS + 1:
        return None
    if unit in _MILLISECONDS:
        return number * _MILLISECONDS[unit] / 1000
    if unit in _FRACTIONS:
        return -(-number // _FRACTIONS[unit]) / 1000
    return None


def set_grpc_timeout(headers: RequestHeaderMap, seconds: float) -> None:
    """In the smallest unit from milliseconds on that has room for it."""
    amount = round(seconds * 1000)
    for unit, size in ((b"m", 1000), (b"S", 60), (b"M", 60), (b"H", 0)):
        if amount < 10**MAX_DIGITS or not size:
            headers.set(_NAME, b"%d%b" % (min(amount, 10**MAX_DIGITS - 1), unit))
            return
        amount //= size


class GrpcTimeouts:
    """What a route does with the header. All in seconds.

    Attributes:
        max_timeout: `max_grpc_timeout`: the header replaces the route's timeout, up to this (0: without a bound).
        offset: `grpc_timeout_offset`: what is taken off before.
        header_max, header_offset: the same of `max_stream_duration`, for the life of the whole stream.
    """

    __slots__ = ("header_max", "header_offset", "max_timeout", "offset")

    def __init__(
        self, max_timeout: float | None, offset: float, header_max: float | None, header_offset: float
    ) -> None:
        self.max_timeout = max_timeout
        self.offset = offset
        self.header_max = header_max
        self.header_offset = header_offset

    def timeout(self, headers: RequestHeaderMap) -> float:
        """Of the response to a gRPC request; 0 for none."""
        assert self.max_timeout is not None
        value = grpc_timeout(headers) or 0.0
        if self.offset < value:
            value = round(value - self.offset, 3)
        if self.max_timeout and not 0 < value <= self.max_timeout:
            value = self.max_timeout
        return value

    def stream_duration(self, headers: RequestHeaderMap) -> float | None:
        """Of the stream, by its header; None: the header does not decide."""
        value = grpc_timeout(headers)
        if value is None or self.header_max is None:
            return None
        if self.header_max:
            value = min(value, self.header_max)
        return max(round(value - self.header_offset, 3), AT_ONCE)


def grpc_timeouts(action: Any, seconds: Any) -> GrpcTimeouts | None:
    """Of a `RouteAction`, if it heeds the header at all; `seconds` reads its `Duration` fields."""
    max_timeout, header_max, header_offset = seconds(action, "max_grpc_timeout"), None, 0.0
    if action.HasField("max_stream_duration"):
        # It takes the place of the older fields.
        max_timeout = None
        header_max = seconds(action.max_stream_duration, "grpc_timeout_header_max")
        header_offset = seconds(action.max_stream_duration, "grpc_timeout_header_offset") or 0.0
    if max_timeout is None and header_max is None:
        return None
    return GrpcTimeouts(max_timeout, seconds(action, "grpc_timeout_offset") or 0.0, header_max, header_offset)
