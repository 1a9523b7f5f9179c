"""What HTTP codecs count: `http1.*` and `http2.*` for all listeners together, `cluster.NAME.http1.*` and `.http2.*`.

Envoy: `ALL_HTTP1_CODEC_STATS`, `ALL_HTTP2_CODEC_STATS`. They exist from the first connection manager, or the first
upstream connection, with that codec: take the struct then.
"""

from __future__ import annotations

from ..stats.histogram import Histogram
from ..stats.store import CounterValue, GaugeValue, StatsStruct


class Http1CodecStats(StatsStruct):
    """`http1.*`."""

    dropped_headers_with_underscores: CounterValue
    metadata_not_supported_error: CounterValue
    requests_rejected_with_underscores_in_headers: CounterValue
    response_flood: CounterValue


class Http2CodecStats(StatsStruct):
    """`http2.*`."""

    cookies_total_bytes_too_large: CounterValue
    deferred_stream_close: CounterValue
    dropped_headers_with_underscores: CounterValue
    goaway_sent: CounterValue
    header_list_size_too_large: CounterValue
    header_overflow: CounterValue
    headers_cb_no_stream: CounterValue
    inbound_empty_frames_flood: CounterValue
    inbound_priority_frames_flood: CounterValue
    inbound_window_update_frames_flood: CounterValue
    keepalive_timeout: CounterValue
    metadata_empty_frames: CounterValue
    nghttp2_downstream_connections: CounterValue
    nghttp2_upstream_connections: CounterValue
    oghttp2_downstream_connections: CounterValue
    oghttp2_upstream_connections: CounterValue
    outbound_control_flood: CounterValue
    outbound_flood: CounterValue
    requests_rejected_with_underscores_in_headers: CounterValue
    rx_messaging_error: CounterValue
    rx_reset: CounterValue
    stream_refused_errors: CounterValue
    trailers: CounterValue
    tx_flush_timeout: CounterValue
    tx_reset: CounterValue
    outbound_control_frames_active: GaugeValue
    outbound_frames_active: GaugeValue
    pending_send_bytes: GaugeValue
    streams_active: GaugeValue
    cookie_count: Histogram
    cookie_size: Histogram
    header_count: Histogram
    header_list_size: Histogram
