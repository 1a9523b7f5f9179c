"""What the server counts of itself: `server.*`, `runtime.*`, watchdogs, files, DNS.

Envoy: `source/server/server.h` (`ALL_SERVER_STATS`, `ALL_SERVER_COMPILATION_SETTINGS_STATS`), `ALL_RUNTIME_STATS`,
`FILESYSTEM_STATS`, `ALL_WATCHDOG_STATS`, `ALL_CARES_DNS_RESOLVER_STATS`, `ALL_OVERLOAD_MANAGER_STATS`.
"""

from __future__ import annotations

from minienvoy.stats.histogram import Histogram, MillisecondsHistogram
from minienvoy.stats.store import CounterValue, GaugeValue, StatsStruct


class ServerStats(StatsStruct):
    """`server.*`."""

    USED_WITH = {
        "concurrency": "",
        "days_until_first_cert_expiring": "",
        "live": "",
        "memory_allocated": "",
        "memory_heap_size": "",
        "memory_physical_size": "",
        "state": "",
        "stats_recent_lookups": "",
        "total_connections": "",
        "uptime": "",
        "version": "",
        "dynamic_unknown_fields": "",
        "static_unknown_fields": "",
        "wip_protos": "",
    }

    concurrency: GaugeValue
    days_until_first_cert_expiring: GaugeValue
    debug_assertion_failures: CounterValue
    dropped_stat_flushes: CounterValue
    dynamic_unknown_fields: CounterValue
    envoy_bug_failures: CounterValue
    envoy_notifications: CounterValue
    hot_restart_epoch: GaugeValue
    initialization_time_ms: MillisecondsHistogram
    live: GaugeValue
    memory_allocated: GaugeValue
    memory_heap_size: GaugeValue
    memory_physical_size: GaugeValue
    parent_connections: GaugeValue
    seconds_until_first_ocsp_response_expiring: GaugeValue
    state: GaugeValue
    static_unknown_fields: CounterValue
    stats_recent_lookups: GaugeValue
    total_connections: GaugeValue
    uptime: GaugeValue
    version: GaugeValue
    wip_protos: CounterValue


class CompilationSettingsStats(StatsStruct):
    """`server.compilation_settings.*`."""

    USED_WITH = {
        "fips_mode": "",
    }

    fips_mode: GaugeValue


class WatchdogStats(StatsStruct):
    """`main_thread.*`, `workers.*`, `server.main_thread.*`, `server.worker_N.*`."""

    watchdog_mega_miss: CounterValue
    watchdog_miss: CounterValue


class RuntimeStats(StatsStruct):
    """`runtime.*`."""

    USED_WITH = {
        "num_keys": "",
        "num_layers": "",
    }

    admin_overrides_active: GaugeValue
    deprecated_feature_seen_since_process_start: GaugeValue
    deprecated_feature_use: CounterValue
    load_error: CounterValue
    load_success: CounterValue
    num_keys: GaugeValue
    num_layers: GaugeValue
    override_dir_exists: CounterValue
    override_dir_not_exists: CounterValue


class FilesystemStats(StatsStruct):
    """`filesystem.*`: the access log files; bytes where it is about size."""

    USED_WITH = {
        "write_total_buffered": "write_buffered",
    }

    flushed_by_timer: CounterValue
    reopen_failed: CounterValue
    write_buffered: CounterValue
    write_completed: CounterValue
    write_failed: CounterValue
    write_total_buffered: GaugeValue


class OverloadManagerStats(StatsStruct):
    """`overload.*`."""

    refresh_interval_delay: Histogram


class OverloadActionStats(StatsStruct):
    """`envoy.overload_actions.reset_high_memory_stream.*`."""

    count: CounterValue
