"""`envoy.filters.http.header_mutation`: changes headers, trailers and query parameters.

Envoy: `Extensions::HttpFilters::HeaderMutation::HeaderMutation`; docs "Header Mutation". What every level of the route
tells comes after what the filter's own configuration says: the most specific level first, or last if it is to win.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import quote_from_bytes

from ....access_log.context import FormatterContext
from ....access_log.formatter import compile_format
from ....access_log.substitution_format_string import compile_formatters
from ....config.fields import honours
from ....errors import ConfigError
from ....http.filter import (
    HTTP_FILTERS,
    UPSTREAM_HTTP_FILTERS,
    FilterHeadersStatus,
    FilterTrailersStatus,
    HttpFilterFactory,
    StreamFilter,
    StreamFilterCallbacks,
)
from ....http.grpc import is_grpc
from ....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ....http.query_parameters import QueryParameters, parse_query, replace_query
from ....router.filter_config import ROUTE_FILTER_CONFIGS, all_configs
from ....router.header_mutations import compile_header_mutations
from ....server.factory_context import FactoryContext
from ....stream_info import StreamInfo

NAME: Final = "envoy.filters.http.header_mutation"
_TYPE: Final = "envoy.extensions.filters.http.header_mutation.v3"
CONFIG_TYPE: Final = f"{_TYPE}.HeaderMutation"
ROUTE_TYPE: Final = f"{_TYPE}.HeaderMutationPerRoute"

honours(CONFIG_TYPE, "mutations", "most_specific_header_mutations_wins")
honours(ROUTE_TYPE, "mutations")
honours(
    f"{_TYPE}.Mutations",
    "request_mutations",
    "query_parameter_mutations",
    "response_mutations",
    "request_trailers_mutations",
    "response_trailers_mutations",
    "formatters",
)
honours("envoy.config.core.v3.KeyValueMutation", "append", "remove")
honours("envoy.config.core.v3.KeyValueAppend", "record", "action")
honours("envoy.config.core.v3.KeyValuePair", "key", "value")

APPEND_IF_EXISTS_OR_ADD, ADD_IF_ABSENT, OVERWRITE_IF_EXISTS_OR_ADD, OVERWRITE_IF_EXISTS = range(4)
_UNRESERVED: Final = "-_.~"

MutateQuery = Callable[[QueryParameters, FormatterContext], None]


class Mutations:
    """Of the filter, or of one level of a route."""

    __slots__ = ("query", "request", "request_trailers", "response", "response_trailers")

    def __init__(self, proto: Any, path: str, server: Any) -> None:
        """Raises ConfigError: a header that may not be touched, or a wrong format."""
        path = f"{path}." if path else ""
        added = compile_formatters(proto.formatters, f"{path}formatters")

        def mutations(field: str) -> Any:
            return compile_header_mutations(getattr(proto, field), f"{path}{field}", server, added)

        self.request = mutations("request_mutations")
        self.response = mutations("response_mutations")
        self.request_trailers = mutations("request_trailers_mutations")
        self.response_trailers = mutations("response_trailers_mutations")
        self.query = tuple(
            _query_mutation(each, f"{path}query_parameter_mutations[{at}]", server, added)
            for at, each in enumerate(proto.query_parameter_mutations)
        )

    def mutate_request(self, headers: RequestHeaderMap, stream: StreamInfo) -> None:
        for step in self.request:
            step(headers, stream, headers, None)
        if self.query:
            parameters = parse_query(headers.path, decode=True)
            context = FormatterContext(stream, headers, None)
            for mutate in self.query:
                mutate(parameters, context)
            headers.put_path(replace_query(headers.path, parameters))


def _query_mutation(proto: Any, path: str, server: Any, added: Any) -> MutateQuery:
    if proto.remove:
        removed = proto.remove.encode()

        def remove(parameters: QueryParameters, context: FormatterContext) -> None:
            parameters.pop(removed, None)

        return remove
    if not proto.append.HasField("record"):
        raise ConfigError("No record specified for append mutation.", f"{path}.append")
    record, action = proto.append.record, proto.append.action
    if record.value.WhichOneof("kind") != "string_value":
        raise ConfigError("Only string value is allowed for record value.", f"{path}.append.record.value")
    key = record.key.encode()
    where = f"{path}.append.record.value"
    formatter = compile_format(record.value.string_value, server, omit_empty_values=True, path=where, added=added)

    def append(parameters: QueryParameters, context: FormatterContext) -> None:
        value = quote_from_bytes(formatter.format(context).encode("latin-1"), safe=_UNRESERVED).encode()
        if action == APPEND_IF_EXISTS_OR_ADD:
            parameters.setdefault(key, []).append(value)
        elif action == ADD_IF_ABSENT:
            parameters.setdefault(key, [value])
        elif action == OVERWRITE_IF_EXISTS_OR_ADD or key in parameters:
            parameters[key] = [value]

    return append


class HeaderMutationFilter(StreamFilter):
    """One stream."""

    def __init__(self, own: Mutations, specific_last: bool, name: str) -> None:
        self._own = own
        self._specific_last = specific_last
        self._name = name
        self._levels: Iterable[Mutations] | None = None

    def _all(self, callbacks: StreamFilterCallbacks) -> Iterable[Mutations]:
        """The filter's own and those of the route, which is looked for once."""
        if self._levels is None:
            levels = all_configs(callbacks, self._name)
            self._levels = (self._own, *(levels if self._specific_last else reversed(levels)))
        return self._levels

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        stream = self.decoder_callbacks.stream_info
        if stream.client_speaks_grpc is None:
            # What the type becomes is nothing to the client.
            stream.client_speaks_grpc = is_grpc(headers.get(b"content-type"))
        for each in self._all(self.decoder_callbacks):
            each.mutate_request(headers, stream)
        return FilterHeadersStatus.CONTINUE

    def decode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        stream: Any = self.decoder_callbacks.stream_info
        for each in self._all(self.decoder_callbacks):
            for step in each.request_trailers:
                step(trailers, stream, stream.request_headers, None)
        return FilterTrailersStatus.CONTINUE

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        stream: Any = self.encoder_callbacks.stream_info
        if not self.encoder_callbacks.upstream and (stream.response_code or 0) < 200:
            # Envoy's router has set it by now, and a format may ask for it.
            stream.response_code = headers.status
        for each in self._all(self.encoder_callbacks):
            for step in each.response:
                step(headers, stream, stream.request_headers, headers)
        return FilterHeadersStatus.CONTINUE

    def encode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        stream: Any = self.encoder_callbacks.stream_info
        for each in self._all(self.encoder_callbacks):
            for step in each.response_trailers:
                step(trailers, stream, stream.request_headers, stream.response_headers)
        return FilterTrailersStatus.CONTINUE


@HTTP_FILTERS.register(NAME, CONFIG_TYPE)
@UPSTREAM_HTTP_FILTERS.register(NAME, CONFIG_TYPE)
def create_header_mutation_filter(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    own = Mutations(proto.mutations, "mutations", context.server)
    specific_last, name = proto.most_specific_header_mutations_wins, context.filter_name
    return lambda: HeaderMutationFilter(own, specific_last, name)


@ROUTE_FILTER_CONFIGS.register(NAME, ROUTE_TYPE)
def create_header_mutations(proto: Any, path: str, server: Any) -> Mutations:
    return Mutations(proto.mutations, f"{path}.mutations", server)
