"""The last explanations, kept for whoever asks why.

No Envoy counterpart; `Proxy.explain` and the admin's `/minienvoy/explain` read it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from .explanation import Explanation
from .journal import Journal


class ExplanationLog:
    """A ring of the newest `capacity` explanations, oldest first."""

    def __init__(self, capacity: int = 1000) -> None:
        self._ring: deque[Explanation] = deque(maxlen=capacity)
        self.journal = Journal(capacity)
        """What became of hosts, whoever's stream it was."""

    def append(self, explanation: Explanation) -> None:
        self._ring.append(explanation)

    def last(self) -> Explanation:
        """The newest; IndexError if nothing has been explained yet."""
        return self._ring[-1]

    def for_request_id(self, request_id: str) -> Explanation:
        """The newest explanation of the request with this `x-request-id`; KeyError if it is not there (any more)."""
        for explanation in reversed(self._ring):
            if explanation.request_id == request_id:
                return explanation
        raise KeyError(request_id)

    def clear(self) -> None:
        self._ring.clear()

    def __iter__(self) -> Iterator[Explanation]:
        return iter(self._ring)

    def __len__(self) -> int:
        return len(self._ring)
