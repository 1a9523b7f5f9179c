"""Inputs and matchers of match trees.

Envoy: `source/extensions/matching`, `source/common/http/matching`, `source/common/network/matching`.
"""
