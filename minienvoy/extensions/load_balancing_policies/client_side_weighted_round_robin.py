"""Round robin whose weights come from what the hosts tell of their load.

Envoy: `Upstream::ClientSideWeightedRoundRobinLoadBalancer`, `OrcaWeightManager`; docs "Client-side weighted round
robin" (gRFC A58). A host's weight is its requests per second divided by its utilization, which errors make greater.
A weight counts once it has been told for the blackout period, and until the expiration period has passed without a
report; a host without one gets the median of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ...config.fields import honours
from ...record import record
from ...upstream.duration import duration_of
from ...upstream.host import Host, HostSet
from ...upstream.load_balancer import LOAD_BALANCERS, LoadBalancerFactory, LoadBalancerParams
from ...upstream.locality_lb_config import LocalityLbConfig
from ...upstream.orca import OrcaLoadReport
from ...upstream.slow_start import SlowStartConfig
from .orca_oob import OobReportingConfig, OrcaOobManager
from .round_robin import RoundRobinLoadBalancer

TYPE: Final = (
    "envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin"
)
honours(
    TYPE,
    "blackout_period",
    "weight_expiration_period",
    "weight_update_period",
    "error_utilization_penalty",
    "metric_names_for_computing_utilization",
    "slow_start_config",
    "enable_oob_load_report",
    "oob_reporting_config",
    "oob_reporting_period",
)
_MAX_WEIGHT: Final = 2**32 - 1


@record
class OrcaWeightConfig:
    """Times are seconds."""

    blackout_period: float
    weight_expiration_period: float
    weight_update_period: float
    error_utilization_penalty: float
    metric_names: tuple[str, ...]

    @classmethod
    def from_proto(cls, config: Any) -> OrcaWeightConfig:
        """From the policy's message; a weight is computed every 100 ms at most."""
        return cls(
            duration_of(config, "blackout_period", 10.0),
            duration_of(config, "weight_expiration_period", 180.0),
            max(0.1, duration_of(config, "weight_update_period", 1.0)),
            config.error_utilization_penalty.value,
            tuple(config.metric_names_for_computing_utilization),
        )

    def weight(self, report: OrcaLoadReport) -> int | None:
        """None if the report says nothing of use."""
        requests = report.rps_fractional
        if requests <= 0.0:
            return None
        utilization = (
            report.max_utilization(self.metric_names) or report.application_utilization or report.cpu_utilization
        )
        utilization += self.error_utilization_penalty * report.eps / requests
        return None if utilization <= 0.0 else min(_MAX_WEIGHT, int(requests / utilization))


class HostOrcaData:
    """What a host has told: its weight, since when it has one, and when it told it last (monotonic seconds)."""

    __slots__ = ("non_empty_since", "updated", "weight")

    def __init__(self) -> None:
        self.weight = 0
        self.non_empty_since: float | None = None
        self.updated = 0.0


class ClientSideWeightedRoundRobinLoadBalancer(RoundRobinLoadBalancer):
    __slots__ = ("_data", "_oob", "_orca", "_timer", "_weighed")

    policy = "client-side weighted round robin"

    def __init__(
        self,
        params: LoadBalancerParams,
        orca: OrcaWeightConfig,
        locality_config: LocalityLbConfig,
        slow_start: SlowStartConfig,
        oob: OobReportingConfig | None = None,
    ) -> None:
        """With `oob` hosts are asked for reports beside the requests."""
        self._oob: OrcaOobManager | None = None
        self._orca = orca
        self._data: dict[Host, HostOrcaData] = {}
        self._weighed = True
        """Some hosts may have weights that are not 1."""
        super().__init__(params, locality_config, slow_start)
        assert params.dispatcher is not None
        self._timer = params.dispatcher.create_timer(self._on_timer)
        self._timer.enable(orca.weight_update_period)
        if oob is not None:
            assert params.scope is not None
            self._oob = OrcaOobManager(oob, params.dispatcher, params.random, params.scope, self.on_orca_load_report)
            self._oob.update(self.priority_set.hosts())

    def stop(self) -> None:
        super().stop()
        self._timer.disable()
        if self._oob is not None:
            self._oob.stop()

    def on_orca_load_report(self, host: Host, report: OrcaLoadReport) -> bool:
        """Whether the report is of use."""
        weight = self._orca.weight(report)
        if weight is None:
            return False
        now = self._now()
        data = self._data.setdefault(host, HostOrcaData())
        data.weight = weight
        data.updated = now
        if data.non_empty_since is None:
            data.non_empty_since = now
        return True

    def on_update(
        self,
        host_set: HostSet,
        added: tuple[Host, ...],
        removed: tuple[Host, ...],
        altered: Sequence[Host] | None,
    ) -> None:
        for host in removed:
            self._data.pop(host, None)
        if self._oob is not None:
            self._oob.update(self.priority_set.hosts())
        if altered is None or self._data or self._weighed:
            self._weighed = True
            if self._update_weights():
                altered = None
        else:
            # Nobody has told anything: all count the same, and those that are new do so, too.
            for host in (*added, *altered):
                host.weight = 1
        super().on_update(host_set, added, removed, altered)

    def _on_timer(self) -> None:
        if self._data:
            # One that has answered after it was gone is in there once more.
            known = set(self.priority_set.hosts())
            self._data = {host: data for host, data in self._data.items() if host in known}
        if self._update_weights():
            for host_set in self.priority_set.host_sets:
                super().on_update(host_set, (), (), None)
        self._timer.enable(self._orca.weight_update_period)

    def _update_weights(self) -> bool:
        """Whether any weight has changed."""
        if not self._data and not self._weighed:
            return False
        now = self._now()
        changed = self._weighed = False
        for host_set in self.priority_set.host_sets:
            weights = {host: weight for host in host_set.hosts if (weight := self._valid_weight(host, now)) is not None}
            default = _median(sorted(weights.values())) if weights else 1
            self._weighed = self._weighed or bool(weights)
            for host in host_set.hosts:
                weight = weights.get(host, default)
                if weight != host.weight:
                    host.weight = weight
                    changed = True
        return changed

    def _valid_weight(self, host: Host, now: float) -> int | None:
        data = self._data.get(host)
        if data is None or data.non_empty_since is None:
            return None
        if now - data.updated > self._orca.weight_expiration_period:
            data.non_empty_since = None  # the blackout period begins anew
            return None
        return None if now - data.non_empty_since < self._orca.blackout_period else max(1, data.weight)


def _median(ordered: list[int]) -> int:
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) // 2


def weighted_round_robin(config: Any, locality: LocalityLbConfig) -> LoadBalancerFactory:
    orca = OrcaWeightConfig.from_proto(config)
    slow_start = SlowStartConfig.from_proto(config.slow_start_config)
    oob = OobReportingConfig.from_proto(config) if config.enable_oob_load_report.value else None
    return lambda params: ClientSideWeightedRoundRobinLoadBalancer(params, orca, locality, slow_start, oob)


@LOAD_BALANCERS.register("envoy.load_balancing_policies.client_side_weighted_round_robin", TYPE)
def create_client_side_weighted_round_robin(config: Any, context: Any) -> LoadBalancerFactory:
    return weighted_round_robin(config, LocalityLbConfig())
