"""Where request ids come from, and what they tell.

Envoy: `source/extensions/request_id`.
"""
