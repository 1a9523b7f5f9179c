"""What listeners count: `listener.ADDRESS.*`, `listener_manager.*`.

Envoy: `source/common/listener_manager/active_stream_listener_base.h` (`ALL_LISTENER_STATS`,
`ALL_PER_HANDLER_LISTENER_STATS`), `ALL_LISTENER_MANAGER_STATS`.

The prefix has the *configured* address, or the listener's `stat_prefix`: two listeners of port 0 share one struct.
"""

from __future__ import annotations

from minienvoy.stats.histogram import Histogram, MillisecondsHistogram
from minienvoy.stats.store import CounterValue, GaugeValue, StatsStruct


class ListenerStats(StatsStruct):
    """`listener.ADDRESS.*`; also `listener.admin.*`."""

    USED_WITH = {
        "downstream_cx_active": "downstream_cx_total",
        "downstream_pre_cx_active": "downstream_cx_total",
    }

    connections_accepted_per_socket_event: Histogram
    downstream_cx_active: GaugeValue
    downstream_cx_destroy: CounterValue
    downstream_cx_length_ms: MillisecondsHistogram
    downstream_cx_overflow: CounterValue
    downstream_cx_overload_reject: CounterValue
    downstream_cx_total: CounterValue
    downstream_cx_transport_socket_connect_timeout: CounterValue
    downstream_global_cx_overflow: CounterValue
    downstream_listener_filter_error: CounterValue
    downstream_listener_filter_remote_close: CounterValue
    downstream_pre_cx_active: GaugeValue
    downstream_pre_cx_timeout: CounterValue
    no_filter_chain_match: CounterValue


class ListenerExtensionConfigStats(StatsStruct):
    """`listener.ADDRESS.*` about filters that come by discovery; the admin listener has none."""

    extension_config_missing: CounterValue
    network_extension_config_missing: CounterValue


class PerHandlerListenerStats(StatsStruct):
    """`listener.ADDRESS.worker_0.*`, `listener.admin.main_thread.*`."""

    USED_WITH = {
        "downstream_cx_active": "downstream_cx_total",
    }

    downstream_cx_active: GaugeValue
    downstream_cx_total: CounterValue


class UdpListenerStats(StatsStruct):
    """`listener.ADDRESS.udp.*`, of a listener of datagrams."""

    downstream_rx_datagram_dropped: CounterValue


class ListenerManagerStats(StatsStruct):
    """`listener_manager.*`."""

    USED_WITH = {
        "total_listeners_active": "",
        "total_listeners_warming": "",
        "workers_started": "",
    }

    listener_added: CounterValue
    listener_create_failure: CounterValue
    listener_create_success: CounterValue
    listener_in_place_updated: CounterValue
    listener_modified: CounterValue
    listener_removed: CounterValue
    listener_stopped: CounterValue
    total_filter_chains_draining: GaugeValue
    total_listeners_active: GaugeValue
    total_listeners_draining: GaugeValue
    total_listeners_warming: GaugeValue
    workers_pinned: GaugeValue
    workers_started: GaugeValue
