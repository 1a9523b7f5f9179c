"""The Zipkin tracer.

Envoy: `source/extensions/tracers/zipkin`.
"""
