"""Principals and matchers that policies of RBAC name.

Envoy: `source/extensions/filters/common/rbac/principals`, `source/extensions/filters/common/rbac/matchers`.
"""
