"""How HTTP is spoken to a cluster.

Envoy: `envoy.extensions.upstreams.http.v3.HttpProtocolOptions`, `Upstream::HttpProtocolOptionsConfigImpl`; docs
"HTTP protocol options". The older fields of the cluster itself mean the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

EXTENSION = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
"""The key in `typed_extension_protocol_options`."""
HEADER_KEY_FORMATS = ("lower_case", "proper_case", "preserve_case")
HEADERS_WITH_UNDERSCORES = ("ALLOW", "REJECT_REQUEST", "DROP_HEADER")


@dataclass(frozen=True, slots=True)
class UpstreamHttpProtocolOptions:
    """Compiled options; None means no limit.

    Attributes:
        idle_timeout: seconds after which a connection without streams is closed.
        max_connection_duration: seconds after which a connection takes no new stream.
        max_stream_duration: seconds a stream may last.
        max_response_headers_kb: kibibytes; a response with more is a protocol error.
        header_key_format: `lower_case`, `proper_case` or `preserve_case`.
        override_stream_error: an invalid response ends only its stream where that is possible.
    """

    protocol: str = "HTTP/1.1"
    idle_timeout: float | None = 3600.0
    max_connection_duration: float | None = None
    max_stream_duration: float | None = None
    max_requests_per_connection: int | None = None
    max_headers_count: int = 100
    max_response_headers_kb: int = 60
    headers_with_underscores_action: str = "ALLOW"
    header_key_format: str = "lower_case"
    enable_trailers: bool = False
    allow_chunked_length: bool = False
    override_stream_error: bool = False
    send_fully_qualified_url: bool = False
    allow_custom_methods: bool = False

    @classmethod
    def from_proto(cls, cluster: Any, extension: Any | None) -> UpstreamHttpProtocolOptions:
        """From `envoy.config.cluster.v3.Cluster`, and the typed extension options if it has them, which win."""
        if extension is None:
            common, http1 = cluster.common_http_protocol_options, cluster.http_protocol_options
        else:
            common = extension.common_http_protocol_options
            http1 = extension.explicit_http_config.http_protocol_options
        max_requests = None
        for options in (cluster, common):
            if options.HasField("max_requests_per_connection"):
                max_requests = options.max_requests_per_connection.value or None
        idle_timeout = duration_of(common, "idle_timeout", 3600.0)
        return cls(
            idle_timeout=idle_timeout or None,
            max_connection_duration=duration_of(common, "max_connection_duration", 0.0) or None,
            max_stream_duration=duration_of(common, "max_stream_duration", 0.0) or None,
            max_requests_per_connection=max_requests,
            max_headers_count=common.max_headers_count.value if common.HasField("max_headers_count") else 100,
            max_response_headers_kb=(
                common.max_response_headers_kb.value if common.HasField("max_response_headers_kb") else 60
            ),
            headers_with_underscores_action=HEADERS_WITH_UNDERSCORES[common.headers_with_underscores_action],
            header_key_format=_header_key_format(http1),
            enable_trailers=http1.enable_trailers,
            allow_chunked_length=http1.allow_chunked_length,
            override_stream_error=http1.override_stream_error_on_invalid_http_message.value,
            send_fully_qualified_url=http1.send_fully_qualified_url,
            allow_custom_methods=http1.allow_custom_methods,
        )


def _header_key_format(http1: Any) -> str:
    kind = http1.header_key_format.WhichOneof("header_format")
    if kind == "proper_case_words":
        return "proper_case"
    if kind == "stateful_formatter":
        return "preserve_case"
    return "lower_case"


def duration_of(message: Any, field: str, default: float) -> float:
    """Seconds of a `Duration` field, `default` if it is not set."""
    if not message.HasField(field):
        return default
    duration = getattr(message, field)
    return float(duration.seconds + duration.nanos / 1e9)
