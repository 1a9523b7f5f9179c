"""The admin section of the bootstrap, compiled.

Envoy: `Server::Configuration::InitialImpl::Admin`; `envoy.config.bootstrap.v3.Admin`. Whoever makes the listener takes
the address, the socket options and the access logs from here, and gives `allow_path` to `Admin`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...config.fields import honours
from ...config.schema import message_class

honours(
    "envoy.config.bootstrap.v3.Admin",
    "access_log",
    "access_log_path",
    "address",
    "socket_options",
    "ignore_global_conn_limit",
    "allow_paths",
    ignored={"profile_path": "there is no profiler that would write there"},
)


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """What it says.

    Attributes:
        address: `envoy.config.core.v3.Address`; None if there shall be no admin interface.
        access_logs: `envoy.config.accesslog.v3.AccessLog` messages, `access_log_path` among them.
        socket_options: `envoy.config.core.v3.SocketOption` messages.
        ignore_global_conn_limit: connections to the interface do not count.
        allow_path: says whether a target (path and query) is answered; None if all are.
    """

    address: Any = None
    access_logs: tuple[Any, ...] = ()
    socket_options: tuple[Any, ...] = ()
    ignore_global_conn_limit: bool = False
    allow_path: Callable[[str], bool] | None = None

    @classmethod
    def from_proto(cls, admin: Any, path: str = "admin") -> AdminSettings:
        """Raises ConfigError if one of `allow_paths` is a wrong regular expression."""
        logs = list(admin.access_log)
        if admin.access_log_path:
            logs.append(_file_access_log(admin.access_log_path))
        return cls(
            admin.address if admin.HasField("address") else None,
            tuple(logs),
            tuple(admin.socket_options),
            admin.ignore_global_conn_limit,
            _allow_path(admin.allow_paths, f"{path}.allow_paths"),
        )


def _allow_path(matchers: Any, path: str) -> Callable[[str], bool] | None:
    if not matchers:
        return None
    from ...matchers.string import compile_string_matcher

    allowed = [compile_string_matcher(matcher, f"{path}[{index}]") for index, matcher in enumerate(matchers)]

    def allow_path(target: str) -> bool:
        text = target.encode("utf-8", "surrogateescape")
        return any(matches(text) for matches in allowed)

    return allow_path


def _file_access_log(path: str) -> Any:
    """What the deprecated `access_log_path` stands for."""
    settings = message_class("envoy.extensions.access_loggers.file.v3.FileAccessLog")(path=path)
    log = message_class("envoy.config.accesslog.v3.AccessLog")(name="envoy.access_loggers.file")
    log.typed_config.type_url = f"type.googleapis.com/{settings.DESCRIPTOR.full_name}"
    log.typed_config.value = settings.SerializeToString()
    return log
