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
        """Stop to accept; with `graceful` only after connections had the drain time to go away."""
        query = request.query
        drain_manager = self._server.drain_manager
        skip_exit = "skip_exit" in query
        if skip_exit and "graceful" not in query:
            return text_response("skip_exit requires graceful\n", 400)
        if "graceful" not in query:
            self._stop_listeners("inboundonly" in query)
        elif not drain_manager.draining:
            inbound_only = "inboundonly" in query
            drain_manager.start_drain_sequence(lambda: None if skip_exit else self._stop_listeners(inbound_only))
        return ok()

    def handler_listener_info(self, request: AdminRequest) -> AdminResponse:
        listeners = self._server.listener_manager.listeners()
        if request.query.first("format") == "json":
            statuses = [_listener_status(listener) for listener in listeners]
            return json_response({"listener_statuses": statuses} if statuses else {})
        return text_response(
            "".join(f"{listener.name}::{address}\n" for listener in listeners for address in listener.local_addresses)
        )

    def _stop_listeners(self, inbound_only: bool) -> None:
        self._server.listener_manager.stop_listeners(inbound_only=inbound_only)


def _listener_status(listener: AdminListener) -> dict[str, Any]:
    """`envoy.admin.v3.ListenerStatus`."""
    first, *others = (address_json(address) for address in listener.local_addresses)
    status = {"name": listener.name, "local_address": first}
    if others:
        status["additional_local_addresses"] = others
    return status
