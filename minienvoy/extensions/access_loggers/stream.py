"""Writes access logs to the standard output or the standard error output.

Envoy: `envoy.access_loggers.stdout`, `envoy.access_loggers.stderr` (`source/extensions/access_loggers/stream`).
"""

from __future__ import annotations

from typing import Any

from ...access_log.access_log import ACCESS_LOGGERS, AccessLogContext, Emit
from ...access_log.formatter import default_formatter
from ...access_log.substitution_format_string import compile_substitution_format
from ...config.fields import honours
from .file import emit_to

_TYPES = "envoy.extensions.access_loggers.stream.v3"

honours(f"{_TYPES}.StdoutAccessLog", "log_format")
honours(f"{_TYPES}.StderrAccessLog", "log_format")


@ACCESS_LOGGERS.register("envoy.access_loggers.stdout", f"{_TYPES}.StdoutAccessLog")
def create_stdout_access_log(config: Any, context: AccessLogContext, path: str) -> Emit:
    """Raises ConfigError for a wrong format."""
    return _create(config, context, path, "/dev/stdout")


@ACCESS_LOGGERS.register("envoy.access_loggers.stderr", f"{_TYPES}.StderrAccessLog")
def create_stderr_access_log(config: Any, context: AccessLogContext, path: str) -> Emit:
    """Raises ConfigError for a wrong format."""
    return _create(config, context, path, "/dev/stderr")


def _create(config: Any, context: AccessLogContext, path: str, file: str) -> Emit:
    server = context.server
    if config.WhichOneof("access_log_format") == "log_format":
        formatter = compile_substitution_format(config.log_format, server, f"{path}.log_format")
    else:
        formatter = default_formatter(server)
    return emit_to(server.access_logs.create_access_log(file, path), formatter)
