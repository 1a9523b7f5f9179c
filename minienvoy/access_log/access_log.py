"""Access logs: what hears of every stream and writes some of them down.

Envoy: `AccessLog::Instance`, `AccessLogFactory`; docs "Access logging". A logger is an extension of the category
`envoy.access_loggers`; the filter in front of it is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from ..config.api import unpack
from ..config.fields import honours
from ..errors import ConfigError
from ..registry import Registry
from ..stream_info import AccessLogType, StreamInfo
from .context import FormatterContext, Headers
from .file import AccessLogFile, AccessLogManager
from .filters import Filter, ServerParts, compile_filter

__all__ = [
    "ACCESS_LOGGERS",
    "AccessLog",
    "AccessLogContext",
    "AccessLogFile",
    "AccessLogManager",
    "create_access_logs",
]

honours("envoy.config.accesslog.v3.AccessLog", "name", "filter", "typed_config")


class LogServer(ServerParts, Protocol):
    """As much of a `ServerContext` as access logs need."""

    @property
    def access_logs(self) -> AccessLogManager: ...


class AccessLogContext(Protocol):
    """As much of a `FactoryContext` as access logs need."""

    @property
    def server(self) -> LogServer: ...


Emit = Callable[[FormatterContext], None]
AccessLogFactory = Callable[[Any, AccessLogContext, str], Emit]
"""Makes what writes a line of: the configuration message, the context, and the path of the message for errors."""

ACCESS_LOGGERS: Final[Registry[AccessLogFactory]] = Registry("envoy.access_loggers")


class AccessLog:
    """One entry of `access_log` in the configuration."""

    __slots__ = ("_emit", "_filter", "name")

    def __init__(self, emit: Emit, filter: Filter | None = None, name: str = "") -> None:
        self._emit = emit
        self._filter = filter
        self.name = name

    def log(
        self,
        request_headers: Headers | None,
        response_headers: Headers | None,
        response_trailers: Headers | None,
        stream_info: StreamInfo,
        access_log_type: str = AccessLogType.NOT_SET,
        local_reply_body: str = "",
    ) -> None:
        """Tell of a stream; headers that there are not are None. `access_log_type` is one of `AccessLogType`."""
        self.log_context(
            FormatterContext(
                stream_info, request_headers, response_headers, response_trailers, local_reply_body, access_log_type
            )
        )

    def log_context(self, context: FormatterContext) -> None:
        """`log`, for who has a context already."""
        if self._filter is None or self._filter(context):
            self._emit(context)


def create_access_logs(protos: Iterable[Any], context: AccessLogContext, path: str = "") -> tuple[AccessLog, ...]:
    """Compile a repeated `envoy.config.accesslog.v3.AccessLog`; `path` is that of the field.

    Raises:
        ConfigError: a logger or a filter that is not supported, a wrong format, a file that can not be opened.
    """
    logs = []
    for index, proto in enumerate(protos):
        here = f"{path}[{index}]"
        if not proto.HasField("typed_config"):
            raise ConfigError(
                f"Didn't find a registered implementation for '{proto.name}' with type URL: ''",
                here,
                remedy="an access log needs a typed_config",
            )
        message = unpack(proto.typed_config, f"{here}.typed_config", validate=True)
        entry = ACCESS_LOGGERS.find(message.DESCRIPTOR.full_name, f"{here}.typed_config")
        emit = entry.factory(message, context, f"{here}.typed_config")
        filter = compile_filter(proto.filter, context.server, f"{here}.filter") if proto.HasField("filter") else None
        logs.append(AccessLog(emit, filter, proto.name))
    return tuple(logs)
