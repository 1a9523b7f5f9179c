"""`/runtime` and `/runtime_modify`.

Envoy: `Server::RuntimeHandler` (`source/server/admin/runtime_handler.cc`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import ConfigError
from .request import AdminRequest, AdminResponse, json_response, ok, text_response

if TYPE_CHECKING:
    from .admin_server import AdminServer


class RuntimeHandler:
    def __init__(self, server: AdminServer) -> None:
        self._server = server

    def handler_runtime(self, request: AdminRequest) -> AdminResponse:
        """Every key, with its value in each layer and the one that counts."""
        return json_response(self._server.runtime.snapshot.to_json())

    def handler_runtime_modify(self, request: AdminRequest) -> AdminResponse:
        values = request.query.first_values()
        if not values:
            return text_response(
                "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n"
                "       or send the parameters as form values\n"
                "use an empty value to remove a previously added override",
                400,
            )
        try:
            self._server.runtime.modify(values)
        except ConfigError as error:
            return text_response(error.problem, 503)
        return ok()
