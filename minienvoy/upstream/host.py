"""Endpoints, their health, and the sets they stand in.

Envoy: `Upstream::Host`, `HostSet`, `PrioritySet`; docs "Load balancing > Priority levels".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ..network.address import Address


class HealthFlag:
    """Bits of `Host.health_flags`: why a host is not healthy (`Host::HealthFlag`)."""

    FAILED_ACTIVE_HC: Final = 1
    FAILED_OUTLIER_CHECK: Final = 2
    FAILED_EDS_HEALTH: Final = 4
    DEGRADED_ACTIVE_HC: Final = 8
    DEGRADED_EDS_HEALTH: Final = 16
    PENDING_DYNAMIC_REMOVAL: Final = 32
    PENDING_ACTIVE_HC: Final = 64
    EXCLUDED_VIA_IMMEDIATE_HC_FAIL: Final = 128
    ACTIVE_HC_TIMEOUT: Final = 256
    EDS_STATUS_DRAINING: Final = 512
    DEGRADED_OUTLIER_DETECTION: Final = 1024

    UNHEALTHY: Final = FAILED_ACTIVE_HC | FAILED_OUTLIER_CHECK | FAILED_EDS_HEALTH | EDS_STATUS_DRAINING
    EXCLUDED: Final = PENDING_ACTIVE_HC | EXCLUDED_VIA_IMMEDIATE_HC_FAIL | EDS_STATUS_DRAINING
    DEGRADED: Final = DEGRADED_ACTIVE_HC | DEGRADED_EDS_HEALTH | DEGRADED_OUTLIER_DETECTION

    NAMES: Final = (
        (FAILED_ACTIVE_HC, "/failed_active_hc"),
        (FAILED_OUTLIER_CHECK, "/failed_outlier_check"),
        (FAILED_EDS_HEALTH, "/failed_eds_health"),
        (DEGRADED_ACTIVE_HC, "/degraded_active_hc"),
        (DEGRADED_EDS_HEALTH, "/degraded_eds_health"),
        (PENDING_DYNAMIC_REMOVAL, "/pending_dynamic_removal"),
        (PENDING_ACTIVE_HC, "/pending_active_hc"),
        (EXCLUDED_VIA_IMMEDIATE_HC_FAIL, "/excluded_via_immediate_hc_fail"),
        (ACTIVE_HC_TIMEOUT, "/active_hc_timeout"),
        (EDS_STATUS_DRAINING, "/eds_status_draining"),
        (DEGRADED_OUTLIER_DETECTION, "/degraded_outlier_detection"),
    )


class Locality(NamedTuple):
    region: str = ""
    zone: str = ""
    sub_zone: str = ""


NO_LOCALITY: Final = Locality()


class HostStats:
    """Counters and gauges of one host, as `/clusters` lists them (`Upstream::HostStats`)."""

    __slots__ = (
        "cx_active",
        "cx_connect_fail",
        "cx_total",
        "rq_active",
        "rq_error",
        "rq_pending_active",
        "rq_success",
        "rq_timeout",
        "rq_total",
    )

    def __init__(self) -> None:
        self.cx_active = self.cx_connect_fail = self.cx_total = 0
        self.rq_active = self.rq_error = self.rq_pending_active = self.rq_success = self.rq_timeout = self.rq_total = 0


class Host:
    """One endpoint of a cluster. Identity is the object: an endpoint that stays in an update keeps its `Host`.

    Attributes:
        address: where to connect.
        hostname: for `auto_host_rewrite`, health checks and logs; the DNS name for DNS clusters.
        weight: 1-128 is usual; at least 1.
        metadata: `filter_metadata` as plain values.
        observability_name: for statistics of this endpoint; empty for its address.
        http_pools, tcp_pools: connection pools by their options; they belong to the pools' modules.
    """

    __slots__ = (
        "address",
        "addresses",
        "canary",
        "cluster",
        "disable_active_health_check",
        "health_check_address",
        "health_check_hostname",
        "health_flags",
        "hostname",
        "http_pools",
        "last_hc_pass_time",
        "locality",
        "metadata",
        "observability_name",
        "outlier",
        "priority",
        "stats",
        "tcp_pools",
        "weight",
    )

    def __init__(
        self,
        address: Address,
        hostname: str = "",
        *,
        weight: int = 1,
        priority: int = 0,
        locality: Locality = NO_LOCALITY,
        metadata: Mapping[str, Mapping[str, Any]] | None = None,
        health_flags: int = 0,
        health_check_address: Address | None = None,
        health_check_hostname: str = "",
        disable_active_health_check: bool = False,
        addresses: tuple[Address, ...] = (),
        observability_name: str = "",
    ) -> None:
        self.address = address
        self.addresses = addresses or (address,)
        self.hostname = hostname
        self.weight = weight
        self.priority = priority
        self.locality = locality
        self.metadata: Mapping[str, Mapping[str, Any]] = metadata or {}
        self.canary = bool(self.metadata.get("envoy.lb", {}).get("canary", False))
        self.health_flags = health_flags
        self.health_check_address = health_check_address or address
        self.health_check_hostname = health_check_hostname
        self.disable_active_health_check = disable_active_health_check
        self.observability_name = observability_name
        self.stats = HostStats()
        self.outlier: Any = None
        """What the outlier detector keeps about this host."""
        self.last_hc_pass_time: float | None = None
        """When it last became healthy by a health check, or was first balanced in slow start (monotonic seconds)."""
        self.cluster: Any = None
        """The `Cluster` it is in, since it was put there: not the one that a request names if that is an aggregate."""
        self.http_pools: dict[Any, Any] = {}
        self.tcp_pools: dict[Any, Any] = {}

    @property
    def healthy(self) -> bool:
        return not self.health_flags & (HealthFlag.UNHEALTHY | HealthFlag.DEGRADED)

    @property
    def degraded(self) -> bool:
        return bool(self.health_flags & HealthFlag.DEGRADED) and not self.health_flags & HealthFlag.UNHEALTHY

    def __str__(self) -> str:
        return self.address.text

    def __repr__(self) -> str:
        return f"Host({self.address.text!r})"


class HostSet:
    """The hosts of one priority. Never changes: an update makes a new one, so a reader may keep it."""

    __slots__ = (
        "degraded_hosts",
        "excluded_hosts",
        "healthy_hosts",
        "hosts",
        "locality_weights",
        "overprovisioning_factor",
        "priority",
        "weighted_priority_health",
    )

    def __init__(
        self,
        priority: int,
        hosts: tuple[Host, ...],
        *,
        overprovisioning_factor: float = 140.0,
        weighted_priority_health: bool = False,
        locality_weights: Mapping[Locality, int] | None = None,
    ) -> None:
        self.priority = priority
        self.hosts = hosts
        # There may be ten thousand, nearly all of them well: the flags that occur tell which lists need to be made.
        flags = {host.health_flags for host in hosts}
        well = {each for each in flags if not each & (HealthFlag.UNHEALTHY | HealthFlag.DEGRADED)}
        degraded = {each for each in flags if each & HealthFlag.DEGRADED and not each & HealthFlag.UNHEALTHY}
        excluded = {each for each in flags if each & HealthFlag.EXCLUDED}
        self.healthy_hosts = _with_flags(hosts, flags, well)
        self.degraded_hosts = _with_flags(hosts, flags, degraded)
        self.excluded_hosts = _with_flags(hosts, flags, excluded)
        self.overprovisioning_factor = overprovisioning_factor
        """Percent."""
        self.weighted_priority_health = weighted_priority_health
        self.locality_weights = locality_weights
        """As configured; None where localities have none, not even zero (`localityWeights`)."""


def _with_flags(hosts: tuple[Host, ...], all_flags: set[int], wanted: set[int]) -> tuple[Host, ...]:
    """The hosts whose flags are among those that are wanted."""
    if not wanted:
        return ()
    return hosts if wanted == all_flags else tuple([host for host in hosts if host.health_flags in wanted])


MemberUpdate = Callable[[HostSet, tuple[Host, ...], tuple[Host, ...]], None]
"""(the new set of one priority, hosts that were added, hosts that were removed)"""


def _difference(old: tuple[Host, ...], new: tuple[Host, ...]) -> tuple[tuple[Host, ...], tuple[Host, ...]]:
    """(hosts that are only in `new`, hosts that are only in `old`)"""
    if old == new:
        return (), ()
    before, after = set(old), set(new)
    return tuple([host for host in new if host not in before]), tuple([host for host in old if host not in after])


class PrioritySet:
    """All priorities of a cluster, and who wants to hear of changes (`PrioritySet::addMemberUpdateCb`).

    Attributes:
        altered: while an update is told: the hosts that stay and are not as they were; None if that may be all of them.
            Where it is known, the hosts stand in the order in which they stood before, and those that are new at the
            end: whoever keeps them in lists of his own need not make these anew.
    """

    __slots__ = ("_callbacks", "_host_map", "altered", "host_sets")

    def __init__(self) -> None:
        self.host_sets: list[HostSet] = []
        self.altered: Sequence[Host] | None = None
        self._host_map: dict[str, Host] | None = None
        self._callbacks: list[MemberUpdate] = []

    def add_member_update_callback(self, callback: MemberUpdate) -> None:
        """Called after every change of hosts or of their health."""
        self._callbacks.append(callback)

    def update_hosts(
        self,
        host_set: HostSet,
        change: tuple[tuple[Host, ...], tuple[Host, ...]] | None = None,
        altered: Sequence[Host] | None = None,
    ) -> None:
        """Put `host_set` in place of the one of its priority; gaps are filled with empty sets.

        Who knows which hosts are new and which are gone says it by `change`: with thousands, finding out takes longer
        than all the rest. Who knows of the others, too, and keeps their order, says it by `altered`.
        """
        while len(self.host_sets) <= host_set.priority:
            self.host_sets.append(HostSet(len(self.host_sets), ()))
        old = self.host_sets[host_set.priority].hosts
        self.host_sets[host_set.priority] = host_set
        self._host_map = None
        added, removed = _difference(old, host_set.hosts) if change is None else change
        self.altered = altered
        for callback in tuple(self._callbacks):
            callback(host_set, added, removed)
        self.altered = None

    def refresh_health(self, priority: int) -> None:
        """Make the set of `priority` anew because the health flags of its hosts changed."""
        old = self.host_sets[priority]
        self.update_hosts(
            HostSet(
                priority,
                old.hosts,
                overprovisioning_factor=old.overprovisioning_factor,
                weighted_priority_health=old.weighted_priority_health,
                locality_weights=old.locality_weights,
            ),
            ((), ()),
        )

    def remove_member_update_callback(self, callback: MemberUpdate) -> None:
        self._callbacks.remove(callback)

    def host_map(self) -> Mapping[str, Host]:
        """Every host by the text of its address (`crossPriorityHostMap`)."""
        if self._host_map is None:
            self._host_map = {host.address.text: host for host in self.hosts()}
        return self._host_map

    def hosts(self) -> list[Host]:
        return [host for host_set in self.host_sets for host in host_set.hosts]
