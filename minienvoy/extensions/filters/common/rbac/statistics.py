"""What is counted and told of what the engines decided.

Envoy: `Filters::Common::RBAC::RoleBasedAccessControlFilterStats`, `DynamicMetadataKeysSingleton`, `responseDetail`
(`utility.h`).
"""

from __future__ import annotations

from typing import Any, Final

from .....stats.store import Counter, CounterValue, Scope, StatsStruct
from .....stream_info import StreamInfo
from .engine import Verdict

HINTS: Final = "envoy.common"
HINT: Final = "access_log_hint"


class RbacStats(StatsStruct):
    """`<prefix>rbac.<rules_stat_prefix>.`"""

    allowed: CounterValue
    denied: CounterValue


class ShadowRbacStats(StatsStruct):
    """`<prefix>rbac.<shadow_rules_stat_prefix>.`"""

    shadow_allowed: CounterValue
    shadow_denied: CounterValue


class Statistics:
    """Of one filter, below `scope`, in which its names are."""

    __slots__ = ("_policies", "_rules_scope", "_shadow_scope", "rules", "shadow")

    def __init__(self, scope: Scope, rules_prefix: str = "", shadow_prefix: str = "") -> None:
        self._rules_scope = scope.scope(rules_prefix.removesuffix("."))
        self._shadow_scope = scope.scope(shadow_prefix.removesuffix("."))
        self.rules = self._rules_scope.struct(RbacStats)
        self.shadow = self._shadow_scope.struct(ShadowRbacStats)
        self._policies: dict[tuple[str, str], Counter] = {}

    def count(self, verdict: Verdict, per_policy: bool) -> None:
        if verdict.allowed:
            self.rules.allowed += 1
        else:
            self.rules.denied += 1
        if per_policy and verdict.policy:
            self._count(self._rules_scope, verdict.policy, "allowed" if verdict.allowed else "denied")

    def count_shadow(self, verdict: Verdict, per_policy: bool) -> None:
        if verdict.allowed:
            self.shadow.shadow_allowed += 1
        else:
            self.shadow.shadow_denied += 1
        if per_policy and verdict.policy:
            self._count(self._shadow_scope, verdict.policy, "shadow_allowed" if verdict.allowed else "shadow_denied")

    def _count(self, scope: Scope, policy: str, what: str) -> None:
        counter = self._policies.get((policy, what))
        if counter is None:
            # Policies are those of the configuration, so these are not without bound.
            counter = self._policies[policy, what] = scope.counter(f"policy.{policy}.{what}")
        counter.inc()


def metadata_of(verdict: Verdict, prefix: str) -> dict[str, Any]:
    """`prefix` ends with `enforced_` or `shadow_`."""
    told: dict[str, Any] = {}
    if verdict.policy is not None:
        told[f"{prefix}effective_policy_id"] = verdict.policy
    told[f"{prefix}engine_result"] = "allowed" if verdict.allowed else "denied"
    return told


def leave_hint(stream: StreamInfo, hint: bool | None) -> None:
    if hint is not None:
        stream.dynamic_metadata.setdefault(HINTS, {})[HINT] = hint


def response_details(policy: str | None) -> str:
    """`%RESPONSE_CODE_DETAILS%` or `%CONNECTION_TERMINATION_DETAILS%` of who is not let in."""
    name = "none" if policy is None else "_".join(policy.split())
    return f"rbac_access_denied_matched_policy[{name}]"
