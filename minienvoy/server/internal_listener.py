"""What a listener inside the process may not have, and the extension that there has to be for it.

Envoy: `Server::ListenerImpl` (`buildInternalListener`, `buildListenSocketOptions`); docs "Internal listener".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigError

if TYPE_CHECKING:
    from .factory_context import ServerContext

_OF_TCP: Final = (
    "tcp_fast_open_queue_length",
    "tcp_backlog_size",
    "freebind",
    "transparent",
    "enable_reuse_port",
    "enable_mptcp",
)


def check_internal_listener(config: Any, name: str, server: ServerContext, path: str) -> None:
    """Raises ConfigError: it says something that is for sockets, or nothing connects to such listeners."""

    def named(problem: str, field: str) -> ConfigError:
        return ConfigError(f"error adding listener named '{config.name}': {problem}", f"{path}.{field}")

    for field in ("address", "additional_addresses"):
        said = config.HasField("address") if field == "address" else bool(config.additional_addresses)
        if said:
            problem = "address should not be used when an internal listener config is provided"
            raise ConfigError(f"error adding listener '{name}': {problem}", f"{path}.{field}")
    if config.socket_options:
        raise named("does not support socket option", "socket_options")
    set_fields = {field.name for field, _ in config.ListFields()}
    for field in _OF_TCP:
        if field in set_fields:
            raise named("has unsupported tcp listener feature", field)
    if server.dispatcher.internal_listeners is None:
        raise named("InternalListener bootstrap extension is mandatory", "internal_listener")
