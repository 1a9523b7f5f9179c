"""A balancer whose hosts may have weights: then they are picked by an earliest-deadline-first schedule.

Envoy: `Upstream::EdfLoadBalancerBase`; docs "Weighted round robin", "Slow start mode". Where all weights are equal and
nobody is in slow start, the policy picks in its own way, which is cheaper.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .edf_scheduler import EdfScheduler
from .host import Host, HostSet
from .load_balancer_base import HostAvailability
from .locality_lb_config import LocalityLbConfig
from .slow_start import SlowStartConfig
from .zone_aware_load_balancer import HostsSource, ZoneAwareLoadBalancerBase

if TYPE_CHECKING:
    from .load_balancer import LoadBalancerContext, LoadBalancerParams


class EdfLoadBalancerBase(ZoneAwareLoadBalancerBase):
    """Policies override `host_weight` and `unweighted_pick`."""

    __slots__ = ("_latest_host_added", "_slow_start")

    def __init__(
        self,
        params: LoadBalancerParams,
        locality_config: LocalityLbConfig,
        slow_start: SlowStartConfig = SlowStartConfig(),  # noqa: B008 (it is frozen)
    ) -> None:
        self._slow_start = slow_start
        self._latest_host_added = params.dispatcher.monotonic_time() if params.dispatcher is not None else 0.0
        super().__init__(params, locality_config)

    def host_weight(self, host: Host) -> float:
        """What the schedule goes by; asked anew at every pick."""
        weight = float(host.weight)
        return weight if not self._slow_start.window else weight * self.slow_start_factor(host)

    def unweighted_pick(self, source: HostsSource) -> Host:
        raise NotImplementedError

    def slow_start_factor(self, host: Host) -> float:
        """What part of its weight `host` has now."""
        since = host.last_hc_pass_time
        if since is None or not host.healthy or self._nobody_starts_slowly():
            return 1.0
        return self._slow_start.factor(self._now() - since, self.params)

    def pick(self, source: HostsSource, context: LoadBalancerContext | None, drawn: int) -> Host | None:
        if source.unbuilt:
            self.build_late(source)
        scheduler = source.scheduler
        return self.unweighted_pick(source) if scheduler is None else scheduler.pick_and_add()

    def refresh(self, source: HostsSource) -> None:
        hosts = source.hosts
        if self._slow_start.window:
            self._notice_slow_starters(hosts)
        before, source.scheduler = source.scheduler, None
        source.unbuilt = False
        if source.availability is HostAvailability.ALL:
            # Only panic needs it. Who is in slow start now will not be when panic comes.
            source.unbuilt = not self._slow_start.window or self._weights_count(hosts)
        elif self._weights_count(hosts):
            if before is not None and self.about is not None and before.goes_by(self.weight_function()):
                gone, new = self.about
                before.follow(gone, [host for host in new if self.belongs(host, source)])
                source.scheduler = before
            else:
                self._build(source)

    def weight_function(self) -> Callable[[Host], float]:
        """`host_weight`, or something quicker that says the same."""
        return self.host_weight

    def build_late(self, source: HostsSource) -> None:
        """What `HostsSource.unbuilt` announces."""
        source.unbuilt = False
        if self._slow_start.window or self._weights_count(source.hosts):
            self._build(source)

    def _weights_count(self, hosts: tuple[Host, ...]) -> bool:
        return len(hosts) > 1 and (_weights_differ(hosts) or not self._nobody_starts_slowly())

    def _build(self, source: HostsSource) -> None:
        # Envoy's pick count has 32 bits.
        source.scheduler = EdfScheduler.with_picks(source.hosts, self.weight_function(), self._seed & 0xFFFFFFFF)

    def on_update(
        self,
        host_set: HostSet,
        added: tuple[Host, ...],
        removed: tuple[Host, ...],
        altered: Sequence[Host] | None,
    ) -> None:
        super().on_update(host_set, added, removed, altered)
        if self._slow_start.window:
            self._notice_slow_starters(added)

    def _now(self) -> float:
        return self.params.dispatcher.monotonic_time() if self.params.dispatcher is not None else 0.0

    def _nobody_starts_slowly(self) -> bool:
        window = self._slow_start.window
        return not window or self._now() - self._latest_host_added > window

    def _notice_slow_starters(self, hosts: tuple[Host, ...]) -> None:
        """A host starts slowly from when it passed its health check, or else from when it is first seen here."""
        now = self._now()
        for host in hosts:
            if not host.healthy:
                continue
            if host.last_hc_pass_time is None:
                host.last_hc_pass_time = now
            since = host.last_hc_pass_time
            if since > self._latest_host_added and now - since <= self._slow_start.window:
                self._latest_host_added = since


def _weights_differ(hosts: tuple[Host, ...]) -> bool:
    # Where they differ the first few tell it, as a rule.
    return len({host.weight for host in hosts[:50]}) > 1 or len({host.weight for host in hosts}) > 1
