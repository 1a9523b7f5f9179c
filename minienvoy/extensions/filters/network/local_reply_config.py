"""`local_reply_config` of an HTTP connection manager, compiled.

Envoy: `LocalReply::Factory` (`source/common/local_reply/local_reply.cc`). What is compiled is `http/local_reply.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ....access_log.context import FormatterContext
from ....access_log.filters import Filter, compile_filter
from ....access_log.substitution_format_string import (
    CompiledFormat,
    compile_substitution_format,
    content_type_of,
    read_data_source,
)
from ....http.header_map import RequestHeaderMap, ResponseHeaderMap
from ....http.local_reply import AddHeaders, BodyFormat, FormatBody, LocalReply, Matches, ResponseMapper
from ....router.header_parser import HeaderParser

if TYPE_CHECKING:
    from ....server.factory_context import FactoryContext
    from ....stream_info import StreamInfo


def compile_local_reply(config: Any, context: FactoryContext, path: str) -> LocalReply:
    """Compile an `envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig`.

    Raises:
        ConfigError: a wrong filter or format, or a header that may not be set.
    """
    mappers = [_mapper(each, context, f"{path}.mappers[{at}]") for at, each in enumerate(config.mappers)]
    return LocalReply(mappers, _body_format(config, "body_format", context, path))


def _mapper(proto: Any, context: FactoryContext, path: str) -> ResponseMapper:
    server = context.server
    body = read_data_source(proto.body, f"{path}.body") if proto.HasField("body") else None
    parser = HeaderParser.from_proto(proto.headers_to_add, (), f"{path}.headers", server)
    return ResponseMapper(
        _matches(compile_filter(proto.filter, server, f"{path}.filter")),
        proto.status_code.value if proto.HasField("status_code") else None,
        None if body is None else body.encode("utf-8", "surrogateescape"),
        None if parser is None else _adds_headers(parser),
        _body_format(proto, "body_format_override", context, path),
    )


def _matches(filter: Filter) -> Matches:
    def matches(request: RequestHeaderMap | None, headers: ResponseHeaderMap, stream: StreamInfo) -> bool:
        return filter(FormatterContext(stream, request, headers))

    return matches


def _adds_headers(parser: HeaderParser) -> AddHeaders:
    def add(headers: ResponseHeaderMap, stream: StreamInfo, request: RequestHeaderMap | None) -> None:
        parser.evaluate(headers, stream, request, headers)

    return add


def _body_format(proto: Any, field: str, context: FactoryContext, path: str) -> BodyFormat | None:
    if not proto.HasField(field):
        return None
    config = getattr(proto, field)
    compiled = compile_substitution_format(config, context.server, f"{path}.{field}")
    return BodyFormat(_formats(compiled), content_type_of(config).encode())


def _formats(compiled: CompiledFormat) -> FormatBody:
    def format(request: RequestHeaderMap | None, headers: ResponseHeaderMap, stream: StreamInfo, body: bytes) -> bytes:
        text = compiled.format(FormatterContext(stream, request, headers, None, body.decode("latin-1")))
        return text.encode("latin-1", "replace")

    return format
