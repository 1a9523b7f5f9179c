"""`/listeners` and `/drain_listeners`.

Envoy: `Server::ListenersHandler` (`source/server/admin/listeners_handler.cc`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .clusters_handler import address_json
from .request import AdminRequest, AdminResponse, json_response, ok, text_response

if TYPE_CHECKING:
    from .admin_server import AdminListener, AdminServer


class ListenersHandler:
    def __init__(self, server: AdminServer) -> None:
        self._server = server

    def handler_drain_listeners(self, request: AdminRequest) -> AdminResponse:
        """Ask connections to end; accept no more at once, after the drain time (`graceful`) or never (`skip_exit`)."""
        from ..listener_manager import StopListenersType

        query = request.query
        self._server.listener_manager.drain_listeners(
            StopListenersType.INBOUND_ONLY if "inboundonly" in query else StopListenersType.ALL,
            graceful="graceful" in query,
            skip_exit="skip_exit" in query,
        )
        return ok()

    def handler_listener_info(self, request: AdminRequest) -> AdminResponse:
        listeners = self._server.listener_manager.listeners()
        if request.query.first("format") == "json":
            statuses = [_listener_status(listener) for listener in listeners]
            return json_response({"listener_statuses": statuses} if statuses else {})
        return text_response(
            "".join(f"{listener.name}::{address}\n" for listener in listeners for address in listener.local_addresses)
        )


def _listener_status(listener: AdminListener) -> dict[str, Any]:
    """`envoy.admin.v3.ListenerStatus`."""
    first, *others = (address_json(address) for address in listener.local_addresses)
    status: dict[str, Any] = {"name": listener.name, "local_address": first}
    if others:
        status["additional_local_addresses"] = others
    return status
