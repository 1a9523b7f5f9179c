"""HTTP/2: framing and header compression of our own, and the same over the h2 library.

Envoy: `source/common/http/http2`.
"""
