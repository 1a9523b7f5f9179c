"""The listener of the admin interface.

Envoy: `Server::AdminImpl` is a listener, a connection manager's configuration and a filter chain in one class. Here it
is an ordinary listener whose connection manager ends in the admin filter, made from a configuration that nobody wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...config.fields import honours
from ...config.schema import message_class
from ...http.filter import HTTP_FILTERS, TERMINAL_FILTERS, HttpFilterFactory
from ..drain_manager import DrainManager
from ..factory_context import FactoryContext
from ..listener import Listener
from .admin import Admin
from .admin_filter import create_admin_filter_factory

if TYPE_CHECKING:
    from ..server import Server

honours(
    "envoy.config.bootstrap.v3.Admin",
    "address",
    "access_log",
    "access_log_path",
    "socket_options",
    "ignore_global_conn_limit",
    "allow_paths",
    ignored={"profile_path": "there is no profiler"},
)

FILTER_TYPE = "minienvoy.server.admin.AdminFilter"
"""Only this module makes a configuration of that type."""
HCM_TYPE = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


@HTTP_FILTERS.register("envoy.filters.http.admin", FILTER_TYPE)
def create_admin_filter(config: Any, context: FactoryContext) -> HttpFilterFactory:
    server: Any = context.server
    return create_admin_filter_factory(server.admin.run)


TERMINAL_FILTERS.add("envoy.filters.http.admin")


def create_admin_listener(server: Server) -> Listener:
    """Not bound yet. `server.admin` answers its requests.

    Raises:
        ConfigError: the address, or an access log, can not be used.
    """
    admin = server.bootstrap.admin
    server.admin = Admin(server, _allow_path(admin))
    manager = message_class(HCM_TYPE)(stat_prefix="admin")
    manager.route_config.SetInParent()
    manager.generate_request_id.value = False
    # `//ready` and `/x/../%72eady` are `/ready`, as for Envoy's admin.
    manager.normalize_path.value = True
    manager.merge_slashes = True
    manager.http_protocol_options.allow_absolute_url.value = False
    # Nobody is given time to read: Envoy's admin closes at once.
    manager.delayed_close_timeout.seconds = 0
    manager.delayed_close_timeout.SetInParent()
    manager.drain_timeout.nanos = 100_000_000
    access_log = manager.access_log
    access_log.extend(admin.access_log)
    if admin.access_log_path:
        file = message_class("envoy.extensions.access_loggers.file.v3.FileAccessLog")(path=admin.access_log_path)
        access_log.add(name="envoy.access_loggers.file").typed_config.Pack(file)
    struct = message_class("xds.type.v3.TypedStruct")(type_url=f"type.googleapis.com/{FILTER_TYPE}")
    manager.http_filters.add(name="envoy.filters.http.admin").typed_config.Pack(struct)
    config = message_class("envoy.config.listener.v3.Listener")(name="admin", stat_prefix="admin")
    config.address.CopyFrom(admin.address)
    if config.address.HasField("socket_address"):
        config.address.socket_address.protocol = 0  # it speaks TCP, whatever is said
    config.socket_options.extend(admin.socket_options)
    config.ignore_global_conn_limit = admin.ignore_global_conn_limit
    config.bypass_overload_manager = True
    config.enable_reuse_port.value = False
    config.filter_chains.add().filters.add(name="envoy.http_connection_manager").typed_config.Pack(manager)
    return Listener(
        config,
        server,
        # Of its own: whoever looks on while a server drains is not asked to end.
        DrainManager(server.dispatcher, server.random.stream("drain")),
        server.listener_manager.global_connections,
        "admin",
        "admin",
        "main_thread",
    )


def _allow_path(admin: Any) -> Any:
    if not admin.allow_paths:
        return None
    from ...matchers.string import compile_string_matcher

    matchers = [compile_string_matcher(each, f"admin.allow_paths[{at}]") for at, each in enumerate(admin.allow_paths)]
    return lambda target: any(matches(target.encode("utf-8", "surrogateescape")) for matches in matchers)
