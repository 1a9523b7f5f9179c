"""How a host that has just become healthy is given its load by degrees.

Envoy: `EdfLoadBalancerBase::applySlowStartFactor`, `envoy.extensions.load_balancing_policies.common.v3`; docs "Slow
start mode". A host's weight grows from `min_weight_percent` of it to all of it within the window, evenly
with an aggression of 1, quicker at first with a higher one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..config.fields import honours
from ..config.runtime import RuntimeDouble
from ..record import record
from .duration import duration_of

if TYPE_CHECKING:
    from .load_balancer import LoadBalancerParams

honours(
    "envoy.extensions.load_balancing_policies.common.v3.SlowStartConfig",
    "slow_start_window",
    "aggression",
    "min_weight_percent",
)


_EVENLY: Final = RuntimeDouble(1.0)


@record
class SlowStartConfig:
    """`window` is seconds, 0 where there is no slow start; `min_weight` is a fraction."""

    window: float = 0.0
    aggression: RuntimeDouble = _EVENLY
    min_weight: float = 0.1

    @classmethod
    def from_proto(cls, config: Any) -> SlowStartConfig:
        return cls(
            duration_of(config, "slow_start_window", 0.0),
            RuntimeDouble.from_proto(config.aggression) if config.HasField("aggression") else _EVENLY,
            config.min_weight_percent.value / 100.0 if config.HasField("min_weight_percent") else 0.1,
        )

    def factor(self, healthy_for: float, params: LoadBalancerParams) -> float:
        """What part of its weight a host has that has been healthy for so many seconds."""
        milliseconds = int(healthy_for * 1000.0 + 1e-6)
        window = int(self.window * 1000.0 + 1e-6)
        if milliseconds >= window:
            return 1.0
        aggression = self.aggression.default
        if self.aggression.runtime_key and params.runtime is not None:
            aggression = self.aggression.value(params.runtime.snapshot)
        if not aggression > 0.0:
            aggression = 1.0
        passed = max(1, milliseconds) / window
        grown = passed if aggression == 1.0 else passed ** (1.0 / aggression)
        return max(grown, self.min_weight)
