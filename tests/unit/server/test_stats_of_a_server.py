"""The structs of all owners together give the names that Envoy 1.40 prints, no more and no less."""

from __future__ import annotations

from pathlib import Path

import pytest

from minienvoy.http.codec_stats import Http1CodecStats
from minienvoy.http.conn_manager_stats import (
    ConnectionManagerListenerStats,
    ConnectionManagerStats,
    ConnectionManagerTracingStats,
    RouterStats,
)
from minienvoy.server.listener_stats import (
    ListenerExtensionConfigStats,
    ListenerManagerStats,
    ListenerStats,
    PerHandlerListenerStats,
)
from minienvoy.server.server_stats import (
    CompilationSettingsStats,
    FilesystemStats,
    OverloadActionStats,
    OverloadManagerStats,
    RuntimeStats,
    ServerStats,
    WatchdogStats,
)
from minienvoy.stats.store import StatsStruct, Store
from minienvoy.upstream.cluster_stats import ClusterManagerStats, ClusterStats, ThreadLocalClusterManagerStats

RECORDED = Path(__file__).parent.parent / "stats" / "recorded"

STRUCTS: list[tuple[str, type[StatsStruct]]] = [
    ("cluster_manager", ClusterManagerStats),
    ("envoy.overload_actions.reset_high_memory_stream", OverloadActionStats),
    ("filesystem", FilesystemStats),
    ("http.admin", ConnectionManagerStats),
    ("http.async-client", RouterStats),
    ("http.ingress_http", ConnectionManagerStats),
    ("http.ingress_http", RouterStats),
    ("http.ingress_http.tracing", ConnectionManagerTracingStats),
    ("http1", Http1CodecStats),
    ("listener.127.0.0.1:0", ListenerStats),
    ("listener.127.0.0.1:0", ListenerExtensionConfigStats),
    ("listener.127.0.0.1:0.http.ingress_http", ConnectionManagerListenerStats),
    ("listener.127.0.0.1:0.worker_0", PerHandlerListenerStats),
    ("listener.admin", ListenerStats),
    ("listener.admin.http.admin", ConnectionManagerListenerStats),
    ("listener.admin.main_thread", PerHandlerListenerStats),
    ("listener_manager", ListenerManagerStats),
    ("main_thread", WatchdogStats),
    ("overload", OverloadManagerStats),
    ("runtime", RuntimeStats),
    ("server", ServerStats),
    ("server.compilation_settings", CompilationSettingsStats),
    ("server.main_thread", WatchdogStats),
    ("server.worker_0", WatchdogStats),
    ("thread_local_cluster_manager.main_thread", ThreadLocalClusterManagerStats),
    ("thread_local_cluster_manager.worker_0", ThreadLocalClusterManagerStats),
    ("workers", WatchdogStats),
]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def cluster(store: Store) -> ClusterStats:
    """The only cluster of a server that has everything else, too."""
    for prefix, struct in STRUCTS:
        store.scope(prefix).struct(struct)
    return ClusterStats(store.scope("cluster.svc"))


def recorded(name: str) -> dict[str, str]:
    lines = [line.partition(": ") for line in (RECORDED / name).read_text().splitlines()]
    # The TCP proxy has its own struct.
    return {name: value for name, _, value in lines if not name.startswith("tcp.")}


def names(store: Store) -> set[str]:
    return {sample.name for sample in (*store.counters(), *store.gauges(), *store.histograms())}


def test_before_any_request(store: Store, cluster: ClusterStats) -> None:
    assert names(store) == set(recorded("stats_before_a_request.txt"))
    histograms = {name for name, value in recorded("stats_before_a_request.txt").items() if value.startswith("No ")}
    assert {sample.name for sample in store.histograms()} == histograms


def test_a_request_makes_the_lazy_ones(store: Store, cluster: ClusterStats) -> None:
    cluster.http1()
    cluster.codes.charge_response(200, False)
    cluster.codes.charge_timing(1, False)
    assert names(store) == set(recorded("stats_after_a_request.txt"))


def test_gauges_are_the_gauges_of_envoy(store: Store, cluster: ClusterStats) -> None:
    exposition = (RECORDED / "stats_prometheus.txt").read_text()
    for sample in store.gauges():
        last = sample.name.rpartition(".")[2]
        assert f"{last} gauge" in exposition, sample.name


def test_the_same_ones_are_used(store: Store, cluster: ClusterStats) -> None:
    cluster.codes.charge_response(200, False)
    cluster.http1()
    wanted = recorded("stats_usedonly.txt")
    for (_, prefix), entry in list(store.entries.items()):
        source = entry.source
        if isinstance(source, StatsStruct):
            for field in (*source.COUNTERS, *source.GAUGES):
                value = wanted.get(prefix + field, "0")
                setattr(source, field, int(value))
    # Its count comes from the codes.
    cluster.traffic.upstream_rq_completed = 0
    numbers = (*store.counters(), *store.gauges())
    assert {sample.name: str(sample.value) for sample in numbers if sample.used} == wanted
