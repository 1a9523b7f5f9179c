"""What became of the objects that are the configuration (`minienvoy kubernetes`), for who asks.

No Envoy counterpart; `/minienvoy/kubernetes` shows it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

SINGLETON: Final = "kubernetes objects"


class ObjectState(NamedTuple):
    """Attributes:
    name: kind, namespace and name.
    left_out: why it is not served at all; empty if it is.
    notes: what of it is not done.
    """

    name: str
    left_out: str
    notes: tuple[str, ...]


class ObjectReport:
    """Attributes: `states`: of the objects of which there is something to tell."""

    def __init__(self) -> None:
        self.states: tuple[ObjectState, ...] = ()

    def stop(self) -> None:
        """Its server ends; it has nothing to end."""
