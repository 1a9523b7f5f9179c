"""`envoy.transport_sockets.tls`: TLS with clients and with upstreams.

Envoy: `source/extensions/transport_sockets/tls`, `source/common/tls`.
"""
