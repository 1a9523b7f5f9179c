"""One tracer for each configuration."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.extensions import register_catalogue
from minienvoy.tracing.tracer_manager import TracerManager
from tests.unit.http_bench import Bench
from tests.unit.tracing.conftest import OPENTELEMETRY, ZIPKIN


@pytest.fixture
def server() -> Any:
    register_catalogue()
    b = Bench()
    yield b.server
    b.finish()


def provider(config: dict[str, Any]) -> Any:
    return load_dict(config, "envoy.config.trace.v3.Tracing.Http").message


def test_connection_managers_with_the_same_provider_share_a_tracer(server: Any) -> None:
    manager = TracerManager()
    first = manager.get_or_create(provider(ZIPKIN), "a", server)
    assert manager.get_or_create(provider(ZIPKIN), "b", server) is first
    assert manager.get_or_create(provider(OPENTELEMETRY), "c", server) is not first


def test_a_tracer_that_is_made_while_the_server_runs_starts_at_once(server: Any) -> None:
    manager = TracerManager()
    manager.start()
    tracer: Any = manager.get_or_create(provider(ZIPKIN), "a", server)
    assert tracer.reporter._timer.enabled
    manager.close()
    assert not tracer.reporter._timer.enabled


def test_a_provider_that_nobody_knows_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        TracerManager().get_or_create(
            provider({"name": "x", "typed_config": {"@type": "type.googleapis.com/google.protobuf.Struct"}}),
            "tracing.provider",
            SimpleNamespace(),
        )
    assert caught.value.path == "tracing.provider.typed_config"
