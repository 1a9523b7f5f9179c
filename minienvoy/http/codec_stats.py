"""What HTTP codecs count: `http1.*` for all listeners together, `cluster.NAME.http1.*`.

Envoy: `ALL_HTTP1_CODEC_STATS`. They exist from the first connection manager, or the first upstream connection, with
that codec: take the struct then.
"""

from __future__ import annotations

from minienvoy.stats.store import CounterValue, StatsStruct


class Http1CodecStats(StatsStruct):
    """`http1.*`."""

    dropped_headers_with_underscores: CounterValue
    metadata_not_supported_error: CounterValue
    requests_rejected_with_underscores_in_headers: CounterValue
    response_flood: CounterValue
