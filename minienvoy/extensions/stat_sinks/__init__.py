"""Stat sinks: who is told of statistics, and how.

Envoy: `source/extensions/stat_sinks`.
"""
