"""Settings of the connection manager that contradict themselves, and chains of HTTP filters."""

from __future__ import annotations

from typing import Any, cast

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.extensions.filters.network.http_connection_manager import (
    CONFIG_TYPE,
    compile_connection_manager,
    create_http_filters,
)
from minienvoy.http.filter import StreamDecoderFilter
from minienvoy.server.factory_context import FactoryContext

NOWHERE = cast(FactoryContext, None)
"""Nothing is asked of the context before the settings have been looked at."""
DETECTION = [{"name": "x", "typed_config": {"@type": "type.googleapis.com/google.protobuf.Empty"}}]


@pytest.mark.parametrize(
    ("fields", "problem", "path"),
    [
        ({"codec_type": "HTTP3"}, "HTTP/3 codec configured on non-QUIC listener.", "hcm.codec_type"),
        (
            {"strip_any_host_port": True, "strip_matching_host_port": True},
            "Error: Only one of `strip_matching_host_port` or `strip_any_host_port` can be set.",
            "hcm.strip_matching_host_port",
        ),
        (
            {"use_remote_address": True, "xff_num_trusted_hops": 1, "original_ip_detection_extensions": DETECTION},
            "Original IP detection extensions and use_remote_address may not be mixed",
            "hcm.use_remote_address",
        ),
        (
            {"xff_num_trusted_hops": 1, "original_ip_detection_extensions": DETECTION},
            "Original IP detection extensions and xff_num_trusted_hops may not be mixed",
            "hcm.xff_num_trusted_hops",
        ),
    ],
)
def test_contradictions_are_refused(fields: dict[str, Any], problem: str, path: str) -> None:
    config = load_dict({"stat_prefix": "h", "route_config": {}, **fields}, CONFIG_TYPE).message
    with pytest.raises(ConfigError) as error:
        compile_connection_manager(config, NOWHERE, "hcm")
    assert (error.value.problem, error.value.path) == (problem, path)


def test_chain_without_filters_has_one_that_never_answers() -> None:
    assert create_http_filters([], NOWHERE, "http_filters") == [StreamDecoderFilter]


@pytest.mark.parametrize(
    ("typed_config", "type_url"),
    [
        ({}, ""),
        (
            {"@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"},
            "envoy.extensions.filters.network.echo.v3.Echo",
        ),
    ],
)
def test_filter_that_is_none_is_refused_by_its_name(typed_config: dict[str, Any], type_url: str) -> None:
    filters = [{"name": "mine", **({"typed_config": typed_config} if typed_config else {})}]
    config = load_dict({"stat_prefix": "h", "route_config": {}, "http_filters": filters}, CONFIG_TYPE).message
    with pytest.raises(ConfigError) as error:
        create_http_filters(config.http_filters, NOWHERE, "http_filters")
    assert error.value.problem == f"Didn't find a registered implementation for 'mine' with type URL: '{type_url}'"
    assert error.value.path == "http_filters[0].typed_config"
