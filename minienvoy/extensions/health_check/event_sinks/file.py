"""`envoy.health_check.event_sink.file`: events of health checks go to a file.

Envoy: `Upstream::HealthCheckEventFileSink` (`source/extensions/health_check/event_sinks/file/`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ....config.fields import honours
from ....upstream.health_check_event_logger import HEALTH_CHECK_EVENT_SINKS, EventSink

if TYPE_CHECKING:
    from ....access_log.file import AccessLogManager

CONFIG_TYPE = "envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink"
honours(CONFIG_TYPE, "event_log_path")


@HEALTH_CHECK_EVENT_SINKS.register("envoy.health_check.event_sink.file", CONFIG_TYPE)
def create_file_sink(config: Any, access_logs: AccessLogManager, path: str) -> EventSink:
    return access_logs.create_access_log(config.event_log_path, f"{path}.event_log_path").write
