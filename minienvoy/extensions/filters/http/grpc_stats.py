"""`envoy.filters.http.grpc_stats`: counts calls, and messages, by cluster.

Envoy: `Extensions::HttpFilters::GrpcStats::GrpcStatsFilter`; docs "gRPC statistics".
`cluster.NAME.grpc.[SERVICE.METHOD.]{STATUS,success,failure,total,request_message_count,response_message_count}`.
"""

from __future__ import annotations

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
from ....http.grpc import is_grpc
from ....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ....record import record
from ....server.factory_context import FactoryContext
from ....stats.store import Scope
from ..common.grpc_counts import charge, counts_of, method_prefix

CONFIG_TYPE: Final = "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"

honours(
    CONFIG_TYPE,
    "individual_method_stats_allowlist",
    "stats_for_all_methods",
)
honours("envoy.config.core.v3.GrpcMethodList", "services")
honours("envoy.config.core.v3.GrpcMethodList.Service", "name", "method_names")


@record
class GrpcStatsSettings:
    """`methods` are the paths that are counted by themselves; None for all."""

    methods: frozenset[bytes] | None

    @classmethod
    def from_proto(cls, proto: Any) -> GrpcStatsSettings:
        if proto.stats_for_all_methods.value:
            return cls(methods=None)
        services = proto.individual_method_stats_allowlist.services
        return cls(
            methods=frozenset(
                f"/{service.name}/{method}".encode() for service in services for method in service.method_names
            )
        )


class _Messages:
    """Counts the messages of one direction."""

    __slots__ = ("_head", "_left", "count")

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self.count = 0

    def feed(self, data: bytes) -> int:
        """How many have begun in `data`."""
        before = self.count
        at = 0
        while at < len(data):
            if self._left:
                taken = min(self._left, len(data) - at)
                self._left -= taken
            else:
                taken = min(5 - len(self._head), len(data) - at)
                self._head += data[at : at + taken]
                if len(self._head) == 5:
                    self._left = int.from_bytes(self._head[1:], "big")
                    self._head = b""
                    self.count += 1
            at += taken
        return self.count - before


class GrpcStatsFilter(StreamFilter):
    """One stream."""

    def __init__(self, settings: GrpcStatsSettings, clusters: Any) -> None:
        self._settings = settings
        self._clusters = clusters
        self._scope: Scope | None = None
        self._prefix = ""
        self._requests = _Messages()
        self._responses = _Messages()

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        if is_grpc(headers.get(b"content-type")):
            self._scope = counts_of(self.decoder_callbacks, self._clusters, "grpc")
            methods = self._settings.methods
            if methods is None or headers.path.partition(b"?")[0] in methods:
                self._prefix = method_prefix(headers.path)
        return FilterHeadersStatus.CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        if self._scope is not None and (more := self._requests.feed(data)):
            self._scope.counter(f"{self._prefix}request_message_count").add(more)
        return FilterDataStatus.CONTINUE

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        if end_stream:
            self._charge(headers)
        return FilterHeadersStatus.CONTINUE

    def encode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        if self._scope is not None and (more := self._responses.feed(data)):
            self._scope.counter(f"{self._prefix}response_message_count").add(more)
        return FilterDataStatus.CONTINUE

    def encode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        self._charge(trailers)
        return FilterTrailersStatus.CONTINUE

    def _charge(self, headers: HeaderMap) -> None:
        if self._scope is not None:
            charge(self._scope, self._prefix, headers)


@HTTP_FILTERS.register("envoy.filters.http.grpc_stats", CONFIG_TYPE)
def create_grpc_stats(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    settings = GrpcStatsSettings.from_proto(proto)
    clusters = context.server.cluster_manager.clusters
    return lambda: GrpcStatsFilter(settings, clusters)
