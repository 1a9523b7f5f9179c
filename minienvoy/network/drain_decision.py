"""Whether connections should be asked to end.

Envoy: `Network::DrainDecision`. The decision itself (a ramp, a failed health check) is made in
`server.drain_manager`; this is the flag that tells a response whether there is anything to decide.
"""

from __future__ import annotations

from collections.abc import Callable


class DrainState:
    """One for a server.

    Attributes:
        active: False while nothing drains, which is nearly always.
        watchers: called when something begins to drain.
    """

    __slots__ = ("active", "watchers")

    def __init__(self) -> None:
        self.active = False
        self.watchers: set[Callable[[], None]] = set()

    def begin(self) -> None:
        self.active = True
        for watcher in tuple(self.watchers):
            watcher()


def never(drain_timeout: float) -> float | None:
    """Where nothing drains: when a connection is asked to end."""
    return None
