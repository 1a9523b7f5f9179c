"""`envoy.filters.http.upstream_codec`: the last filter between the router and an upstream, which is the codec itself.

Envoy: `Router::UpstreamCodecFilterFactory`. What it does is part of every attempt (`UpstreamFilterManager`).
"""

from __future__ import annotations

from typing import Any

from ....config.fields import honours
from ....http.filter import UPSTREAM_HTTP_FILTERS, HttpFilterFactory, StreamDecoderFilter
from ..network.http_filter_chain import UPSTREAM_CODEC

honours(UPSTREAM_CODEC)


@UPSTREAM_HTTP_FILTERS.register("envoy.filters.http.upstream_codec", UPSTREAM_CODEC)
def create_upstream_codec(config: Any, context: Any) -> HttpFilterFactory:
    """Nobody makes it: an attempt is it."""
    return StreamDecoderFilter
