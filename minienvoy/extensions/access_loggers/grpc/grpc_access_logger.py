"""Entries that wait to be sent to an access log service, and the stream they are sent on.

Envoy: `AccessLoggers::Common::GrpcAccessLogger`, `AccessLoggers::GrpcCommon::GrpcAccessLoggerImpl`; statistics
`access_logs.grpc_access_log.*`. Logs of the same configuration share a stream. Who this proxy is stands in the first
message of each; one that ends is begun anew with the next message.
"""

from __future__ import annotations

from typing import Any, Final

from ....config.api import message_class
from ....config.fields import honours
from ....errors import ConfigError
from ....server.async_services import GrpcServiceConfig, core_retry_policy
from ....server.factory_context import ServerContext
from ....stats.store import CounterValue, StatsStruct
from ....stream_info import StreamInfo
from ....upstream.duration import duration_of
from ....upstream.grpc_client import GrpcStream

COMMON_TYPE: Final = "envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig"
_METHOD: Final = "envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
_MESSAGE: Final = "envoy.service.accesslog.v3.StreamAccessLogsMessage"
_V2: Final = 1
LIMIT: Final = 1 << 20
"""How many bytes may wait where each entry is sent at once (`buffer_size_bytes: 0`) and cannot be."""

honours(
    COMMON_TYPE,
    "log_name",
    "grpc_service",
    "buffer_flush_interval",
    "buffer_size_bytes",
    "transport_api_version",
    "grpc_stream_retry_policy",
)


class GrpcAccessLogStats(StatsStruct):
    """`access_logs.grpc_access_log.*`."""

    logs_written: CounterValue
    logs_dropped: CounterValue
    grpc_entries_flushed: CounterValue
    grpc_entries_flush_failed: CounterValue


class GrpcAccessLogger:
    """Sends what has come within `interval` seconds, or sooner when it is `size` bytes."""

    def __init__(self, config: Any, entries: str, server: ServerContext) -> None:
        """Of a `CommonGrpcAccessLogConfig`; `entries` is `http_logs` or `tcp_logs`. Raises ConfigError below it."""
        if config.transport_api_version == _V2:
            raise ConfigError("there is no version 2 of the protocol any more", "transport_api_version")
        service = GrpcServiceConfig.from_proto(config.grpc_service, "grpc_service", server)
        if config.HasField("grpc_stream_retry_policy"):
            policy = core_retry_policy(config.grpc_stream_retry_policy, "grpc_stream_retry_policy", "connect-failure")
            service = service.with_retry_policy(policy)
        self._client = service.client(server)
        self._metadata = service.call_metadata(StreamInfo())
        self._interval = duration_of(config, "buffer_flush_interval", 1.0)
        self._size = config.buffer_size_bytes.value if config.HasField("buffer_size_bytes") else 16384
        self._limit = self._size or LIMIT
        self._name: str = config.log_name
        self._entries = entries
        self._node = server.node
        self._stats = server.stats.scope("access_logs.grpc_access_log").struct(GrpcAccessLogStats)
        self._make = message_class(_MESSAGE)
        self._message = self._make()
        self._waiting = 0
        self._bytes = 0
        self._stream: GrpcStream | None = None
        self._full = False
        self._timer = server.dispatcher.create_timer(self._on_time)
        self._timer.enable(self._interval)

    def log(self, entry: Any) -> None:
        """Take an entry, unless too much waits already."""
        if self._bytes >= self._limit:
            self.flush()
            if self._bytes >= self._limit:
                self._stats.logs_dropped += 1
                return
        self._stats.logs_written += 1
        self._bytes += entry.ByteSize()
        self._waiting += 1
        getattr(self._message, self._entries).log_entry.append(entry)
        if self._bytes >= self._size:
            self.flush()

    def flush(self) -> None:
        """Send what waits, unless the service has not read what it was sent before."""
        if not self._waiting:
            return
        if self._stream is None:
            self._message.identifier.node.CopyFrom(self._node)
            self._message.identifier.log_name = self._name
            self._start()
        elif self._full:
            return
        stream = self._stream
        if stream is None:
            # There is nobody; it is tried again with what comes.
            self._stats.grpc_entries_flush_failed += self._waiting
            return
        stream.send(self._message.SerializeToString())
        self._stats.grpc_entries_flushed += self._waiting
        self._message = self._make()
        self._waiting = self._bytes = 0

    # -- from the stream

    def on_receive_message(self, message: bytes) -> None:
        """Nobody reads what the service has to say."""

    def on_remote_close(self, status: int, message: str) -> None:
        self._stream = None

    # -- inside

    def _on_time(self) -> None:
        self.flush()
        self._timer.enable(self._interval)

    def _start(self) -> None:
        self._full = False
        stream = self._client.start(_METHOD, self, 0.0, self._metadata)
        if stream.stream is not None and not stream.stream.done:
            stream.stream.above_watermark = self._on_watermark
            self._stream = stream

    def _on_watermark(self, above: bool) -> None:
        self._full = above


def shared_logger(config: Any, entries: str, server: ServerContext) -> GrpcAccessLogger:
    """The one of all logs that say the same; raises ConfigError below `common_config`."""
    key = ("grpc_access_log", entries, config.SerializeToString(deterministic=True))
    return server.singleton(key, lambda: GrpcAccessLogger(config, entries, server))
