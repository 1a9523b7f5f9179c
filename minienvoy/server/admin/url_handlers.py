"""Everything Envoy's admin interface answers, and minienvoy's own `/minienvoy/*`.

Envoy: the table in `AdminImpl::AdminImpl` (`source/server/admin/admin.cc`). The texts are Envoy's, because scripts read
them; `/help` must print what Envoy prints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...record import replace
from .clusters_handler import ClustersHandler
from .config_dump_handler import ConfigDumpHandler
from .explain_handler import ExplainHandler
from .faults_handler import FaultsHandler
from .init_dump_handler import InitDumpHandler
from .kubernetes_handler import KubernetesHandler
from .listeners_handler import ListenersHandler
from .profiling_handler import ProfilingHandler
from .request import AdminRequest, AdminResponse, ok, text_response
from .runtime_handler import RuntimeHandler
from .server_cmd_handler import ServerCmdHandler
from .server_info_handler import ServerInfoHandler
from .stats_handler import StatsHandler
from .url_handler import AdminHandler, ParamDescriptor, ParamType, UrlHandler

if TYPE_CHECKING:
    from .admin_server import AdminServer
    from .config_tracker import ConfigTracker


def _text(name: str, help_text: str) -> ParamDescriptor:
    return ParamDescriptor(ParamType.STRING, name, help_text)


def _flag(name: str, help_text: str) -> ParamDescriptor:
    return ParamDescriptor(ParamType.BOOLEAN, name, help_text)


def _choice(name: str, help_text: str, *choices: str) -> ParamDescriptor:
    return ParamDescriptor(ParamType.ENUM, name, help_text, choices)


_FILTER_PARAMS = (
    _text("filter", "Regular expression (Google re2) for filtering stats"),
    _flag("invert_filter", "Invert the filter regex"),
)
_USED_ONLY = _flag("usedonly", "Only include stats that have been written by system since restart")
STATS_PARAMS = (
    _USED_ONLY,
    *_FILTER_PARAMS,
    _choice("format", "Format to use", "html", "active-html", "text", "json"),
    _choice("type", "Stat types to include.", "All", "Counters", "Histograms", "Gauges", "TextReadouts"),
    _choice("histogram_buckets", "Histogram bucket display mode", "cumulative", "disjoint", "detailed", "summary"),
)


def make_url_handlers(
    server: AdminServer, config_tracker: ConfigTracker, handler_home: AdminHandler, handler_help: AdminHandler
) -> list[UrlHandler]:
    """In no particular order."""
    clusters = ClustersHandler(server)
    config_dump = ConfigDumpHandler(config_tracker)
    explain = ExplainHandler(server)
    faults = FaultsHandler(server)
    kubernetes = KubernetesHandler(server)
    init_dump = InitDumpHandler(server)
    listeners = ListenersHandler(server)
    profiling = ProfilingHandler()
    runtime = RuntimeHandler(server)
    commands = ServerCmdHandler(server)
    info = ServerInfoHandler(server)
    stats = StatsHandler(server, STATS_PARAMS)
    reads = [
        UrlHandler("/", "Admin home page", handler_home),
        UrlHandler("/certs", "print certs on machine", info.handler_certs),
        UrlHandler(
            "/clusters",
            "upstream cluster status",
            clusters.handler_clusters,
            params=(_text("filter", "Regular expression (Google re2) for filtering clusters by name"),),
        ),
        UrlHandler(
            "/config_dump",
            "dump current Envoy configs",
            config_dump.handler_config_dump,
            params=(
                _text("resource", "The resource to dump"),
                _text(
                    "mask",
                    "The mask to apply. When both resource and mask are specified, the mask is applied to every "
                    "element in the desired repeated field so that only a subset of fields are returned. The mask is "
                    "parsed as a Protobuf::FieldMask",
                ),
                _text(
                    "name_regex",
                    "Dump only the currently loaded configurations whose names match the specified regex. Can be used "
                    "with both resource and mask query parameters.",
                ),
                _flag(
                    "include_eds",
                    "Dump currently loaded configuration including EDS. See the response definition for more "
                    "information",
                ),
            ),
        ),
        UrlHandler(
            "/contention", "dump current Envoy mutex contention stats (if enabled)", profiling.handler_contention
        ),
        UrlHandler("/heap_dump", "dump current Envoy heap (if supported)", profiling.handler_heap_dump),
        UrlHandler("/help", "print out list of admin commands", handler_help),
        UrlHandler(
            "/hot_restart_version", "print the hot restart compatibility version", info.handler_hot_restart_version
        ),
        UrlHandler(
            "/init_dump",
            "dump current Envoy init manager information (experimental)",
            init_dump.handler_init_dump,
            params=(
                _text(
                    "mask",
                    "The desired component to dump unready targets. The mask is parsed as a Protobuf::FieldMask. For "
                    "example, get the unready targets of all listeners with /init_dump?mask=listener`",
                ),
            ),
        ),
        UrlHandler(
            "/listeners",
            "print listener info",
            listeners.handler_listener_info,
            params=(_choice("format", "File format to use", "text", "json"),),
        ),
        UrlHandler("/memory", "print current allocation/heap usage", info.handler_memory),
        UrlHandler("/memory/tcmalloc", "print TCMalloc stats", profiling.handler_memory_tcmalloc),
        UrlHandler("/peak_heap_dump", "dump peak Envoy heap (if supported)", profiling.handler_heap_dump),
        UrlHandler("/ready", "print server state, return 200 if LIVE, otherwise return 503", info.handler_ready),
        UrlHandler("/runtime", "print runtime values", runtime.handler_runtime),
        UrlHandler("/server_info", "print server version/status information", info.handler_server_info),
        UrlHandler(
            "/stats",
            "print server stats",
            stats.handler_stats,
            params=STATS_PARAMS,
        ),
        UrlHandler(
            "/stats/prometheus",
            "print server stats in prometheus format",
            stats.handler_prometheus_stats,
            params=(
                _USED_ONLY,
                _flag(
                    "text_readouts", "Render text_readouts as new gaugues with value 0 (increases Prometheus data size)"
                ),
                *_FILTER_PARAMS,
                _choice("histogram_buckets", "Histogram bucket display mode", "cumulative", "summary"),
            ),
        ),
        UrlHandler("/stats/recentlookups", "Show recent stat-name lookups", stats.handler_recent_lookups),
        UrlHandler(
            "/minienvoy/explain",
            "explain why requests went where they went",
            explain.handler_explain,
            params=(
                _text("request_id", "The x-request-id of a request"),
                _text("last", "How many of the newest requests; 1 if neither parameter is given"),
            ),
            listed=False,
        ),
        UrlHandler(
            "/minienvoy/unsupported",
            "print what the configuration asks for and minienvoy does not do",
            explain.handler_unsupported,
            listed=False,
        ),
        UrlHandler(
            "/minienvoy/kubernetes",
            "print which pods are hosts, which are not, and why",
            kubernetes.handler_kubernetes,
            params=(_text("cluster", "The cluster"), _choice("format", "Format to use", "text", "json")),
            listed=False,
        ),
        UrlHandler(
            "/minienvoy/faults",
            "print, add (POST) and remove (POST) bad networks in front of hosts",
            faults.handler_faults,
            params=(
                _text("cluster", "The cluster"),
                _text("endpoint", "host:port of one of its hosts; otherwise all of them"),
                _text("type", "What is bad, by toxiproxy's names"),
                _text("remove", "The name of one to remove"),
            ),
            listed=False,
        ),
    ]
    enable = ("y", "n")
    commands_of_envoy = [
        UrlHandler(
            "/allocprofiler",
            "enable/disable the allocation profiler (if supported)",
            profiling.handler_alloc_profiler,
            params=(_choice("enable", "enable/disable the allocation profiler", *enable),),
        ),
        UrlHandler(
            "/cpuprofiler",
            "enable/disable the CPU profiler",
            profiling.handler_cpu_profiler,
            params=(_choice("enable", "enables the CPU profiler", *enable),),
        ),
        UrlHandler(
            "/drain_listeners",
            "drain listeners",
            listeners.handler_drain_listeners,
            params=(
                _flag(
                    "graceful",
                    "When draining listeners, enter a graceful drain period prior to closing listeners. This "
                    "behaviour and duration is configurable via server options or CLI",
                ),
                _flag(
                    "skip_exit",
                    "When draining listeners, drain the connections but never stop the listeners. The graceful "
                    "parameter has no effect when this is set, since the drain period only delays stopping the "
                    "listeners",
                ),
                _flag(
                    "inboundonly",
                    "Drains all inbound listeners. traffic_direction field in "
                    "envoy_v3_api_msg_config.listener.v3.Listener is used to determine whether a listener is inbound "
                    "or outbound.",
                ),
            ),
        ),
        UrlHandler("/healthcheck/fail", "cause the server to fail health checks", commands.handler_healthcheck_fail),
        UrlHandler("/healthcheck/ok", "cause the server to pass health checks", commands.handler_healthcheck_ok),
        UrlHandler(
            "/heapprofiler",
            "enable/disable the heap profiler",
            profiling.handler_heap_profiler,
            params=(_choice("enable", "enable/disable the heap profiler", *enable),),
        ),
        UrlHandler(
            "/logging",
            "query/change logging levels",
            _handler_logging,
            params=(
                _text(
                    "paths",
                    "Change multiple logging levels by setting to "
                    "<logger_name1>:<desired_level1>,<logger_name2>:<desired_level2>. If fine grain logging is "
                    "enabled, use __FILE__ or a glob experision as the logger name. For example, "
                    "source/common*:warning",
                ),
                _text(
                    "group",
                    "Change given logger group to desired level, set to <logger_group_name>:<desired_level>. "
                    "logger_group_name must be a logger name.",
                ),
                _choice(
                    "level",
                    "desired logging level, this will change all loggers's level",
                    *("", "trace", "debug", "info", "warning", "error", "critical", "off"),
                ),
            ),
        ),
        UrlHandler("/quitquitquit", "exit the server", commands.handler_quit_quit_quit),
        UrlHandler("/reopen_logs", "reopen access logs", commands.handler_reopen_logs),
        UrlHandler("/reset_counters", "reset all counters to zero", stats.handler_reset_counters),
        UrlHandler(
            "/runtime_modify",
            "Adds or modifies runtime values as passed in query parameters. To delete a previously added key, use an "
            "empty string as the value. Note that deletion only applies to overrides added via this endpoint; values "
            "loaded from disk can be modified via override but not deleted. E.g. ?key1=value1&key2=value2...",
            runtime.handler_runtime_modify,
        ),
        UrlHandler(
            "/stats/recentlookups/clear",
            "clear list of stat-name lookups and counter",
            _handler_nothing_to_do,
        ),
        UrlHandler(
            "/stats/recentlookups/disable",
            "disable recording of reset stat-name lookup names",
            stats.handler_recent_lookups_disable,
        ),
        UrlHandler(
            "/stats/recentlookups/enable",
            "enable recording of reset stat-name lookup names",
            stats.handler_recent_lookups_enable,
        ),
    ]
    return [*reads, *(replace(each, mutates_server_state=True) for each in commands_of_envoy)]


def _handler_logging(request: AdminRequest) -> AdminResponse:
    from .logs_handler import handler_logging

    status, text = handler_logging(list(request.query.first_values().items()))
    return text_response(text, status)


def _handler_nothing_to_do(request: AdminRequest) -> AdminResponse:
    return ok()
