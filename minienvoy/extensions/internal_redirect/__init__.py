"""Predicates of internal redirects.

Envoy: `source/extensions/internal_redirect`.
"""
