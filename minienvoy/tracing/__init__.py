"""Spans of requests: whether a request has them, what they tell, and who is told.

Envoy: `source/common/tracing`; docs "Tracing". Tracers (zipkin, ...) are in `minienvoy.extensions.tracers`.
"""
