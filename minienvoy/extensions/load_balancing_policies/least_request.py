"""LEAST_REQUEST: of some hosts taken at random, the one with the fewest requests under way.

Envoy: `Upstream::LeastRequestLoadBalancer`, `envoy.load_balancing_policies.least_request`; docs "Weighted least
request". Where weights differ it is a schedule as for round robin, in which a host's weight shrinks with its requests:
`weight / (requests + 1) ** active_request_bias`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...config.fields import honours
from ...config.runtime import RuntimeDouble
from ...upstream.edf_load_balancer import EdfLoadBalancerBase
from ...upstream.host import Host
from ...upstream.load_balancer import LOAD_BALANCERS, LoadBalancerContext, LoadBalancerFactory, LoadBalancerParams
from ...upstream.locality_lb_config import LocalityLbConfig
from ...upstream.slow_start import SlowStartConfig
from ...upstream.zone_aware_load_balancer import HostsSource

TYPE = "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest"
honours(
    TYPE,
    "choice_count",
    "active_request_bias",
    "slow_start_config",
    "locality_lb_config",
    "selection_method",
    ignored={"enable_full_scan": "Envoy 1.40 does not look at it; selection_method is what counts"},
)
FULL_SCAN = 1
COUNT_PENDING = "envoy.reloadable_features.least_request_lb_count_pending_requests"
"""Off in Envoy 1.40 unless the runtime says otherwise."""


def _weight_by_requests(host: Host) -> float:
    """`host_weight` with the settings that nearly everybody has."""
    return host.weight / (host.stats.rq_active + 1)


class LeastRequestLoadBalancer(EdfLoadBalancerBase):
    """`choice_count` hosts are compared; 0 compares all."""

    __slots__ = ("_bias", "_bias_setting", "_choice_count", "_counts_pending")
    peekable = True  # it can say whom it will choose next

    def __init__(
        self,
        params: LoadBalancerParams,
        locality_config: LocalityLbConfig = LocalityLbConfig(),  # noqa: B008 (it is frozen)
        slow_start: SlowStartConfig = SlowStartConfig(),  # noqa: B008
        choice_count: int = 2,
        bias: RuntimeDouble = RuntimeDouble(1.0),  # noqa: B008
    ) -> None:
        self._choice_count = choice_count
        self._bias_setting = bias
        self._bias = 1.0
        self._counts_pending = False
        super().__init__(params, locality_config, slow_start)

    @property
    def policy(self) -> str:  # type: ignore[override]
        return f"least request of {self._choice_count}" if self._choice_count else "least request of all"

    def refresh(self, source: HostsSource) -> None:
        setting = self._bias_setting
        bias = setting.default if self.params.runtime is None else setting.value(self.params.runtime.snapshot)
        self._bias = bias if bias >= 0.0 else 1.0
        self._counts_pending = self.params.runtime is not None and self.params.runtime.snapshot.get_boolean(
            COUNT_PENDING, False
        )
        super().refresh(source)

    def weight_function(self) -> Callable[[Host], float]:
        usual = self._bias == 1.0 and not self._slow_start.window and not self._counts_pending
        return _weight_by_requests if usual else self.host_weight

    def host_weight(self, host: Host) -> float:
        weight = float(host.weight)
        if self._slow_start.window:
            weight *= self.slow_start_factor(host)
        active = self._requests(host) if self._counts_pending else host.stats.rq_active
        bias = self._bias
        if bias == 1.0:
            return weight / (active + 1)
        return weight / (active + 1) ** bias if bias else weight

    def _requests(self, host: Host) -> int:
        """Under way, and, if the runtime wants that counted, waiting for a connection."""
        stats = host.stats
        return stats.rq_active + stats.rq_pending_active if self._counts_pending else stats.rq_active

    def pick(self, source: HostsSource, context: LoadBalancerContext | None, drawn: int) -> Host | None:
        if source.unbuilt:
            self.build_late(source)
        if source.scheduler is not None:
            return super().pick(source, context, drawn)
        hosts = source.hosts
        choices = self._choice_count
        if not choices:
            return self._least_of_all(hosts)
        draw = self.random.random
        count = len(hosts)
        if self._counts_pending:
            return min((hosts[int(draw() * count)] for _ in range(choices)), key=self._requests)
        best = hosts[int(draw() * count)]
        while choices > 1:
            choices -= 1
            other = hosts[int(draw() * count)]
            if other.stats.rq_active < best.stats.rq_active:
                best = other
        return best

    def _least_of_all(self, hosts: tuple[Host, ...]) -> Host:
        requests = [self._requests(host) for host in hosts]
        least = min(requests)
        tied = [host for host, count in zip(hosts, requests, strict=True) if count == least]
        return tied[0] if len(tied) == 1 else tied[self.random.getrandbits(64) % len(tied)]


@LOAD_BALANCERS.register("envoy.load_balancing_policies.least_request", TYPE)
def create_least_request(config: Any, context: Any) -> LoadBalancerFactory:
    locality = LocalityLbConfig.from_proto(config.locality_lb_config)
    slow_start = SlowStartConfig.from_proto(config.slow_start_config)
    choice_count = config.choice_count.value if config.HasField("choice_count") else 2
    if config.selection_method == FULL_SCAN:
        choice_count = 0
    bias = RuntimeDouble(1.0)
    if config.HasField("active_request_bias"):
        bias = RuntimeDouble.from_proto(config.active_request_bias)
    return lambda params: LeastRequestLoadBalancer(params, locality, slow_start, choice_count, bias)
