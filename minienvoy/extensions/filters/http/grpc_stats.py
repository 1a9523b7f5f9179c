"""`envoy.filters.http.grpc_stats`: counts calls, and messages, by cluster.

Envoy: `Extensions::HttpFilters::GrpcStats::GrpcStatsFilter`; docs "gRPC statistics".
`cluster.NAME.grpc.[SERVICE.METHOD.]{STATUS,success,failure,total,request_message_count,response_message_count}`.
Calls of Connect (connectrpc.com) are counted there as well: unary ones by their HTTP status and as one message each
way, streams by what their last message says.
"""

from __future__ import annotations

import json
from typing import Any, Final

from ....config.fields import honours
from ....http.filter import (
    HTTP_FILTERS,
    FilterDataStatus,
    FilterHeadersStatus,
    FilterTrailersStatus,
    HttpFilterFactory,
    StreamFilter,
)
from ....http.grpc import is_grpc, is_grpc_response
from ....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ....record import record
from ....server.factory_context import FactoryContext
from ....stats.store import Scope
from ..common.grpc_counts import FrameInspector, charge, charge_outcome, counts_of, service_and_method

NAME: Final = "envoy.filters.http.grpc_stats"
CONFIG_TYPE: Final = "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"
_CONNECT_STREAM: Final = b"application/connect+"
_END_STREAM: Final = 2
"""In the flags of a Connect stream's last message."""
_MAX_END_STREAM: Final = 65536

honours(
    CONFIG_TYPE,
    "emit_filter_state",
    "individual_method_stats_allowlist",
    "stats_for_all_methods",
    "enable_upstream_stats",
    "replace_dots_in_grpc_service_name",
)
honours("envoy.config.core.v3.GrpcMethodList", "services")
honours("envoy.config.core.v3.GrpcMethodList.Service", "name", "method_names")


@record
class GrpcStatsSettings:
    """`methods` are the calls that are counted by themselves; None for all."""

    methods: frozenset[tuple[str, str]] | None
    emits_filter_state: bool
    times_upstream: bool
    replaces_dots: bool

    @classmethod
    def from_proto(cls, proto: Any) -> GrpcStatsSettings:
        methods = None
        if not proto.stats_for_all_methods.value:
            services = proto.individual_method_stats_allowlist.services
            methods = frozenset((service.name, method) for service in services for method in service.method_names)
        return cls(
            methods=methods,
            emits_filter_state=proto.emit_filter_state,
            times_upstream=proto.enable_upstream_stats,
            replaces_dots=proto.replace_dots_in_grpc_service_name,
        )


class MessageCounts(dict[str, str]):
    """The filter state: how many messages there were, as `FilterObject` is written in JSON."""

    def tell(self, requests: int, responses: int) -> None:
        self.clear()
        if requests:
            self["requestMessageCount"] = str(requests)
        if responses:
            self["responseMessageCount"] = str(responses)

    def __str__(self) -> str:
        return f"{self.get('requestMessageCount', 0)},{self.get('responseMessageCount', 0)}"


