"""Entries of access logs that a service of Envoy's own protocol is sent (ALS), by what they say.

How many entries are in one message is a matter of time, unless it is one each; times are replaced by a word, and
addresses are written as logs write them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

_MESSAGE = "envoy.service.accesslog.v3.StreamAccessLogsMessage"
_NODE = ("id", "cluster", "user_agent_name")
_TIMES = ("start_time", "duration")


def of_streams(streams: Iterable[tuple[list[Any], list[bytes]]]) -> list[Any]:
    """Of the head and of the messages of each stream of gRPC."""
    from minienvoy.config.schema import message_class
    from minienvoy.server.admin.proto_json import ProtoPrinter

    make, printer = message_class(_MESSAGE), ProtoPrinter()
    found = []
    for head, bodies in streams:
        entries: list[Any] = []
        identified, sizes = [], set()
        for body in bodies:
            message = make.FromString(body)
            identified.append(message.HasField("identifier"))
            logged = [*message.http_logs.log_entry, *message.tcp_logs.log_entry]
            sizes.add(len(logged))
            if identified[-1]:
                node = {name: getattr(message.identifier.node, name) for name in _NODE}
                entries.append({"log": message.identifier.log_name, "node": node})
            entries += [_entry(printer.message(each)) for each in logged]
        together = "one entry" if sizes == {1} else "entries"
        again = ", identified again" if any(identified[1:]) else ""
        found.append([[f"{name}: {value}" for name, value in head], f"{together} a message{again}", *entries])
    # Of streams that begin at the same time any may be the first.
    return sorted(found, key=json.dumps)


def _entry(entry: dict[str, Any]) -> Any:
    """How many bytes headers take over HTTP/2 depends on how they are compressed."""
    if entry.get("protocol_version") == "HTTP2":
        for part in (entry["common_properties"], entry["request"], entry["response"]):
            part.update((name, "<bytes>") for name in list(part) if "_wire_bytes_" in name or "header_bytes_" in name)
    return _shown(entry)


def _shown(value: Any, key: str = "") -> Any:
    if key in _TIMES or key.startswith("time_to_"):
        return "<time>"
    if isinstance(value, dict):
        where = value.get("socket_address")
        if where is not None and "port_value" in where:
            return f"{where['address']}:{where['port_value']}"
        return {name: _shown(item, name) for name, item in sorted(value.items())}
    return [_shown(item) for item in value] if isinstance(value, list) else value
