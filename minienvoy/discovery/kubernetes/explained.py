"""What an explanation of a request says of discovery, and where the rest can be read.

No Envoy counterpart.
"""

from __future__ import annotations

from typing import Final

from ...explain.explanation import Explanation, NearMiss
from .subscription import Subscription

MOST: Final = 20
"""Endpoints that an explanation names; `/minienvoy/kubernetes` names all."""


def explain_endpoints(subscription: Subscription, explain: Explanation) -> None:
    """As one decision: how many endpoints are hosts, and which are not."""
    where = f"/minienvoy/kubernetes?cluster={subscription.name}"
    assignment = subscription.assignment
    if assignment is None:
        explain.decided("discovery", "nothing is known yet", f"the API server has not answered; see {where}")
        return
    excluded = assignment.excluded
    rejected: list[object] = [NearMiss(f"{each.address}:{each.port}", each.excluded) for each in excluded[:MOST]]
    if len(excluded) > MOST:
        rejected.append(f"{len(excluded) - MOST} more")
    total = len(assignment.hosts) + len(excluded)
    because = "; ".join((*assignment.notes, f"{where} tells why the others are not"))
    explain.decided("discovery", f"{len(assignment.hosts)} of {total} endpoints are hosts", because, tuple(rejected))
