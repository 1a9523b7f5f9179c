"""`envoy.filters.http.compressor`: bodies in a content coding that the other side understands.

Envoy: `source/extensions/filters/http/compressor`; docs "Compressor". `encoding_decision.py` reads `accept-encoding`,
`filter_config.py` is what the configuration says of each direction, `filter.py` does it.
"""
