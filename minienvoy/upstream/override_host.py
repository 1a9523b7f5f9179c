"""A request that asks for a certain host.

Envoy: `Upstream::HostUtility::selectOverrideHost`, `createOverrideHostStatus`; docs "Stateful session",
`CommonLbConfig.override_host_status`. The host is looked up by its address among those of all priorities.
"""

from __future__ import annotations

from typing import Any, Final

from ..record import record
from .host import HealthFlag, Host, PrioritySet
from .load_balancer import OverrideHost

_UNKNOWN, _HEALTHY, _UNHEALTHY, _DRAINING, _TIMEOUT, _DEGRADED = range(6)
_DEFAULT: Final = frozenset((_UNKNOWN, _HEALTHY, _DEGRADED))
_SAME: Final = (frozenset((_UNKNOWN, _HEALTHY)), frozenset((_UNHEALTHY, _DRAINING, _TIMEOUT)), frozenset((_DEGRADED,)))


@record
class OverrideHostStatus:
    """`statuses` are numbers of `envoy.config.core.v3.HealthStatus`: a host in another is not used."""

    statuses: frozenset[int] = _DEFAULT

    @classmethod
    def from_proto(cls, common: Any) -> OverrideHostStatus:
        """From a `CommonLbConfig`."""
        if not common.HasField("override_host_status"):
            return cls()
        wanted = set(common.override_host_status.statuses)
        return cls(frozenset().union(*(same for same in _SAME if same & wanted)))

    def select(self, priority_set: PrioritySet, override: OverrideHost) -> Host | None:
        """The host, if it is there and its status is one of those."""
        host = priority_set.host_map().get(override.address)
        return host if host is not None and _status(host) in self.statuses else None


def _status(host: Host) -> int:
    flags = host.health_flags
    if flags & (HealthFlag.FAILED_ACTIVE_HC | HealthFlag.FAILED_OUTLIER_CHECK | HealthFlag.FAILED_EDS_HEALTH):
        return _UNHEALTHY
    if flags & HealthFlag.EDS_STATUS_DRAINING:
        return _DRAINING
    return _DEGRADED if flags & HealthFlag.DEGRADED else _HEALTHY
