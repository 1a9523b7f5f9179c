"""Route tables of different size, and how they are compared."""

from __future__ import annotations

from pathlib import Path

from bench.contestants import CONTESTANTS, Ports
from bench.measure import Figures, Plan, Results
from bench.report import render
from bench.scale import TABLES, scale_config
from minienvoy.config.api import unpack
from minienvoy.config.loader import load_bootstrap


def test_each_table_has_a_listener_and_the_request_for_it_has_a_route(tmp_path: Path) -> None:
    ports = [10001 + number for number in range(len(TABLES))]
    bootstrap = load_bootstrap(scale_config(tmp_path, Ports(0, 0, 9000, 0, 0), ports)).message
    for table, listener, port in zip(TABLES, bootstrap.static_resources.listeners, ports, strict=True):
        assert listener.address.socket_address.port_value == port
        hosts = unpack(listener.filter_chains[0].filters[0].typed_config).route_config.virtual_hosts
        assert (len(hosts), len(hosts[-1].routes)) == (table.hosts, table.routes)
        request = next(table.work.requests())
        prefix = hosts[-1].routes[table.at].match.prefix
        assert request == f"GET {prefix}x HTTP/1.1\r\nhost: {hosts[-1].domains[0]}\r\n\r\n".encode()


def test_a_table_is_compared_with_few_routes_of_the_same_proxy_and_with_envoy() -> None:
    results = Results(
        Plan(contestants=CONTESTANTS, workloads=("scale",)),
        figures={
            "envoy": Figures({"scale0.cpu": [40e-6], "scale3.cpu": [400e-6], "scale3.busy": [0.99]}),
            "minienvoy": Figures({"scale0.cpu": [30e-6], "scale3.cpu": [33e-6], "scale3.busy": [0.99]}),
        },
    )
    text = render(results)
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines()]
    assert [f"{TABLES[3].name}: minienvoy", "33.0", "1.10", "0.08", "99%, 1 of 1"] in rows
    assert [f"{TABLES[3].name}: envoy", "400.0", "10.00", "1.00", "99%, 1 of 1"] in rows
