"""Sessions in a header that the client repeats: the base64 of the upstream's address.

Envoy: `Http::StatefulSession::Header::HeaderBasedSessionStateFactory`; docs "Stateful session".
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from ....config.fields import honours
from ....errors import ConfigError
from ....http.header_map import RequestHeaderMap, ResponseHeaderMap
from ....http.stateful_session import SESSION_STATES, SessionState, SessionStateFactory

TYPE: Final = "envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState"
honours(TYPE, "name")


class HeaderSessionState:
    __slots__ = ("_name", "upstream_address")

    def __init__(self, name: bytes, upstream_address: str | None) -> None:
        self._name = name
        self.upstream_address = upstream_address

    def on_update(self, host_address: str, headers: ResponseHeaderMap) -> bool:
        if host_address == self.upstream_address:
            return False
        headers.remove(self._name)
        headers.add(self._name, base64.b64encode(host_address.encode()))
        return True


def decoded(value: bytes | None) -> str | None:
    """What base64 says; None if it is none, or says nothing."""
    try:
        return base64.b64decode(value or b"", validate=True).decode("latin-1") or None
    except (binascii.Error, ValueError):
        return None


@SESSION_STATES.register("envoy.http.stateful_session.header", TYPE)
def create_header_sessions(config: Any, dispatcher: Any) -> SessionStateFactory:
    if not config.name:
        raise ConfigError("Header name cannot be empty for header based stateful sessions", "name")
    name = config.name.lower().encode()

    def create(headers: RequestHeaderMap) -> SessionState:
        return HeaderSessionState(name, decoded(headers.get(name)))

    return create