class GrpcStatsFilter(StreamFilter):
    """One stream; `_scope` is None while nothing is counted."""

    def __init__(self, settings: GrpcStatsSettings, clusters: Any, other_statuses: set[bytes]) -> None:
        self._settings = settings
        self._clusters = clusters
        self._other_statuses = other_statuses
        self._scope: Scope | None = None
        self._prefix = ""
        self._grpc_request = self._grpc_response = False
        self._connect_unary = self._connect_stream = False
        self._connect_requests = self._connect_responses = 0
        self._requests = FrameInspector()
        self._responses = FrameInspector()
        self._last_message = b""

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        content_type = headers.get(b"content-type")
        self._grpc_request = is_grpc(content_type)
        self._connect_unary = bool(headers.get(b"connect-protocol-version"))
        self._connect_stream = content_type is not None and content_type.startswith(_CONNECT_STREAM)
        if self._grpc_request or self._connect_unary or self._connect_stream:
            called = service_and_method(headers.path)
            if called is not None:
                self._scope = counts_of(self.decoder_callbacks, self._clusters, "grpc")
                self._name(called)
        return FilterHeadersStatus.CONTINUE

    def _name(self, called: tuple[str, str]) -> None:
        methods = self._settings.methods
        service, method = called
        if methods is None:
            if self._settings.replaces_dots:
                service = service.replace(".", "_")
        elif called not in methods:
            return
        self._prefix = f"{service}.{method}."

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        if self._grpc_request or self._connect_stream:
            if more := self._requests.inspect(data):
                self._count("request_message_count", more)
        elif self._connect_unary and end_stream:
            self._connect_requests = 1
            self._count("request_message_count", 1)
        return FilterDataStatus.CONTINUE

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        content_type = headers.get(b"content-type")
        self._grpc_response = is_grpc_response(headers, end_stream)
        if self._scope is not None:
            if self._connect_unary:
                charge_outcome(self._scope, self._prefix, headers.status == 200)
            elif content_type is None or not content_type.startswith(_CONNECT_STREAM):
                charge(self._scope, self._prefix, headers, self._other_statuses)
            if end_stream:
                self._time_upstream()
        return FilterHeadersStatus.CONTINUE

    def encode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        if self._grpc_response:
            if more := self._responses.inspect(data):
                self._count("response_message_count", more)
        elif self._connect_stream:
            self._inspect_connect_stream(data, end_stream)
        elif self._connect_unary and end_stream:
            self._connect_responses = 1
            self._count("response_message_count", 1)
            self._time_upstream()
        return FilterDataStatus.CONTINUE

    def _inspect_connect_stream(self, data: bytes, end_stream: bool) -> None:
        more = self._responses.inspect(data)
        self._last_message = (self._last_message + data)[-_MAX_END_STREAM:]
        # The message that ends the stream is none of the service's.
        if self._responses.last_flags & _END_STREAM:
            more -= 1
        if more > 0:
            self._count("response_message_count", more)
        if end_stream and self._scope is not None:
            charge_outcome(self._scope, self._prefix, _connect_success(self._last_message))
            self._time_upstream()

    def encode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        if self._grpc_request and self._scope is not None:
            charge(self._scope, self._prefix, trailers, self._other_statuses)
            self._time_upstream()
        return FilterTrailersStatus.CONTINUE

    def _count(self, name: str, more: int) -> None:
        if self._settings.emits_filter_state:
            state = self.decoder_callbacks.stream_info.filter_state
            counts = state.get(NAME)
            if counts is None:
                counts = state[NAME] = MessageCounts()
            if self._connect_unary:
                counts.tell(self._connect_requests, self._connect_responses)
            else:
                counts.tell(self._requests.count, self._responses.count)
        if self._scope is not None:
            self._scope.counter(f"{self._prefix}{name}").add(more)

    def _time_upstream(self) -> None:
        if not self._settings.times_upstream or self._scope is None:
            return
        info = self.decoder_callbacks.stream_info
        sent, received = info.last_upstream_tx_byte_time, info.last_upstream_rx_byte_time
        if sent is not None and received is not None:
            milliseconds = int((received - sent) * 1000)
            self._scope.histogram(f"{self._prefix}upstream_rq_time", "ms").record(milliseconds)


def _connect_success(tail: bytes) -> bool:
    """Whether the message that ends a Connect stream, at the end of `tail`, tells no error."""
    at = tail.rfind(b"\x02\x00")
    try:
        told = json.loads(tail[at + 5 :]) if at >= 0 else {}
    except ValueError:
        return False
    return not (isinstance(told, dict) and "error" in told)


@HTTP_FILTERS.register(NAME, CONFIG_TYPE)
def create_grpc_stats(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    settings = GrpcStatsSettings.from_proto(proto)
    clusters = context.server.cluster_manager.clusters
    other_statuses: set[bytes] = set()
    return lambda: GrpcStatsFilter(settings, clusters, other_statuses)
