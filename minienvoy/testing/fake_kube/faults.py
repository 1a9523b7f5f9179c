"""What can be wrong with an API server, switched on and off while it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Faults:
    """Attributes:
    status: answer every request with this code instead; 0 for what it should be.
    body: of such an answer; empty for a Status object.
    content_type: of such an answer.
    delay: seconds before every answer.
    stalled: nothing is answered and watches say nothing; connections stay.
    half_lines: a watch ends in the middle of its next line.
    expired: every watch is told 410, in its stream.
    tokens: who may ask; None for everybody.
    forbidden: plural names that nobody may list or watch.
    """

    status: int = 0
    body: bytes = b""
    content_type: str = "application/json"
    delay: float = 0.0
    stalled: bool = False
    half_lines: bool = False
    expired: bool = False
    tokens: frozenset[str] | None = None
    forbidden: frozenset[str] = frozenset()
