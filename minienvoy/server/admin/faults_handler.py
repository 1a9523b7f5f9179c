"""minienvoy's own: bad networks in front of hosts, switched on and off while it runs.

No Envoy counterpart; `upstream/faults.py` is what it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import ConfigError
from .request import AdminRequest, AdminResponse, json_response, text_response

if TYPE_CHECKING:
    from ...upstream.faults import Fault
    from .admin_server import AdminServer

_OF_FAULT = ("cluster", "endpoint", "type", "name", "stream", "toxicity")


class FaultsHandler:
    def __init__(self, server: AdminServer) -> None:
        self._server = server

    def handler_faults(self, request: AdminRequest) -> AdminResponse:
        """GET prints them. POST adds one: `cluster=`, `type=` and perhaps `endpoint=`, `name=`, `stream=`,
        `toxicity=` and the type's attributes; or removes one: `cluster=`, `remove=<name>`; or all: `clear`."""
        if request.method != "POST":
            if len(request.query):
                return text_response(f"Method {request.method} not allowed, POST required.", 405)
            return self._print()
        try:
            self._change(request.query.first_values())
        except (ConfigError, ValueError) as error:
            return text_response(f"{error}\n", 400)
        return self._print()

    def _change(self, values: dict[str, str]) -> None:
        faults = self._server.faults
        if "clear" in values:
            faults.clear()
            return
        if "cluster" not in values or not ("type" in values or "remove" in values):
            raise ConfigError("give cluster and type, or cluster and remove, or clear")
        endpoint = values.get("endpoint", "")
        if "remove" in values:
            faults.remove(values["cluster"], values["remove"], endpoint=endpoint or None)
            return
        faults.add(
            values["cluster"],
            values["type"],
            endpoint=endpoint,
            name=values.get("name", ""),
            stream=values.get("stream", "downstream"),
            toxicity=float(values.get("toxicity", "1")),
            **{name: int(value) for name, value in values.items() if name not in _OF_FAULT},
        )

    def _print(self) -> AdminResponse:
        return json_response({"faults": [_json(each) for each in self._server.faults]})


def _json(fault: Fault) -> dict[str, Any]:
    toxic = fault.toxic
    return {
        "cluster": fault.cluster,
        "endpoint": fault.endpoint,
        "name": toxic.name,
        "type": toxic.type,
        "stream": toxic.stream,
        "toxicity": toxic.toxicity,
        "attributes": dict(toxic.attributes),
    }
