"""What collectors are told of the proxy itself."""

from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.extensions import register_catalogue
from minienvoy.extensions.tracers.opentelemetry.resource import ENVIRONMENT, resource_attributes
from minienvoy.version import version

TYPES = "type.googleapis.com/envoy.extensions.tracers.opentelemetry.resource_detectors.v3"
ENVIRONMENT_DETECTOR = {"name": "env", "typed_config": {"@type": f"{TYPES}.EnvironmentResourceDetectorConfig"}}


def attributes(**config: Any) -> dict[str, str]:
    register_catalogue()
    return resource_attributes(load_dict(config, "envoy.config.trace.v3.OpenTelemetryConfig").message)


def static(**values: str) -> dict[str, Any]:
    config = {"@type": f"{TYPES}.StaticConfigResourceDetectorConfig", "attributes": values}
    return {"name": "static", "typed_config": config}


def test_who_it_is_without_a_word_of_the_configuration() -> None:
    assert attributes() == {
        "service.name": "unknown_service:envoy",
        "telemetry.sdk.language": "cpp",
        "telemetry.sdk.name": "envoy",
        "telemetry.sdk.version": version(),
    }


def test_what_is_not_to_be_told_is_not() -> None:
    assert attributes(service_name="a", set_telemetry_sdk_resource_attributes=False) == {"service.name": "a"}
    assert "service.name" not in attributes(service_name="a", set_service_name_resource_attribute=False)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("a=b,c=d", {"a": "b", "c": "d"}),
        ("a=b=c", {}),
        ("a=", {}),
        (",,a=b,", {"a": "b"}),
        ("a==b", {"a": "b"}),
        ("a= b ,service.name=env", {"a": " b ", "service.name": "env"}),
    ],
)
def test_the_environment(monkeypatch: pytest.MonkeyPatch, text: str, found: dict[str, str]) -> None:
    monkeypatch.setenv(ENVIRONMENT, text)
    before = attributes(service_name="a")
    assert attributes(service_name="a", resource_detectors=[ENVIRONMENT_DETECTOR]) == {**before, **found}


def test_what_a_later_detector_finds_counts() -> None:
    told = attributes(resource_detectors=[static(a="1", b="1", none=""), static(b="2")])
    assert (told["a"], told["b"]) == ("1", "2")
    assert "none" not in told
