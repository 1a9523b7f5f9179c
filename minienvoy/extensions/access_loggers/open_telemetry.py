"""`envoy.access_loggers.open_telemetry`: access logs by OTLP, over gRPC or HTTP.

Envoy: `AccessLoggers::OpenTelemetry::AccessLog`, `GrpcAccessLoggerImpl`, `HttpAccessLoggerImpl`,
`OpenTelemetryFormatter`; statistics `access_logs.open_telemetry_access_log.*`. Logs of the same configuration share
what waits to be sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from google.protobuf.message import DecodeError

from ... import logger
from ...access_log.access_log import ACCESS_LOGGERS, AccessLogContext, Emit
from ...access_log.command import CommandTable
from ...access_log.context import FormatterContext, Sources
from ...access_log.formatter import compile_format
from ...access_log.substitution_format_string import compile_formatters
from ...config.api import message_class
from ...config.extension import create_extensions
from ...config.fields import honours
from ...errors import ConfigError
from ...server.factory_context import ServerContext
from ...stats.store import CounterValue, StatsStruct
from ...tracing.custom_tag import compile_custom_tags
from ...tracing.span import readable
from ...upstream.duration import duration_of
from ..common.otlp_exporter import OtlpExporter, OtlpGrpcExporter, OtlpHttpExporter
from ..tracers.opentelemetry.resource import RESOURCE_DETECTORS

CONFIG_TYPE: Final = "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig"
COMMON_TYPE: Final = "envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig"
_METHOD: Final = "opentelemetry.proto.collector.logs.v1.LogsService/Export"
_REQUEST: Final = "opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest"
_RESPONSE: Final = "opentelemetry.proto.collector.logs.v1.ExportLogsServiceResponse"
_RECORD: Final = "opentelemetry.proto.logs.v1.LogRecord"
_ONE_TRANSPORT: Final = (
    "OpenTelemetry access logger can only have one transport configured. Specify exactly one of: grpc_service, "
    "http_service, or common_config.grpc_service."
)
_NO_TRANSPORT: Final = (
    "OpenTelemetry access logger requires one of: grpc_service, http_service, or common_config.grpc_service to be "
    "configured."
)


def _unused(message: Any) -> str | None:
    """What the deprecated settings may say in other access logs only."""
    for name in ("filter_state_objects_to_log", "grpc_stream_retry_policy"):
        if name in {field.name for field, _ in message.common_config.ListFields()}:
            return f"{name} is not supported"
    return None


honours(
    CONFIG_TYPE,
    "grpc_service",
    "http_service",
    "log_name",
    "disable_builtin_labels",
    "resource_detectors",
    "stat_prefix",
    "formatters",
    "buffer_flush_interval",
    "buffer_size_bytes",
    "custom_tags",
    whole=("body", "attributes", "resource_attributes"),
    when={"common_config": _unused},
)
honours(
    COMMON_TYPE,
    "log_name",
    "grpc_service",
    "buffer_flush_interval",
    "buffer_size_bytes",
    "custom_tags",
    "transport_api_version",
)

_V2: Final = 1
Fill = Callable[[Any, FormatterContext], None]
"""Fills an `AnyValue` in."""
_log: Final = logger.get("misc")


class OtlpAccessLogStats(StatsStruct):
    """`access_logs.open_telemetry_access_log.*`."""

    logs_written: CounterValue
    logs_dropped: CounterValue


class OtlpGrpcAccessLogStats(OtlpAccessLogStats):
    """The same over gRPC; the other two count nothing there is here, nor in Envoy."""

    grpc_entries_flushed: CounterValue
    grpc_entries_flush_failed: CounterValue


class OtlpAccessLogger:
    """What waits to be sent, of all logs of one configuration: for `interval` seconds, or until it is `size` bytes."""

    def __init__(self, config: Any, exporter: OtlpExporter, stats: OtlpAccessLogStats, server: ServerContext) -> None:
        """Raises ConfigError: a detector refuses its settings."""
        # Over gRPC Envoy heeds those of the deprecated `common_config` only.
        holder = config if config.HasField("http_service") else config.common_config
        self._interval = duration_of(holder, "buffer_flush_interval", 1.0)
        self._size = holder.buffer_size_bytes.value if holder.HasField("buffer_size_bytes") else 16384
        self._exporter = exporter
        self._stats = stats
        self._request = message_class(_REQUEST)
        self._response = message_class(_RESPONSE)
        template = self._request()
        resource = template.resource_logs.add()
        _describe(resource.resource.attributes, config, server)
        resource.scope_logs.add()
        self._template = template.SerializeToString()
        self._records: list[Any] = []
        self._waiting = 0
        self._timer = server.dispatcher.create_timer(self.flush)

    def log(self, record: Any) -> None:
        self._records.append(record)
        self._waiting += record.ByteSize()
        if self._waiting >= self._size:
            self.flush()
        elif len(self._records) == 1:
            self._timer.enable(self._interval)

    def flush(self) -> None:
        self._timer.disable()
        records, self._records, self._waiting = self._records, [], 0
        request = self._request.FromString(self._template)
        request.resource_logs[0].scope_logs[0].log_records.extend(records)

        def on_answer(answer: bytes | None) -> None:
            self._count(len(records), answer)

        self._exporter.export(request.SerializeToString(), on_answer)

    def _count(self, sent: int, answer: bytes | None) -> None:
        rejected = sent
        if answer is not None:
            try:
                partial = self._response.FromString(answer).partial_success
            except DecodeError:
                # What is no message is no answer.
                _log.debug("OTLP access log export was answered with no message")
            else:
                rejected = max(0, min(partial.rejected_log_records, sent))
        self._stats.logs_dropped += rejected
        self._stats.logs_written += sent - rejected


def _describe(attributes: Any, config: Any, server: ServerContext) -> None:
    """Who tells: the node, what detectors find, and over that what the configuration says."""
    told: dict[str, str] = {}
    if not config.disable_builtin_labels:
        node = server.node
        name = config.log_name or config.common_config.log_name
        told = {"log_name": name, "zone_name": node.locality.zone, "cluster_name": node.cluster, "node_name": node.id}
    for found in create_extensions(RESOURCE_DETECTORS, config.resource_detectors, "resource_detectors"):
        told |= found
    said = config.resource_attributes.values
    own = {each.key for each in said}
    for key, value in told.items():
        if key not in own:
            attributes.add(key=key).value.string_value = value
    attributes.extend(said)


def _exporter(config: Any, server: ServerContext) -> OtlpExporter:
    common = config.common_config.HasField("grpc_service")
    if config.HasField("grpc_service") + config.HasField("http_service") + common > 1:
        raise ConfigError(_ONE_TRANSPORT, "grpc_service")
    if config.HasField("http_service"):
        return OtlpHttpExporter(config.http_service, "http_service", server, _log, agent_first=True)
    if config.HasField("grpc_service"):
        return OtlpGrpcExporter(config.grpc_service, "grpc_service", server, _METHOD, _log)
    if not common:
        raise ConfigError(_NO_TRANSPORT, "grpc_service")
    if config.common_config.transport_api_version == _V2:
        raise ConfigError("there is no version 2 of the protocol any more", "common_config.transport_api_version")
    return OtlpGrpcExporter(config.common_config.grpc_service, "common_config.grpc_service", server, _METHOD, _log)


def _logger(config: Any, server: ServerContext) -> OtlpAccessLogger:
    prefix = f"access_logs.open_telemetry_access_log.{config.stat_prefix}".rstrip(".")
    stats: type[OtlpAccessLogStats] = OtlpGrpcAccessLogStats
    if config.HasField("http_service"):
        stats = OtlpAccessLogStats
    return OtlpAccessLogger(config, _exporter(config, server), server.stats.scope(prefix).struct(stats), server)


def _value(proto: Any, path: str, sources: Sources, added: CommandTable) -> Fill:
    """An `AnyValue` whose texts are formats; raises ConfigError."""
    kind = proto.WhichOneof("value")
    if kind == "string_value":
        formatter = compile_format(proto.string_value, sources, path=path, added=added)

        def fill_text(value: Any, context: FormatterContext) -> None:
            value.string_value = readable(formatter.format(context).encode("latin-1", "replace"))

        return fill_text
    if kind == "kvlist_value":
        fill_pairs = _pairs(proto.kvlist_value, path, sources, added)

        def fill_list(value: Any, context: FormatterContext) -> None:
            value.kvlist_value.SetInParent()
            fill_pairs(value.kvlist_value.values, context)

        return fill_list
    if kind == "array_value":
        items = [_value(each, f"{path}[{at}]", sources, added) for at, each in enumerate(proto.array_value.values)]

        def fill_array(value: Any, context: FormatterContext) -> None:
            value.array_value.SetInParent()
            for fill in items:
                fill(value.array_value.values.add(), context)

        return fill_array
    problem = "Only string values, nested key value lists and array values are supported in OpenTelemetry access log"
    raise ConfigError(f"{problem} format.", path)


def _pairs(proto: Any, path: str, sources: Sources, added: CommandTable) -> Fill:
    """A `KeyValueList`, in its order."""
    fields = [
        (each.key, _value(each.value, f"{path}.values[{at}].value", sources, added))
        for at, each in enumerate(proto.values)
    ]

    def fill(pairs: Any, context: FormatterContext) -> None:
        for key, fill_value in fields:
            fill_value(pairs.add(key=key).value, context)

    return fill


@ACCESS_LOGGERS.register("envoy.access_loggers.open_telemetry", CONFIG_TYPE)
def create_open_telemetry_access_log(config: Any, context: AccessLogContext, path: str) -> Emit:
    """Raises ConfigError below `path`."""
    server = cast(ServerContext, context.server)
    try:
        return _compile(config, server)
    except ConfigError as error:
        raise error.below(path) from None


def _compile(config: Any, server: ServerContext) -> Emit:
    added = compile_formatters(config.formatters, "formatters")
    body = _value(config.body, "body", server, added) if config.body.WhichOneof("value") else None
    attributes = _pairs(config.attributes, "attributes", server, added)
    tags = compile_custom_tags(config.custom_tags or config.common_config.custom_tags, "custom_tags", server)
    key = ("open_telemetry_access_log", config.SerializeToString(deterministic=True))
    shared = server.singleton(key, lambda: _logger(config, server))
    make = message_class(_RECORD)

    def emit(context: FormatterContext) -> None:
        info = context.stream_info
        record = make(time_unix_nano=round(info.start_time * 1_000_000) * 1000)
        if body is not None:
            body(record.body, context)
        attributes(record.attributes, context)
        span = info.active_span
        if span is not None and span.trace_id:
            record.trace_id = bytes.fromhex(span.trace_id.zfill(32))
            record.span_id = bytes.fromhex(span.span_id)
        for name, tag in tags.items():
            value = tag(context)
            if value is not None:
                record.attributes.add(key=name).value.string_value = value
        shared.log(record)

    return emit
