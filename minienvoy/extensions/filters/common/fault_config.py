"""What a fault is to be: fixed by the configuration, or asked for by the headers of a request.

Envoy: `Extensions::Filters::Common::Fault` (`FaultDelayConfig`, `FaultRateLimitConfig`) and
`HttpFilters::Fault::FaultAbortConfig`.
"""

from __future__ import annotations

import re
from typing import Any, Final

from ....config.fields import honours
from ....config.runtime import FractionalPercent
from ....http.header_map import RequestHeaderMap
from ....record import record

honours("envoy.extensions.filters.common.fault.v3.FaultDelay", "fixed_delay", "header_delay", "percentage")
honours("envoy.extensions.filters.common.fault.v3.FaultDelay.HeaderDelay")
honours("envoy.extensions.filters.common.fault.v3.FaultRateLimit", "fixed_limit", "header_limit", "percentage")
honours("envoy.extensions.filters.common.fault.v3.FaultRateLimit.FixedLimit", "limit_kbps")
honours("envoy.extensions.filters.common.fault.v3.FaultRateLimit.HeaderLimit")
honours(
    "envoy.extensions.filters.http.fault.v3.FaultAbort",
    "http_status",
    "grpc_status",
    "header_abort",
    "percentage",
    "response_body",
)
honours("envoy.extensions.filters.http.fault.v3.FaultAbort.HeaderAbort")

_DIGITS: Final = re.compile(rb"[0-9]{1,19}")
KIBIBYTE: Final = 1024


def header_integer(headers: RequestHeaderMap, name: bytes) -> int | None:
    """The number that a header holds; None if it is not there or holds something else."""
    value = headers.get(name)
    return int(value) if value is not None and _DIGITS.fullmatch(value) else None


@record
class FaultShare:
    """Of how many requests; a header may make it fewer than configured, never more."""

    fraction: FractionalPercent
    header: bytes
    """Empty: headers have no say."""

    def of(self, headers: RequestHeaderMap) -> FractionalPercent:
        numerator = header_integer(headers, self.header) if self.header else None
        if numerator is None or numerator >= self.fraction.numerator:
            return self.fraction
        return FractionalPercent(numerator, self.fraction.denominator)

    @classmethod
    def from_proto(cls, proto: Any, header: bytes) -> FaultShare:
        return cls(FractionalPercent.from_proto(proto.percentage), header)


@record
class FaultDelay:
    share: FaultShare
    fixed: float
    """Seconds; a header may ask for others if `share` heeds headers."""

    def milliseconds(self, headers: RequestHeaderMap) -> int | None:
        if not self.share.header:
            return int(self.fixed * 1000)
        return header_integer(headers, b"x-envoy-fault-delay-request")

    @classmethod
    def from_proto(cls, proto: Any) -> FaultDelay:
        by_header = proto.HasField("header_delay")
        header = b"x-envoy-fault-delay-request-percentage" if by_header else b""
        fixed = proto.fixed_delay
        return cls(FaultShare.from_proto(proto, header), fixed.seconds + fixed.nanos / 1e9)


@record
class FaultAbort:
    share: FaultShare
    fixed_http: int | None
    fixed_grpc: int | None
    body: str

    def http_status(self, headers: RequestHeaderMap) -> int | None:
        if not self.share.header:
            return self.fixed_http
        status = header_integer(headers, b"x-envoy-fault-abort-request")
        return status if status is not None and 200 <= status < 600 else None

    def grpc_status(self, headers: RequestHeaderMap) -> int | None:
        if not self.share.header:
            return self.fixed_grpc
        return header_integer(headers, b"x-envoy-fault-abort-grpc-request")

    @classmethod
    def from_proto(cls, proto: Any) -> FaultAbort:
        kind = proto.WhichOneof("error_type")
        header = b"x-envoy-fault-abort-request-percentage" if kind == "header_abort" else b""
        return cls(
            FaultShare.from_proto(proto, header),
            proto.http_status if kind == "http_status" else None,
            proto.grpc_status if kind == "grpc_status" else None,
            proto.response_body,
        )


@record
class FaultRateLimit:
    share: FaultShare
    fixed: int

    def bytes_per_second(self, headers: RequestHeaderMap) -> int | None:
        if not self.share.header:
            return self.fixed
        kibibytes = header_integer(headers, b"x-envoy-fault-throughput-response")
        return kibibytes * KIBIBYTE if kibibytes else None

    @classmethod
    def from_proto(cls, proto: Any) -> FaultRateLimit:
        by_header = proto.HasField("header_limit")
        header = b"x-envoy-fault-throughput-response-percentage" if by_header else b""
        return cls(FaultShare.from_proto(proto, header), proto.fixed_limit.limit_kbps * KIBIBYTE)
