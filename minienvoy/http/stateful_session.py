"""What remembers between the requests of a client which upstream it talks to.

Envoy: `envoy/http/stateful_session.h` (`Http::SessionState`, `SessionStateFactory`); docs "Stateful session".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ..registry import Registry

if TYPE_CHECKING:
    from .header_map import RequestHeaderMap, ResponseHeaderMap


class SessionState(Protocol):
    """Of one request.

    Attributes:
        upstream_address: what the client has told; None if it is new, or its session over.
    """

    upstream_address: str | None

    def on_update(self, host_address: str, headers: ResponseHeaderMap) -> bool:
        """This host has answered: tell the client, if it does not know. Whether the host is another than it told."""


SessionStateFactory = Callable[["RequestHeaderMap"], "SessionState | None"]
"""The state of a request; None if it has no session at all."""
SESSION_STATES: Registry[Callable[[Any, Any], SessionStateFactory]] = Registry("envoy.http.stateful_session")
"""(configuration message, `Dispatcher`) -> SessionStateFactory"""
