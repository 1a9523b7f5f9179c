"""Why a stream went where it went.

minienvoy's own idea: Envoy leaves only response flags and `%RESPONSE_CODE_DETAILS%` behind, so the wording of
`because` follows those (`route_not_found`, `no_healthy_upstream`, ...) where Envoy has a word for it.
"""

from __future__ import annotations

from typing import NamedTuple

POINTS = (
    "listener",
    "filter_chain",
    "route",
    "cluster",
    "discovery",
    "subset",
    "priority",
    "host",
    "connection",
    "retry",
    "timeout",
    "internal_redirect",
    "local_reply",
    "ejection",
    "health",
    "fault",
    "rate_limit",
    "overload",
    "rbac",
    "cors",
    "trace",
)
"""The fixed vocabulary of `Decision.point`."""


class NearMiss(str):
    """Something that was on offer and not taken: `name (reason)`.

    Attributes:
        name: of the route, virtual host, ...
        reason: what it was lost by.
        path: where it stands in the configuration, from the message on that its owner was compiled from.
    """

    __slots__ = ("name", "path", "reason")

    name: str
    reason: str
    path: str

    def __new__(cls, name: object, reason: str, path: str = "", text: str = "") -> NearMiss:
        """`text` takes the place of the reason where it is to be short."""
        made = super().__new__(cls, f"{name} ({text or reason})")
        made.name, made.reason, made.path = str(name), reason, path
        return made


class Decision(NamedTuple):
    """One choice: at which point, what was chosen, why, and what else was on offer.

    `path` is where what was chosen stands in the configuration, as in `NearMiss`; empty where nobody says.
    """

    point: str
    chose: object
    because: str
    rejected: tuple[object, ...] = ()
    path: str = ""

    def __str__(self) -> str:
        others = f" (not {', '.join(map(str, self.rejected))})" if self.rejected else ""
        return f"{self.point}: {self.chose}{others}, because {self.because}"


class Explanation:
    """The decisions of one stream, in the order in which they were made."""

    __slots__ = ("decisions", "request_id")

    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self.request_id = ""

    def decided(
        self, point: str, chose: object, because: str, rejected: tuple[object, ...] = (), path: str = ""
    ) -> None:
        """Record a choice where it is made."""
        self.decisions.append(Decision(point, chose, because, rejected, path))

    def __getitem__(self, point: str) -> Decision:
        """The last decision at `point`; KeyError if there was none."""
        for decision in reversed(self.decisions):
            if decision.point == point:
                return decision
        raise KeyError(point)

    def __contains__(self, point: str) -> bool:
        return any(decision.point == point for decision in self.decisions)

    def all(self, point: str) -> list[Decision]:
        """Every decision at `point`, e.g. one `host` for each attempt."""
        return [decision for decision in self.decisions if decision.point == point]

    def __str__(self) -> str:
        return "\n".join(map(str, self.decisions))


class _NoExplanation(Explanation):
    """Explaining is off: call sites stay the same; hot ones ask `explain is not NO_EXPLANATION` first."""

    __slots__ = ()

    def decided(
        self, point: str, chose: object, because: str, rejected: tuple[object, ...] = (), path: str = ""
    ) -> None:
        pass


NO_EXPLANATION: Explanation = _NoExplanation()
