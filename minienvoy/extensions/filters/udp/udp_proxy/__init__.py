"""`envoy.filters.udp_listener.udp_proxy`: passes datagrams to hosts of clusters, and their answers back.

Envoy: `source/extensions/filters/udp/udp_proxy`; docs "UDP proxy".
"""
