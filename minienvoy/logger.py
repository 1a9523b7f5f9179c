"""The log of the process: one named logger per component, levels that can be changed while it runs.

Envoy: `Logger::Registry`, `Logger::Id`, `Logger::Context` in `source/common/common/logger.h`; admin `/logging`.

    log = logger.get("upstream")
    log.info("cm init: all clusters initialized")
    if log.debug_on:                     # an attribute, so that a request pays nothing for what is off
        log.debug(f"creating a new connection to {host.address}")

The loggers belong to the process, as Envoy's do, not to a server; they are quiet (`WARNING`) until the command line, or
who embeds a server, sets their level. Python's `logging` is not used: importing it costs
more than a tenth of the start of a server, and it has no levels per component that an attribute can answer.
"""

# ruff: noqa: SIM905 (the list of names is easier to compare with Envoy's as text)
from __future__ import annotations

import os
import sys

from .errors import ConfigError
from .event.clock import wall_time
from .log_pattern import DEFAULT_PATTERN, LEVEL_NAMES, LogRecord, compile_pattern, escape_c

TRACE, DEBUG, INFO, WARNING, ERROR, CRITICAL, OFF = range(7)

# Envoy's ALL_LOGGER_IDS, in its order: `/logging` lists them so, and Envoy's names must be accepted even where
# minienvoy has nothing to say under them.
NAMES = (
    "a2a admin ai_protocol_manager alternate_protocols_cache aws assert backtrace basic_auth cache_filter "
    "client config connection conn_handler compression credential_injector decompression dns dubbo envoy_bug "
    "ext_authz ext_proc rocketmq file filter forward_proxy geolocation grpc happy_eyeballs hc health_checker "
    "http http2 hystrix init io jwt json_rpc kafka key_value_store lua local_rate_limit main matcher mcp misc "
    "mongo multi_connection notification oauth2 quic quic_stream pool rate_limit_quota rbac rds redis router "
    "runtime stats secret sse tap testing thrift tracing upstream udp wasm websocket golang stats_sinks "
    "dynamic_modules ip_tagging "
).split()

_ROOT = __file__.removesuffix(os.path.join("minienvoy", "logger.py"))  # noqa: PTH118 (importing pathlib costs 5 ms)


class LogSink:
    """Where lines go: standard error, or a file that can be reopened (`Logger::DelegatingLogSink`).

    A line is one `write`, so that processes which share the sink do not mix theirs. What can not be written is lost:
    a full disk or a closed pipe must not stop the proxy.
    """

    def __init__(self) -> None:
        self._path = ""
        self._descriptor = 2
        self._escaped = False
        self._last = 0.0
        self.set_format(DEFAULT_PATTERN)

    def set_format(self, pattern: str, escaped: bool = False) -> None:
        """Write in `pattern` from now on; `escaped` as `--log-format-escaped`."""
        self._format = compile_pattern(pattern)
        self._escaped = escaped

    def open(self, path: str) -> None:
        """Append to the file at `path` from now on; an empty path is standard error.

        Raises:
            ConfigError: the file can not be opened.
        """
        descriptor = 2
        if path:
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise ConfigError(
                    f"Failed to open log-file '{path}'. e.what(): unable to open file '{path}': {error.strerror}"
                ) from error
        old, self._descriptor, self._path = self._descriptor, descriptor, path
        if old != 2:
            os.close(old)

    def reopen(self) -> None:
        """Open the file again by its name, after a log rotation moved it away (SIGUSR1, `/reopen_logs`)."""
        if self._path:
            try:
                self.open(self._path)
            except ConfigError as error:
                get("main").error(str(error))

    def write(self, level: int, name: str, message: str, depth: int) -> None:
        """Write one event that was logged `depth` calls up."""
        frame = sys._getframe(depth + 1)
        when = wall_time()
        code = frame.f_code
        file = code.co_filename.removeprefix(_ROOT)
        elapsed = max(0.0, when - self._last) if self._last else 0.0
        self._last = when
        record = LogRecord(when, elapsed, level, name, message, file, frame.f_lineno, code.co_name)
        line = self._format(record)
        if self._escaped:
            line = escape_c(line)
        try:
            os.write(self._descriptor, f"{line}\n".encode("utf-8", "surrogateescape"))
        except OSError:
            pass


SINK = LogSink()


class Logger:
    """One component's logger. `set_level` changes its level; the `*_on` attributes answer "would it be written?"."""

    __slots__ = ("debug_on", "info_on", "level", "name", "trace_on")

    def __init__(self, name: str) -> None:
        self.name = name
        self.set_level(WARNING)

    def set_level(self, level: int) -> None:
        self.level = level
        self.trace_on = level <= TRACE
        self.debug_on = level <= DEBUG
        self.info_on = level <= INFO

    def trace(self, message: str) -> None:
        if self.trace_on:
            SINK.write(TRACE, self.name, message, 1)

    def debug(self, message: str) -> None:
        if self.debug_on:
            SINK.write(DEBUG, self.name, message, 1)

    def info(self, message: str) -> None:
        if self.info_on:
            SINK.write(INFO, self.name, message, 1)

    def warning(self, message: str) -> None:
        if self.level <= WARNING:
            SINK.write(WARNING, self.name, message, 1)

    def error(self, message: str) -> None:
        if self.level <= ERROR:
            SINK.write(ERROR, self.name, message, 1)

    def critical(self, message: str) -> None:
        if self.level <= CRITICAL:
            SINK.write(CRITICAL, self.name, message, 1)


_LOGGERS = {name: Logger(name) for name in NAMES}


def get(name: str) -> Logger:
    """The logger of a component, by Envoy's name for it.

    Raises:
        KeyError: Envoy has no such component; `misc` is for what fits nowhere else.
    """
    return _LOGGERS[name]


def loggers() -> dict[str, Logger]:
    """Every logger by name, in Envoy's order."""
    return dict(_LOGGERS)


def find_level(name: str) -> int | None:
    """The level called `name` on the command line, where `warn` is `warning`; None if there is none."""
    if name == "warn":
        return WARNING
    return LEVEL_NAMES.index(name) if name in LEVEL_NAMES else None


def set_level(level: int) -> None:
    """Give every logger the same level."""
    for logger in _LOGGERS.values():
        logger.set_level(level)


def reopen() -> None:
    """Open the log file again by its name, if the log is a file."""
    SINK.reopen()
