"""The codec of a downstream connection: which one, and its settings.

Envoy: `HttpConnectionManagerConfig::createCodec` and `ConnectionManagerUtility::autoCreateCodec`,
`determineNextProtocol`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ....config.fields import honours
from ....http.codec_stats import Http1CodecStats, Http2CodecStats
from ....http.http1.header_formatter import header_formatters
from ....http.http1.selection import server_codec
from ....http.http1.settings import Http1Settings
from ....http.http2.settings import Http2Settings
from ....matchers.string import compile_string_matcher
from ....router.route_entry import seconds
from ....server.factory_context import FactoryContext

if TYPE_CHECKING:
    from ....http.codec import ServerConnection
    from ....http.conn_manager import ConnectionManager
    from ....network.connection import Connection

AUTO, HTTP1 = range(2)
"""Of `HttpConnectionManager.CodecType`."""
_MAGIC: Final = b"PRI * HTTP/2"

honours(
    "envoy.config.core.v3.Http1ProtocolOptions",
    "allow_absolute_url",
    "accept_http_10",
    "default_host_for_http_10",
    "header_key_format",
    "enable_trailers",
    "allow_chunked_length",
    "allow_custom_methods",
    "ignore_http_11_upgrade",
    "override_stream_error_on_invalid_http_message",
    ignored={"use_balsa_parser": "there is one parser, which does what Envoy's default does"},
)


def codec_maker(config: Any, context: FactoryContext) -> Callable[[ConnectionManager, bytes], ServerConnection]:
    """What makes the codec of a connection, by its first bytes (`ConnectionManagerUtility::autoCreateCodec`)."""
    server = context.server
    # Imported now: who has no file descriptor left can not read a module.
    server_codec(server.http1_codec, server.byte_meters)
    # `http1.*` exists once the first connection manager does, and is the same for all listeners.
    http1_stats = server.stats.scope("http1").struct(Http1CodecStats)
    http2_settings = Http2Settings.from_proto(
        config.http2_protocol_options,
        config.common_http_protocol_options,
        stream_errors=(
            config.stream_error_on_invalid_http_message.value
            if config.HasField("stream_error_on_invalid_http_message")
            else None
        ),
        max_headers_size=_max_headers_size(config),
    )
    http2_stats: list[Http2CodecStats] = []
    flush_timeout = timeout(config, "stream_flush_timeout", timeout(config, "stream_idle_timeout", 300.0))
    draw = server.random.stream(f"http.{config.stat_prefix}.keepalive").random

    def make(manager: ConnectionManager, data: bytes) -> ServerConnection:
        if config_codec == HTTP1 or (config_codec == AUTO and not _speaks_http2(manager.connection, data)):
            # Asked at each connection: a format that is compiled later may be the first that wants bytes counted.
            make_http1 = server_codec(server.http1_codec, server.byte_meters)
            made: ServerConnection = make_http1(manager.connection, manager, manager.config.http1, http1_stats)
            return made
        from ....http.http2.conn_manager import Http2ConnectionManager
        from ....http.http2.keepalive import Keepalive
        from ....http.http2.selection import server_codec as http2_server_codec

        if not http2_stats:
            http2_stats.append(server.stats.scope("http2").struct(Http2CodecStats))
        manager.__class__ = manager.http2_class()
        assert isinstance(manager, Http2ConnectionManager)
        manager.become()
        make_http2 = http2_server_codec(server.http2_codec, server.byte_meters)
        codec = make_http2(manager.connection, manager, http2_settings, http2_stats[0], server.dispatcher.write_soon)
        codec.flush_timeout = flush_timeout
        if manager.config.overload is not None:
            codec.scaled = manager.config.overload.scaled
        if http2_settings.keepalive_interval:
            codec.keepalive = Keepalive(codec, server.dispatcher, draw, manager.on_keepalive_timeout)
        return codec

    config_codec = config.codec_type
    return make


def _speaks_http2(connection: Connection, data: bytes) -> bool:
    """By what ALPN agreed on; without it, by the first bytes (`ConnectionManagerUtility::determineNextProtocol`)."""
    ssl = connection.info.ssl
    protocol = ssl.alpn if ssl is not None else ""
    return protocol == "h2" if protocol else data.startswith(_MAGIC)


def http1_settings(config: Any, common: Any, http1: Any, path: str) -> Http1Settings:
    key_formatter, make_key_formatter = header_formatters(http1.header_key_format, f"{path}.header_key_format")
    return Http1Settings(
        allow_absolute_url=not http1.HasField("allow_absolute_url") or http1.allow_absolute_url.value,
        accept_http_10=http1.accept_http_10,
        default_host_for_http_10=http1.default_host_for_http_10.encode(),
        enable_trailers=http1.enable_trailers,
        allow_chunked_length=http1.allow_chunked_length,
        allow_custom_methods=http1.allow_custom_methods,
        validate_scheme=config.use_remote_address.value and not config.xff_num_trusted_hops,
        max_headers_size=_max_headers_size(config),
        max_headers_count=common.max_headers_count.value if common.HasField("max_headers_count") else 100,
        underscores=common.headers_with_underscores_action,
        key_formatter=key_formatter,
        stream_error_on_invalid_http_message=(
            http1.override_stream_error_on_invalid_http_message.value
            if http1.HasField("override_stream_error_on_invalid_http_message")
            else config.stream_error_on_invalid_http_message.value
        ),
        ignored_upgrades=tuple(
            compile_string_matcher(each, f"{path}.ignore_http_11_upgrade[{at}]")
            for at, each in enumerate(http1.ignore_http_11_upgrade)
        ),
        make_key_formatter=make_key_formatter,
    )


def _max_headers_size(config: Any) -> int:
    """Bytes."""
    kilobytes: int = config.max_request_headers_kb.value if config.HasField("max_request_headers_kb") else 60
    return kilobytes * 1024


def timeout(message: Any, field: str, default: float) -> float:
    value = seconds(message, field)
    return default if value is None else value
