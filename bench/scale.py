"""What a request costs among few routes and among many: the same request, the same proxy, tables of different size.

Each table has its own listener of one process, so the process is the same in all respects but the table. `10 routes`
is what the others are compared with. Requests are for the last host of their table.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from .contestants import Ports
from .load import HttpExchanges, Work

HOSTS = 1_000
ROUTES = 10_000
FEW = 10


@dataclass(frozen=True, slots=True)
class Table:
    """A route table and whom the request is for."""

    name: str
    hosts: int
    routes: int
    at: int
    """The number of the route."""

    @property
    def work(self) -> Work:
        request = b"GET /service-%d/x HTTP/1.1\r\nhost: host-%d.example.com\r\n\r\n" % (self.at, self.hosts - 1)
        return Work(HttpExchanges, lambda: repeat(request))


TABLES = (
    Table("10 routes", 1, FEW, FEW - 1),
    Table("1,000 virtual hosts of 10 routes", HOSTS, FEW, FEW - 1),
    Table("10,000 prefix routes, the first", 1, ROUTES, 0),
    Table("10,000 prefix routes, the last", 1, ROUTES, ROUTES - 1),
)
_LISTENER = """\
  - name: listener-{number}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            name: table-{number}
            virtual_hosts:
{virtual_hosts}
"""

_CLUSTER = """\
  clusters:
  - name: http
    type: STATIC
    connect_timeout: 5s
    load_assignment:
      cluster_name: http
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {ports.upstream_http}}}}}}}
"""


def scale_config(directory: Path, ports: Ports, listeners: list[int]) -> Path:
    """A bootstrap with one listener for each of `TABLES`, on the ports `listeners`."""
    made = ["static_resources:\n  listeners:\n"]
    for number, (table, port) in enumerate(zip(TABLES, listeners, strict=True)):
        routes = "\n".join(
            f'              - {{match: {{prefix: "/service-{at}/"}}, route: {{cluster: http}}}}'
            for at in range(table.routes)
        )
        hosts = "\n".join(
            f"            - name: host-{at}\n              domains: [host-{at}.example.com]\n"
            f"              routes:\n{routes}"
            for at in range(table.hosts)
        )
        made.append(_LISTENER.format(number=number, port=port, virtual_hosts=hosts))
    made.append(_CLUSTER.format(ports=ports))
    path = directory / "scale.yaml"
    path.write_text("".join(made))
    return path
