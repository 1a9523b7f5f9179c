"""What collectors are told of the proxy itself.

Envoy: `OpenTelemetry::ResourceProviderImpl`, `source/extensions/tracers/opentelemetry/resource_detectors`; docs
"OpenTelemetry Resource Detectors". What a later detector finds replaces what was known before.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from .... import logger
from ....config.extension import create_extensions
from ....config.fields import honours
from ....registry import Registry
from ....version import version

_TYPES: Final = "envoy.extensions.tracers.opentelemetry.resource_detectors.v3"
ENVIRONMENT: Final = "OTEL_RESOURCE_ATTRIBUTES"

honours(
    "envoy.config.trace.v3.OpenTelemetryConfig",
    "service_name",
    "resource_detectors",
    "set_telemetry_sdk_resource_attributes",
    "set_service_name_resource_attribute",
)
honours(f"{_TYPES}.EnvironmentResourceDetectorConfig")
honours(f"{_TYPES}.StaticConfigResourceDetectorConfig", whole=("attributes",))

Attributes = dict[str, str]
RESOURCE_DETECTORS: Final[Registry[Callable[..., Attributes]]] = Registry(
    "envoy.tracers.opentelemetry.resource_detectors"
)
"""By the type of their configuration; called with that, they say what they have found."""

_log = logger.get("tracing")


def resource_attributes(config: Any) -> Attributes:
    """Of an `OpenTelemetryConfig`; raises ConfigError."""
    attributes: Attributes = {}
    if _wanted(config, "set_service_name_resource_attribute"):
        attributes["service.name"] = config.service_name or "unknown_service:envoy"
    if _wanted(config, "set_telemetry_sdk_resource_attributes"):
        attributes |= {
            "telemetry.sdk.language": "cpp",
            "telemetry.sdk.name": "envoy",
            "telemetry.sdk.version": version(),
        }
    for found in create_extensions(RESOURCE_DETECTORS, config.resource_detectors, "resource_detectors"):
        attributes |= found
    return attributes


def _wanted(config: Any, field: str) -> bool:
    return not config.HasField(field) or bool(getattr(config, field).value)


@RESOURCE_DETECTORS.register(
    "envoy.tracers.opentelemetry.resource_detectors.environment", f"{_TYPES}.EnvironmentResourceDetectorConfig"
)
def detect_in_environment(config: Any) -> Attributes:
    """`OTEL_RESOURCE_ATTRIBUTES=name=value,name=value`."""
    found: Attributes = {}
    for pair in filter(None, os.environ.get(ENVIRONMENT, "").split(",")):
        parts = list(filter(None, pair.split("=")))
        if len(parts) == 2:
            found[parts[0]] = parts[1]
        else:
            _log.warning(f"Invalid resource format from the environment, invalid text: {pair}.")
    return found


@RESOURCE_DETECTORS.register(
    "envoy.tracers.opentelemetry.resource_detectors.static_config", f"{_TYPES}.StaticConfigResourceDetectorConfig"
)
def detect_in_configuration(config: Any) -> Attributes:
    for name, value in config.attributes.items():
        if not value:
            _log.warning(f"Attribute {name} cannot be empty.")
    return {name: value for name, value in config.attributes.items() if value}
