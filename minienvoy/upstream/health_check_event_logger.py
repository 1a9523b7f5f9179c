"""What becomes of hosts by active health checks, as lines of JSON.

Envoy: `Upstream::HealthCheckEventLoggerImpl`, `envoy.data.core.v3.HealthCheckEvent`; docs "Health check event logging".
A line has every field of the message in the order of its numbers, also those that hold their default.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..config.api import type_of, unpack
from ..registry import Registry
from .event_time import timestamp

if TYPE_CHECKING:
    from ..access_log.file import AccessLogManager
    from ..event.dispatcher import Dispatcher
    from ..network.address import Address
    from .host import Host

EventSink = Callable[[str], None]
"""Takes a line of JSON, with its line end, of characters that are bytes."""
HEALTH_CHECK_EVENT_SINKS: Registry[Callable[[Any, AccessLogManager, str], EventSink]] = Registry(
    "envoy.health_check.event_sinks"
)
"""(configuration message, the files of logs, path of the message for errors) -> EventSink"""


def create_event_logger(
    config: Any, cluster_name: str, dispatcher: Dispatcher, access_logs: AccessLogManager | None, path: str
) -> HealthCheckEventLogger | None:
    """From `envoy.config.core.v3.HealthCheck`; None if nobody wants to know.

    Raises:
        ConfigError: a file that can not be opened.
    """
    if access_logs is None or not (config.event_log_path or config.event_logger):
        return None
    sinks: list[EventSink] = []
    for index, each in enumerate(config.event_logger):
        where = f"{path}.event_logger[{index}].typed_config"
        entry = HEALTH_CHECK_EVENT_SINKS.find(type_of(each.typed_config, where), where, each.name)
        sinks.append(entry.factory(unpack(each.typed_config, where, validate=True), access_logs, where))
    if config.event_log_path:
        sinks.append(access_logs.create_access_log(config.event_log_path, f"{path}.event_log_path").write)
    return HealthCheckEventLogger(cluster_name, dispatcher, tuple(sinks))


class HealthCheckEventLogger:
    def __init__(self, cluster_name: str, dispatcher: Dispatcher, sinks: tuple[EventSink, ...]) -> None:
        self._cluster_name = cluster_name
        self._dispatcher = dispatcher
        self._sinks = sinks

    def log(self, checker_type: str, host: Host, number: int, event: str, fields: dict[str, Any]) -> None:
        """`event` is the name of the field of the oneof, `number` its number."""
        shown: dict[str, Any] = {
            "health_checker_type": checker_type,
            "host": _address(host.address),
            "cluster_name": self._cluster_name,
        }
        time = {"timestamp": timestamp(self._dispatcher.wall_time())}
        happened = {event: fields}
        shown |= {**happened, **time} if number < _TIMESTAMP else {**time, **happened} if number < _METADATA else time
        if host.metadata:
            shown["metadata"] = {"filter_metadata": host.metadata, "typed_filter_metadata": {}}
        shown["locality"] = host.locality._asdict()
        if number > _METADATA:
            shown |= happened
        import json

        line = json.dumps(shown, separators=(",", ":"), ensure_ascii=False) + "\n"
        line = line.encode().decode("latin-1")
        for sink in self._sinks:
            sink(line)

    def eject_unhealthy(self, checker_type: str, host: Host, failure: str, status: int) -> None:
        self.log(checker_type, host, 4, "eject_unhealthy_event", {"failure_type": failure, "http_status_code": status})

    def add_healthy(self, checker_type: str, host: Host, first_check: bool) -> None:
        self.log(checker_type, host, 5, "add_healthy_event", {"first_check": first_check})

    def unhealthy(self, checker_type: str, host: Host, failure: str, first_check: bool, status: int) -> None:
        fields = {"failure_type": failure, "first_check": first_check, "http_status_code": status}
        self.log(checker_type, host, 7, "health_check_failure_event", fields)

    def degraded(self, checker_type: str, host: Host) -> None:
        self.log(checker_type, host, 8, "degraded_healthy_host", {})

    def no_longer_degraded(self, checker_type: str, host: Host) -> None:
        self.log(checker_type, host, 9, "no_longer_degraded_host", {})

    def successful(self, checker_type: str, host: Host) -> None:
        self.log(checker_type, host, 12, "successful_health_check_event", {})


_TIMESTAMP, _METADATA = 6, 10
"""Numbers of those fields."""


def _address(address: Address) -> dict[str, Any]:
    if address.path:
        return {"pipe": {"path": address.path, "mode": 0}}
    return {
        "socket_address": {
            "protocol": "TCP",
            "address": address.host,
            "port_value": address.port,
            "resolver_name": "",
            "ipv4_compat": False,
            "network_namespace_filepath": "",
        }
    }
