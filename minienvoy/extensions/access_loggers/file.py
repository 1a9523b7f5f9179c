"""Writes access logs to files.

Envoy: `envoy.access_loggers.file` (`source/extensions/access_loggers/file`); docs "Access logging".
"""

from __future__ import annotations

from typing import Any

from ...access_log.access_log import ACCESS_LOGGERS, AccessLogContext, AccessLogFile, Emit
from ...access_log.context import FormatterContext, Sources
from ...access_log.formatter import compile_format, default_formatter
from ...access_log.substitution_format_string import CompiledFormat, compile_json_format, compile_substitution_format
from ...config.fields import honours

honours(
    "envoy.extensions.access_loggers.file.v3.FileAccessLog",
    "path",
    "format",
    "log_format",
    whole=("json_format", "typed_json_format"),
)


@ACCESS_LOGGERS.register("envoy.access_loggers.file", "envoy.extensions.access_loggers.file.v3.FileAccessLog")
def create_file_access_log(config: Any, context: AccessLogContext, path: str) -> Emit:
    """Raises ConfigError for a wrong format, or a file that can not be opened."""
    server = context.server
    formatter = _compile_format(config, server, path)
    return emit_to(server.access_logs.create_access_log(config.path, f"{path}.path"), formatter)


def emit_to(file: AccessLogFile, formatter: CompiledFormat) -> Emit:
    """What formats a line and hands it to `file`."""
    write, format = file.write, formatter.format

    def emit(context: FormatterContext) -> None:
        write(format(context))

    return emit


def _compile_format(config: Any, sources: Sources, path: str) -> CompiledFormat:
    kind = config.WhichOneof("access_log_format")
    if kind == "log_format":
        return compile_substitution_format(config.log_format, sources, f"{path}.log_format")
    if kind in ("json_format", "typed_json_format"):
        return compile_json_format(getattr(config, kind), sources, False, f"{path}.{kind}")
    if kind == "format" and config.format:
        return compile_format(config.format, sources, path=f"{path}.format")
    return default_formatter(sources)
