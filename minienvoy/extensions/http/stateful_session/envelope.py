"""Sessions in a header of the upstream's own, which is wrapped up with the upstream's address.

Envoy: `Http::StatefulSession::Envelope::EnvelopeSessionStateFactory`. The client sees and repeats
`base64(address);UV:base64(value)`; the upstream sees its value.
"""

from __future__ import annotations

import base64
from typing import Any, Final

from ....config.fields import honours
from ....http.header_map import RequestHeaderMap, ResponseHeaderMap
from ....http.stateful_session import SESSION_STATES, SessionState, SessionStateFactory
from .header import decoded

TYPE: Final = "envoy.extensions.http.stateful_session.envelope.v3.EnvelopeSessionState"
honours(TYPE, "header")
honours(f"{TYPE}.Header", "name")
_VALUE: Final = b"UV:"


class EnvelopeSessionState:
    __slots__ = ("_name", "upstream_address")

    def __init__(self, name: bytes, upstream_address: str | None) -> None:
        self._name = name
        self.upstream_address = upstream_address

    def on_update(self, host_address: str, headers: ResponseHeaderMap) -> bool:
        values = headers.get_all(self._name)
        if len(values) == 1:
            address, value = base64.b64encode(host_address.encode()), base64.b64encode(values[0])
            headers.remove(self._name)
            headers.add(self._name, address + b";" + _VALUE + value)
        return host_address != self.upstream_address


def _unwrapped(name: bytes, headers: RequestHeaderMap) -> str | None:
    """The address; the header is left with the upstream's value."""
    parts = [part for part in (headers.get(name) or b"").split(b";") if part]
    value = next((part[len(_VALUE) :] for part in parts[1:] if part.startswith(_VALUE)), None)
    original = decoded(value)
    if original is None:
        return None
    headers.remove(name)
    headers.add(name, original.encode("latin-1"))
    return decoded(parts[0])


@SESSION_STATES.register("envoy.http.stateful_session.envelope", TYPE)
def create_envelope_sessions(config: Any, dispatcher: Any) -> SessionStateFactory:
    name = config.header.name.lower().encode()

    def create(headers: RequestHeaderMap) -> SessionState:
        return EnvelopeSessionState(name, _unwrapped(name, headers))

    return create
