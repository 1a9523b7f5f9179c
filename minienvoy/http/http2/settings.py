"""What an HTTP/2 codec may be told.

Envoy: `envoy.config.core.v3.Http2ProtocolOptions`, `Http2::Utility::initializeAndValidateOptions`.
"""

from __future__ import annotations

from typing import Any, Final

from ...config.fields import forbids, honours
from ...errors import ConfigError
from ...record import record
from ..http1.settings import ALLOW_UNDERSCORES

honours(
    "envoy.config.core.v3.Http2ProtocolOptions",
    "hpack_table_size",
    "max_concurrent_streams",
    "initial_stream_window_size",
    "initial_connection_window_size",
    "allow_connect",
    "allow_metadata",
    "max_metadata_size",
    "max_outbound_frames",
    "max_outbound_control_frames",
    "max_consecutive_inbound_frames_with_empty_payload",
    "max_inbound_priority_frames_per_stream",
    "max_inbound_window_update_frames_per_data_frame_sent",
    "stream_error_on_invalid_http_messaging",
    "override_stream_error_on_invalid_http_message",
    "custom_settings_parameters",
    "connection_keepalive",
    "max_header_field_size_kb",
    "stream_reset_burst",
    "stream_reset_rate",
    ignored={
        "disallow_obs_text": "Envoy was seen to take and to refuse the same bytes with it and without it",
        "use_oghttp2_codec": "there is one codec, which does what nghttp2 does",
        "enable_huffman_encoding": "header values are sent as they are, which costs bytes and saves time",
    },
)
honours("envoy.config.core.v3.Http2ProtocolOptions.SettingsParameter", "identifier", "value")
honours("envoy.config.core.v3.KeepaliveSettings", "interval", "timeout", "interval_jitter", "connection_idle_interval")

_NAMED: Final = {1: "hpack_table_size", 3: "max_concurrent_streams", 4: "initial_stream_window_size"}
"""Settings that have a field of their own."""


@forbids("envoy.config.core.v3.Http2ProtocolOptions")
def check_custom_settings(config: Any, path: str) -> None:
    """`custom_settings_parameters` that contradict a field, or each other."""
    where = f"{path}.custom_settings_parameters" if path else "custom_settings_parameters"
    said: dict[int, int] = {}
    inconsistent: dict[int, None] = {}
    collisions: list[str] = []
    for each in config.custom_settings_parameters:
        identifier, value = each.identifier.value, each.value.value
        if said.setdefault(identifier, value) != value:
            inconsistent[identifier] = None
        elif identifier == 2 and value == 1:
            raise ConfigError(
                "server push is not supported by Envoy and can not be enabled via a SETTINGS parameter.", where
            )
        elif identifier == 8:
            raise ConfigError(
                'the "allow_connect" SETTINGS parameter must only be configured through the named field', where
            )
        elif identifier in _NAMED and config.HasField(_NAMED[identifier]):
            collisions.append(_NAMED[identifier])
    if inconsistent:
        shown = ",".join(f"0x{identifier:02x}" for identifier in inconsistent)
        raise ConfigError(
            f"inconsistent HTTP/2 custom SETTINGS parameter(s) detected; identifiers = {{{shown}}}", where
        )
    if collisions:
        raise ConfigError(
            f"the {{{','.join(dict.fromkeys(collisions))}}} HTTP/2 SETTINGS parameter(s) can not be configured through "
            "both named and custom parameters",
            where,
        )


_NUMBERS = (
    "hpack_table_size",
    "max_concurrent_streams",
    "initial_stream_window_size",
    "initial_connection_window_size",
    "max_metadata_size",
    "max_outbound_frames",
    "max_outbound_control_frames",
    "max_consecutive_inbound_frames_with_empty_payload",
    "max_inbound_priority_frames_per_stream",
    "max_inbound_window_update_frames_per_data_frame_sent",
    "stream_reset_burst",
    "stream_reset_rate",
)


