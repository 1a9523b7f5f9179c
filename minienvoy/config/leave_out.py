"""Take out of a configuration what is not honoured, so that the rest of it runs (`--unsupported warn`).

No Envoy counterpart. A field goes back to its default, and an HTTP filter, listener filter or access log of a type that
nobody knows is left out of its list. What is the only thing to do in its place stays, and is an error when it is
compiled: a network filter, the action of a route, a transport socket. Above all no connection becomes a plain one
because TLS is not there, or trusts a peer because a check is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from . import api, schema
from .fields import Unsupported

DISPENSABLE: Final = (
    "envoy.config.accesslog.v3.AccessLog",
    "envoy.config.listener.v3.ListenerFilter",
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
)
"""Messages that may be missing from the list they are in, when their `typed_config` is not taken."""


TRANSPORT_SOCKETS: Final = "envoy.extensions.transport_sockets."
"""Nothing is taken out of these: every field of TLS is about who is trusted. Whoever compiles one refuses it."""


def leave_out(message: Any, found: Iterable[Unsupported], path: str = "") -> None:
    """Change `message`, at `path`, of which `fields.unsupported` found these."""
    refused = frozenset(item.path for item in found)
    if refused:
        _leave_out(message, path, refused)


def _leave_out(message: Any, path: str, refused: frozenset[str]) -> bool:
    """Whether anything changed."""
    full_name = message.DESCRIPTOR.full_name
    if full_name.startswith(TRANSPORT_SOCKETS):
        return False
    if full_name == "google.protobuf.Any":
        return path not in refused and _leave_out_of_any(message, path, refused)
    if full_name.startswith("google.protobuf."):
        return False
    changed = False
    for field, value in message.ListFields():
        here = f"{path}.{field.name}" if path else field.name
        if here in refused:
            # A member of a oneof says what to do at all.
            if field.containing_oneof is None:
                message.ClearField(field.name)
                changed = True
            continue
        for place, item in schema.submessages(field, value, here):
            changed = _leave_out(item, place, refused) or changed
        if field.message_type is not None and field.message_type.full_name in DISPENSABLE:
            for index in reversed(range(len(value))):
                if f"{here}[{index}].typed_config" in refused:
                    del value[index]
                    changed = True
    return changed


def _leave_out_of_any(message: Any, path: str, refused: frozenset[str]) -> bool:
    if not message.type_url:
        return False
    payload = api.unpack(message, path)
    if message.type_url.rpartition("/")[2] in api.TYPED_STRUCTS:
        path = f"{path}.value"
    if not _leave_out(payload, path, refused):
        return False
    message.type_url = f"type.googleapis.com/{payload.DESCRIPTOR.full_name}"
    message.value = payload.SerializePartialToString()
    return True
