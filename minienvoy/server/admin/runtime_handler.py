"""`/runtime` and `/runtime_modify`.

Envoy: `Server::RuntimeHandler` (`source/server/admin/runtime_handler.cc`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import ConfigError
from .request import AdminRequest, AdminResponse, json_response, ok, text_response

if TYPE_CHECKING:
    from .admin_server import AdminServer


class RuntimeHandler:
    def __init__(self, server: AdminServer) -> None:
        self._server = server

    def handler_runtime(self, request: AdminRequest) -> AdminResponse:
        """Every key, with its value in each layer and the one that counts; Envoy gives them in no order."""
        layers = self._server.runtime.layers()
        entries: dict[str, Any] = {}
        for key in sorted({key for _, values in layers for key in values}):
            of_layers = [values.get(key, "") for _, values in layers]
            final = next((value for value in reversed(of_layers) if value), "")
            entries[key] = {"layer_values": of_layers, "final_value": final}
        return json_response({"entries": entries, "layers": [name for name, _ in layers]})

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
            self._server.runtime.merge_values(values)
        except ConfigError as error:
            return text_response(error.problem, 503)
        return ok()
