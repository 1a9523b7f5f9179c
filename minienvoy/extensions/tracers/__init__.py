"""Tracers: who is told of spans, and how.

Envoy: `source/extensions/tracers`.
"""
