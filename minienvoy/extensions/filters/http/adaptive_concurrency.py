"""`envoy.filters.http.adaptive_concurrency`: lets no more requests be under way than the upstream can serve in time.

Envoy: `Extensions::HttpFilters::AdaptiveConcurrency::AdaptiveConcurrencyFilter`; docs "Adaptive Concurrency". How many
that is, the gradient controller finds out (`gradient_controller.py`).
"""

from __future__ import annotations

from typing import Any, Final

from ....config.fields import honours
from ....config.runtime import Loader, RuntimeFeatureFlag
from ....explain.explanation import NO_EXPLANATION
from ....http.filter import (
    HTTP_FILTERS,
    FilterDataStatus,
    FilterHeadersStatus,
    FilterTrailersStatus,
    HttpFilterFactory,
    StreamFilter,
)
from ....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ....server.factory_context import FactoryContext
from .gradient_controller import GradientController, GradientControllerStats, GradientSettings

NAME = "envoy.filters.http.adaptive_concurrency"
CONFIG_TYPE = "envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency"
BODY: Final = "reached concurrency limit"
DETAILS: Final = "reached_concurrency_limit"

honours(CONFIG_TYPE, "gradient_controller_config", "enabled", "concurrency_limit_exceeded_status")
honours("envoy.type.v3.HttpStatus", "code")


class AdaptiveConcurrencyFilter(StreamFilter):
    """One stream."""

    def __init__(
        self, controller: GradientController, enabled: RuntimeFeatureFlag, runtime: Loader, status: int
    ) -> None:
        self._controller = controller
        self._enabled = enabled
        self._runtime = runtime
        self._status = status
        self._start: float | None = None

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        callbacks, controller = self.decoder_callbacks, self._controller
        if callbacks.stream_info.is_health_check or not self._enabled.value(self._runtime.snapshot):
            return FilterHeadersStatus.CONTINUE
        if controller.may_forward():
            self._start = callbacks.dispatcher.monotonic_time()
            return FilterHeadersStatus.CONTINUE
        if callbacks.explain is not NO_EXPLANATION:
            under_way = f"{controller.outstanding} of {controller.limit} requests are under way"
            callbacks.explain.decided("overload", "refused", f"{DETAILS}: {under_way}")
        callbacks.send_local_reply(self._status, BODY, DETAILS)
        return FilterHeadersStatus.STOP_ITERATION

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        if end_stream:
            self._complete()
        return FilterHeadersStatus.CONTINUE

    def encode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        if end_stream:
            self._complete()
        return FilterDataStatus.CONTINUE

    def encode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        self._complete()
        return FilterTrailersStatus.CONTINUE

    def on_destroy(self) -> None:
        if self._start is not None:
            self._start = None
            self._controller.cancel()

    def _complete(self) -> None:
        start, self._start = self._start, None
        if start is not None:
            self._controller.record_latency(start)


@HTTP_FILTERS.register(NAME, CONFIG_TYPE)
def create_adaptive_concurrency_filter(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    server = context.server
    scope = context.http_scope.scope("adaptive_concurrency")
    controller = GradientController(
        GradientSettings.from_proto(proto.gradient_controller_config, "gradient_controller_config"),
        scope.scope("gradient_controller").struct(GradientControllerStats),
        server.dispatcher.monotonic_time,
        server.random.stream(f"{scope.prefix}jitter").random,
    )
    default = not proto.HasField("enabled")
    enabled = RuntimeFeatureFlag() if default else RuntimeFeatureFlag.from_proto(proto.enabled)
    code = proto.concurrency_limit_exceeded_status.code
    status = code if code >= 400 else 503
    return lambda: AdaptiveConcurrencyFilter(controller, enabled, server.runtime, status)
