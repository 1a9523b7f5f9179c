"""A bench whose requests are traced, by OpenTelemetry unless a test wants another tracer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.http_bench import Bench

TYPE = "type.googleapis.com/envoy.config.trace.v3."
OPENTELEMETRY = {
    "name": "envoy.tracers.opentelemetry",
    "typed_config": {
        "@type": f"{TYPE}OpenTelemetryConfig",
        "http_service": {"http_uri": {"uri": "http://collector/v1/traces", "cluster": "empty", "timeout": "1s"}},
    },
}
ZIPKIN = {
    "name": "envoy.tracers.zipkin",
    "typed_config": {
        "@type": f"{TYPE}ZipkinConfig",
        "collector_cluster": "empty",
        "collector_endpoint": "/api/v2/spans",
        "collector_endpoint_version": "HTTP_JSON",
    },
}

MakeTraced = Callable[..., Bench]


@pytest.fixture
def traced(bench: Callable[..., Bench]) -> MakeTraced:
    """`traced(routes, provider=ZIPKIN, verbose=True)`: the settings are those of the connection manager's `tracing`."""

    def make(routes: list[Any] | None = None, *, provider: Any = OPENTELEMETRY, **tracing: Any) -> Bench:
        options = {name: tracing.pop(name) for name in ("cluster", "runtime", "http_filters") if name in tracing}
        hcm = {name: tracing.pop(name) for name in ("use_remote_address",) if name in tracing}
        hcm["tracing"] = {**tracing, **({} if provider is None else {"provider": provider})}
        return bench(routes, hcm=hcm, **options)

    return make
