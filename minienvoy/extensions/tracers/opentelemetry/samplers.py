"""Which of the requests that are traced have spans that somebody is told of.

Envoy: `source/extensions/tracers/opentelemetry/samplers`; docs "OpenTelemetry Samplers". Without a sampler the caller's
word counts. A request that is not traced is not sampled, whatever a sampler would say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from ....config.extension import create_extension, find_extension
from ....config.fields import honours
from ....config.runtime import FractionalPercent
from ....registry import Registry
from .span_context import SpanContext

_TYPES: Final = "envoy.extensions.tracers.opentelemetry.samplers.v3"

honours(f"{_TYPES}.AlwaysOnSamplerConfig")
honours(f"{_TYPES}.TraceIdRatioBasedSamplerConfig", "sampling_percentage")
honours(f"{_TYPES}.ParentBasedSamplerConfig", "wrapped_sampler")


class Sampler(Protocol):
    def should_sample(self, parent: SpanContext | None, trace_id: str) -> bool:
        """`parent` is the caller's span."""
        ...


SAMPLERS: Final[Registry[Callable[..., Sampler]]] = Registry("envoy.tracers.opentelemetry.samplers")
"""By the type of their configuration; called with that."""


class AlwaysOnSampler:
    def should_sample(self, parent: SpanContext | None, trace_id: str) -> bool:
        return True


class TraceIdRatioBasedSampler:
    """The trace decides, so that all proxies on its way agree."""

    def __init__(self, percentage: FractionalPercent) -> None:
        self._percentage = percentage

    def should_sample(self, parent: SpanContext | None, trace_id: str) -> bool:
        # Envoy reads the first eight bytes in its machine's order.
        number = int.from_bytes(bytes.fromhex(trace_id[:16]), "little")
        return number % self._percentage.denominator < self._percentage.numerator


class ParentBasedSampler:
    """As the caller does; where there is none, another sampler is asked."""

    def __init__(self, wrapped: Sampler) -> None:
        self._wrapped = wrapped

    def should_sample(self, parent: SpanContext | None, trace_id: str) -> bool:
        return self._wrapped.should_sample(parent, trace_id) if parent is None else parent.sampled


def create_sampler(config: Any, path: str) -> Sampler:
    """Of a `TypedExtensionConfig`; raises ConfigError below `path`."""
    return create_extension(find_extension(SAMPLERS, config, path), config, path)


@SAMPLERS.register("envoy.tracers.opentelemetry.samplers.always_on", f"{_TYPES}.AlwaysOnSamplerConfig")
def create_always_on(config: Any) -> Sampler:
    return AlwaysOnSampler()


@SAMPLERS.register(
    "envoy.tracers.opentelemetry.samplers.trace_id_ratio_based", f"{_TYPES}.TraceIdRatioBasedSamplerConfig"
)
def create_trace_id_ratio_based(config: Any) -> Sampler:
    return TraceIdRatioBasedSampler(FractionalPercent.from_proto(config.sampling_percentage))


@SAMPLERS.register("envoy.tracers.opentelemetry.samplers.parent_based", f"{_TYPES}.ParentBasedSamplerConfig")
def create_parent_based(config: Any) -> Sampler:
    return ParentBasedSampler(create_sampler(config.wrapped_sampler, "wrapped_sampler"))
