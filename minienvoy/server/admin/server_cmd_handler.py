"""Commands to the server: fail health checks, end, reopen logs.

Envoy: `Server::ServerCmdHandler`, `LogsHandler::handlerReopenLogs` (`source/server/admin/server_cmd_handler.cc`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .request import AdminRequest, AdminResponse, ok

if TYPE_CHECKING:
    from .admin_server import AdminServer


class ServerCmdHandler:
    def __init__(self, server: AdminServer) -> None:
        self._server = server

    def handler_healthcheck_fail(self, request: AdminRequest) -> AdminResponse:
        self._server.fail_health_check(True)
        return ok()

    def handler_healthcheck_ok(self, request: AdminRequest) -> AdminResponse:
        self._server.fail_health_check(False)
        return ok()

    def handler_quit_quit_quit(self, request: AdminRequest) -> AdminResponse:
        self._server.shutdown()
        return ok()

    def handler_reopen_logs(self, request: AdminRequest) -> AdminResponse:
        self._server.access_logs.reopen()
        return ok()
