"""`envoy.access_loggers.tcp_grpc`: an entry for each connection, sent to an access log service.

Envoy: `AccessLoggers::TcpGrpc::TcpGrpcAccessLog`; `envoy.data.accesslog.v3.TCPAccessLogEntry`.
"""

from __future__ import annotations

from typing import Any, Final, cast

from ....access_log.access_log import ACCESS_LOGGERS, AccessLogContext, Emit
from ....access_log.context import FormatterContext
from ....config.api import message_class
from ....config.fields import honours
from ....errors import ConfigError
from ....server.factory_context import ServerContext
from .grpc_access_log_utils import below_common_config, compile_common_properties
from .grpc_access_logger import shared_logger

CONFIG_TYPE: Final = "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig"
honours(CONFIG_TYPE, "common_config")


@ACCESS_LOGGERS.register("envoy.access_loggers.tcp_grpc", CONFIG_TYPE)
def create_tcp_grpc_access_log(config: Any, context: AccessLogContext, path: str) -> Emit:
    """Raises ConfigError below `path`."""
    server = cast(ServerContext, context.server)
    try:
        fill_common = compile_common_properties(config.common_config, server)
        logger = shared_logger(config.common_config, "tcp_logs", server)
    except ConfigError as error:
        raise below_common_config(error, path) from None
    make = message_class("envoy.data.accesslog.v3.TCPAccessLogEntry")

    def emit(told: FormatterContext) -> None:
        entry = make()
        fill_common(entry.common_properties, told)
        properties = entry.connection_properties
        properties.SetInParent()
        properties.received_bytes = told.stream_info.bytes_received
        properties.sent_bytes = told.stream_info.bytes_sent
        logger.log(entry)

    return emit
