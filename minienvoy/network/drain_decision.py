"""Whether connections should be asked to end.

Envoy: `Network::DrainDecision`. The decision itself (a ramp, a failed health check) is made in
`server.drain_manager`; this is the flag that tells a response whether there is anything to decide.
"""

from __future__ import annotations


class DrainState:
    """One for a server. `active` is False while nothing drains, which is nearly always."""

    __slots__ = ("active",)

    def __init__(self) -> None:
        self.active = False
