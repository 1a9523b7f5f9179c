"""What the codecs count.

Envoy: `Http::Http1::CodecStats` (`http1.*` below a listener's or a cluster's prefix, made when the first codec is).
"""

from __future__ import annotations


class Http1CodecStats:
    __slots__ = (
        "dropped_headers_with_underscores",
        "metadata_not_supported_error",
        "requests_rejected_with_underscores_in_headers",
        "response_flood",
    )

    def __init__(self) -> None:
        self.dropped_headers_with_underscores = 0
        self.metadata_not_supported_error = 0
        self.requests_rejected_with_underscores_in_headers = 0
        self.response_flood = 0