@record
class Http2Settings:
    """Defaults are Envoy's; sizes are bytes, times seconds.

    Attributes:
        hpack_table_size: of the table that the peer may fill.
        max_concurrent_streams: that the peer may open.
        initial_stream_window_size, initial_connection_window_size: what the peer may send before it has to wait.
        allow_connect: extended CONNECT (RFC 8441).
        allow_metadata: METADATA is read and written.
        max_metadata_size: of all METADATA of one stream, as it is coded.
        max_outbound_frames, max_outbound_control_frames: that the peer has not taken yet.
        max_consecutive_inbound_frames_with_empty_payload: HEADERS, CONTINUATION and DATA that bring nothing.
        max_inbound_priority_frames_per_stream, max_inbound_window_update_frames_per_data_frame_sent: see `flood`.
        stream_error_on_invalid_http_message: a bad message ends its stream, not the connection.
        custom_settings: (identifier, value), sent as they are.
        keepalive_interval: seconds between PINGs; 0 for none.
        keepalive_timeout: seconds an answer may take.
        keepalive_jitter: percent of the interval.
        keepalive_idle_interval: PING before a stream is opened after so many seconds of silence; 0 for never.
        max_headers_size: names and values of a message (`max_request_headers_kb`).
        max_headers_count: pseudo-headers are counted.
        max_field_size: a name or a value, as it is coded.
        stream_reset_burst, stream_reset_rate: resets of the client at once, and in a second for longer.
        underscores: what to do with a name that has one (`headers_with_underscores_action`).
    """

    hpack_table_size: int = 4096
    max_concurrent_streams: int = 1024
    initial_stream_window_size: int = 16 * 1024 * 1024
    initial_connection_window_size: int = 24 * 1024 * 1024
    allow_connect: bool = False
    allow_metadata: bool = False
    max_metadata_size: int = 1024 * 1024
    max_outbound_frames: int = 10_000
    max_outbound_control_frames: int = 1000
    max_consecutive_inbound_frames_with_empty_payload: int = 1
    max_inbound_priority_frames_per_stream: int = 100
    max_inbound_window_update_frames_per_data_frame_sent: int = 10
    stream_error_on_invalid_http_message: bool = False
    custom_settings: tuple[tuple[int, int], ...] = ()
    keepalive_interval: float = 0.0
    keepalive_timeout: float = 0.0
    keepalive_jitter: float = 15.0
    keepalive_idle_interval: float = 0.0
    max_headers_size: int = 60 * 1024
    max_headers_count: int = 100
    max_field_size: int = 64 * 1024
    stream_reset_burst: int = 1000
    stream_reset_rate: int = 33
    underscores: int = ALLOW_UNDERSCORES

    @classmethod
    def from_proto(
        cls, proto: Any, common: Any, *, stream_errors: bool | None = None, max_headers_size: int = 60 * 1024
    ) -> Http2Settings:
        """From `Http2ProtocolOptions` and `HttpProtocolOptions`.

        `stream_errors` is what the connection manager says, if anything:
        `override_stream_error_on_invalid_http_message` counts more, `stream_error_on_invalid_http_messaging` less.
        """
        given = {name: getattr(proto, name).value for name in _NUMBERS if proto.HasField(name)}
        if proto.HasField("override_stream_error_on_invalid_http_message"):
            stream_errors = proto.override_stream_error_on_invalid_http_message.value
        elif stream_errors is None:
            stream_errors = proto.stream_error_on_invalid_http_messaging
        keepalive = proto.connection_keepalive
        field_size = proto.max_header_field_size_kb.value if proto.HasField("max_header_field_size_kb") else 64
        return cls(
            **given,
            max_field_size=field_size * 1024,
            allow_connect=proto.allow_connect,
            allow_metadata=proto.allow_metadata,
            stream_error_on_invalid_http_message=stream_errors,
            custom_settings=tuple(
                (each.identifier.value, each.value.value) for each in proto.custom_settings_parameters
            ),
            keepalive_interval=_seconds(keepalive.interval),
            keepalive_timeout=_seconds(keepalive.timeout),
            keepalive_jitter=keepalive.interval_jitter.value if keepalive.HasField("interval_jitter") else 15.0,
            keepalive_idle_interval=_seconds(keepalive.connection_idle_interval),
            max_headers_size=max_headers_size,
            max_headers_count=common.max_headers_count.value if common.HasField("max_headers_count") else 100,
            underscores=common.headers_with_underscores_action,
        )


def _seconds(duration: Any) -> float:
    return float(duration.seconds + duration.nanos / 1e9)
