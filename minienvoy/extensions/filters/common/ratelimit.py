"""Asks a rate limit service: `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`.

Envoy: `Filters::Common::RateLimit::GrpcClientImpl`, `StatNames`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol

from google.protobuf.message import DecodeError

from ....config.api import message_class, struct_to_dict
from ....config.fields import honours
from ....errors import ConfigError
from ....server.async_services import GrpcServiceConfig
from ....upstream.duration import duration_of
from ....upstream.grpc_client import INTERNAL, GrpcStream

if TYPE_CHECKING:
    from ....http.header_map import RequestHeaderMap
    from ....router.rate_limit import Descriptor
    from ....server.factory_context import ServerContext
    from ....stream_info import StreamInfo
    from ....tracing.call_span import GrpcCallSpan

honours("envoy.config.ratelimit.v3.RateLimitServiceConfig", "grpc_service", "transport_api_version")

METHOD: Final = "envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
DEFAULT_TIMEOUT: Final = 0.02
MAX_HITS: Final = 2**32 - 1
_OVER_LIMIT: Final = 2  # of `RateLimitResponse.Code`
_V2: Final = 1  # of `core.v3.ApiVersion`


class LimitStatus(Enum):
    OK = 1
    ERROR = 2
    """Nobody could be asked."""
    OVER_LIMIT = 3


class Limit:
    """One decision.

    Attributes:
        statuses: the messages `DescriptorStatus`, one for each descriptor if the service keeps to the order.
        body: for the client of a request that is over the limit.
    """

    __slots__ = ("body", "dynamic_metadata", "request_headers", "response_headers", "status", "statuses")

    def __init__(self, status: LimitStatus) -> None:
        self.status = status
        self.statuses: tuple[Any, ...] = ()
        self.response_headers: list[tuple[bytes, bytes]] = []
        self.request_headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.dynamic_metadata: dict[str, Any] = {}


class RequestCallbacks(Protocol):
    """Who has asked; perhaps called before `limit` returns, and once unless the question is given up."""

    def complete(self, limit: Limit) -> None: ...


class RateLimitClient:
    """Of one configuration."""

    def __init__(self, proto: Any, server: ServerContext) -> None:
        """From a filter's configuration, that has a `rate_limit_service` and a `timeout`.

        Raises:
            ConfigError: no service, or something in it that is wrong.
        """
        service, path = proto.rate_limit_service, "rate_limit_service"
        if service.transport_api_version == _V2:
            raise ConfigError(
                "v2 of the API is not there any more", f"{path}.transport_api_version", remedy="set it to V3"
            )
        self._service = GrpcServiceConfig.from_proto(service.grpc_service, f"{path}.grpc_service", server)
        self._timeout = duration_of(proto, "timeout", DEFAULT_TIMEOUT)
        self._client = self._service.client(server)
        self._request = message_class("envoy.service.ratelimit.v3.RateLimitRequest")
        self._response = message_class("envoy.service.ratelimit.v3.RateLimitResponse")

    def limit(
        self,
        callbacks: RequestCallbacks,
        domain: str,
        descriptors: Iterable[Descriptor],
        stream: StreamInfo,
        headers: RequestHeaderMap | None = None,
        hits_addend: int = 0,
        traced: bool = True,
    ) -> GrpcStream:
        """Ask on behalf of `stream`, whose request is `headers`; if it is `traced`, its span has a child."""
        request = self._request(domain=domain, hits_addend=hits_addend)
        for each in descriptors:
            made = request.descriptors.add()
            for key, value in each.entries:
                # Keys and values are text whose characters are bytes.
                made.entries.add(key=_text(key), value=_text(value))
            if each.limit is not None:
                made.limit.requests_per_unit = each.limit.requests_per_unit
                made.limit.unit = each.limit.unit
            if each.hits is not None:
                made.hits_addend.value = each.hits
                made.is_negative_hits = each.negative_hits
        metadata = self._service.call_metadata(stream, headers)
        span = self._service.call_span(stream, METHOD) if traced else None
        call = _Call(callbacks, self._response, span)
        return self._client.send(METHOD, request.SerializeToString(), call, self._timeout, metadata, span)


def _text(value: str) -> str:
    return value if value.isascii() else value.encode("latin-1", "replace").decode("utf-8", "replace")


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
        limit = limit_of(decision)
        if self._span is not None:
            self._span.tag("ratelimit_status", "over_limit" if limit.status is LimitStatus.OVER_LIMIT else "ok")
        self._callbacks.complete(limit)

    def on_failure(self, status: int, message: str) -> None:
        self._callbacks.complete(Limit(LimitStatus.ERROR))


def limit_of(decision: Any) -> Limit:
    """From a `RateLimitResponse`."""
    limit = Limit(LimitStatus.OVER_LIMIT if decision.overall_code == _OVER_LIMIT else LimitStatus.OK)
    limit.statuses = tuple(decision.statuses)
    limit.response_headers = _headers(decision.response_headers_to_add)
    limit.request_headers = _headers(decision.request_headers_to_add)
    limit.body = decision.raw_body
    limit.dynamic_metadata = struct_to_dict(decision.dynamic_metadata)
    return limit


def _headers(values: Iterable[Any]) -> list[tuple[bytes, bytes]]:
    return [(each.key.lower().encode(), each.value.encode()) for each in values]


class NobodyListens:
    """For a question that is asked when its stream is over: what comes of it is nothing to anybody."""

    def complete(self, limit: Limit) -> None:
        """The service has been told."""
