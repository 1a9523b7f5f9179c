"""Names that an upstream makes up; what Envoy counts is in tests/conformance/scenarios/grpc_stats.yaml."""

from __future__ import annotations

from minienvoy.extensions.filters.common.grpc_counts import charge
from minienvoy.http.header_map import HeaderMap
from minienvoy.stats.store import Store


def test_statuses_that_an_upstream_makes_up_do_not_fill_the_memory() -> None:
    store, others = Store(), set[bytes]()
    for number in range(1000):
        charge(store.scope("grpc"), "", HeaderMap.of([("grpc-status", f"x{number}")]), others)
    charge(store.scope("grpc"), "", HeaderMap.of([("grpc-status", "7")]), others)
    assert [store.value(f"grpc.{name}") for name in ("x0", "x99", "unknown", "7", "failure")] == [1, 1, 900, 1, 1001]
    assert len(others) == 100
