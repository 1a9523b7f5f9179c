"""Parts of configurations that several tests are made of: YAML, as it stands in `static_resources`."""

from __future__ import annotations

ADMIN = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}\n"


def http_listener(name: str, routes: str, port: int = 0) -> str:
    """`routes`: of the only virtual host, as a list in one line."""
    return f"""\
  - name: {name}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - name: only
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {name}
          route_config:
            virtual_hosts: [{{name: all, domains: ["*"], routes: {routes}}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
"""


def tcp_listener(name: str, cluster: str, port: int = 0) -> str:
    return f"""\
  - name: {name}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: {name}
          cluster: {cluster}
"""


def kubernetes_cluster(name: str, value: str) -> str:
    """`value`: its fields, as in `docs/kubernetes.md`. Fields of the cluster itself may follow."""
    return f"""\
  - name: {name}
    connect_timeout: 1s
    cluster_type:
      name: minienvoy.clusters.kubernetes
      typed_config:
        "@type": type.googleapis.com/xds.type.v3.TypedStruct
        type_url: type.googleapis.com/minienvoy.clusters.Kubernetes
        value: {{{value}}}
"""


def kubernetes_proxy(value: str) -> str:
    """A listener `web` and a listener `tcp` before the cluster `web`, which follows what `value` says."""
    return (
        f"{ADMIN}static_resources:\n  listeners:\n"
        + http_listener("web", "[{match: {prefix: /}, route: {cluster: web}}]")
        + tcp_listener("tcp", "web")
        + "  clusters:\n"
        + kubernetes_cluster("web", value)
    )
