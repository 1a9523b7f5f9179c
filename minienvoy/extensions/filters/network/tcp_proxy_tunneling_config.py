"""How a TCP proxy asks for its tunnels.

Envoy: `TcpProxy::TunnelingConfigHelperImpl`;
`envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TunnelingConfig`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ....access_log.context import FormatterContext
from ....access_log.formatter import Formatter, compile_format
from ....access_log.substitution_format_string import compile_formatters
from ....config.fields import honours
from ....errors import ConfigError
from ....http.header_map import Entry, HeaderMap, RequestHeaderMap, ResponseHeaderMap, entry
from ....http.http1.selection import client_codec
from ....http.request_id import UUID_REQUEST_ID, is_uuid_request_id, request_id_maker
from ....record import record
from ....router.header_parser import HeaderParser
from ....server.upstream_codecs import UpstreamCodecs
from ....stream_info import StructuredState

if TYPE_CHECKING:
    from ....server.factory_context import FactoryContext
    from ....stream_info import StreamInfo
    from ....upstream.http_conn_pool import MakeCodec

TYPE: Final = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TunnelingConfig"
honours(
    TYPE,
    "formatters",
    "headers_to_add",
    "hostname",
    "post_path",
    "propagate_response_headers",
    "propagate_response_trailers",
    "request_id_header",
    "request_id_metadata_key",
    "use_post",
    when={"request_id_extension": lambda config: is_uuid_request_id(config.request_id_extension)},
    skips={"request_id_extension": lambda config: True},
)

RESPONSE_HEADERS: Final = "envoy.tcp_proxy.propagate_response_headers"
RESPONSE_TRAILERS: Final = "envoy.tcp_proxy.propagate_response_trailers"
"""In the filter state of the client's connection."""
METADATA: Final = "envoy.filters.network.tcp_proxy"


@record
class TunnelingConfig:
    """Attributes:
    host: what the request says it is for.
    post_path: of a POST; empty for CONNECT.
    header_parser: adds headers; None if there are none to add.
    keeps_headers, keeps_trailers: those of the response are put into the filter state of the client's connection.
    new_request_id: makes the header, if there is to be one.
    request_id_key: of the metadata that tells it.
    make_codec: of an HTTP/1 connection; it also tells whether bytes are counted.
    """

    host: Formatter
    post_path: bytes
    header_parser: HeaderParser | None
    keeps_headers: bool
    keeps_trailers: bool
    new_request_id: Callable[[], Entry] | None
    request_id_key: str
    make_codec: MakeCodec

    @classmethod
    def from_proto(cls, config: Any, stat_prefix: str, context: FactoryContext) -> TunnelingConfig:
        """From the message at `tunneling_config`.

        Raises:
            ConfigError: a format that is none, or a path without POST.
        """
        server = context.server
        if config.post_path and not config.use_post:
            raise ConfigError("Can't set a post path when POST method isn't used", "tunneling_config.post_path")
        added = compile_formatters(config.formatters, "tunneling_config.formatters")
        # Imported now: who has no file descriptor left can not read a module.
        client_codec(server.http1_codec, server.byte_meters)
        return cls(
            compile_format(config.hostname, server, path="tunneling_config.hostname"),
            (config.post_path or "/").encode() if config.use_post else b"",
            HeaderParser.from_proto(config.headers_to_add, (), "tunneling_config.headers", server, added),
            config.propagate_response_headers,
            config.propagate_response_trailers,
            _request_id(config, stat_prefix, context),
            config.request_id_metadata_key or "tunnel_request_id",
            UpstreamCodecs(server),
        )

    def request_headers(self, info: StreamInfo, scheme: bytes) -> RequestHeaderMap:
        """What is asked for the connection that `info` describes."""
        host = self.host.format(FormatterContext(info)).encode("latin-1")
        method = b"POST" if self.post_path else b"CONNECT"
        headers = _TunnelRequestHeaderMap(method, self.post_path, host, scheme=scheme)
        if self.header_parser is not None:
            self.header_parser.evaluate(headers, info, None, None)
        if self.new_request_id is not None:
            made = self.new_request_id()
            headers.add_entry(made)
            info.dynamic_metadata.setdefault(METADATA, {})[self.request_id_key] = made[1].decode()
        return headers

    def keep_headers(self, info: StreamInfo, headers: ResponseHeaderMap) -> None:
        if self.keeps_headers:
            status = (b":status", b"%d" % headers.status)
            info.filter_state[RESPONSE_HEADERS] = _as_state([status, *_pairs(headers)])

    def keep_trailers(self, info: StreamInfo, trailers: HeaderMap) -> None:
        if self.keeps_trailers:
            info.filter_state[RESPONSE_TRAILERS] = _as_state(_pairs(trailers))


class _TunnelRequestHeaderMap(RequestHeaderMap):
    __slots__ = ()
    pseudo_order = (b":method", b":authority", b":path", b":scheme")


def _request_id(config: Any, stat_prefix: str, context: FactoryContext) -> Callable[[], Entry] | None:
    if config.request_id_extension.typed_config.type_url.rpartition("/")[2] != UUID_REQUEST_ID:
        return None
    make = request_id_maker(context.server.random.stream(f"tcp.{stat_prefix}.request_id").getrandbits)
    if not config.request_id_header:
        return make
    name = config.request_id_header.lower().encode()
    return lambda: entry(name, make()[1])


def _pairs(headers: HeaderMap) -> list[tuple[bytes, bytes]]:
    return [(item[0], item[1]) for item in headers.entries]


def _as_state(pairs: list[tuple[bytes, bytes]]) -> StructuredState:
    """As `envoy.config.core.v3.HeaderMap`."""
    return StructuredState(
        headers=[{"key": name.decode("latin-1"), "value": value.decode("latin-1")} for name, value in pairs]
    )
