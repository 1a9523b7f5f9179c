"""Which traces are sampled."""

from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.extensions import register_catalogue
from minienvoy.extensions.tracers.opentelemetry.samplers import Sampler, create_sampler
from minienvoy.extensions.tracers.opentelemetry.span_context import SpanContext

TYPES = "type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3"
SAMPLED, UNSAMPLED = SpanContext("aa", "bb", True), SpanContext("aa", "bb", False)


def sampler(kind: str, **settings: Any) -> Sampler:
    register_catalogue()
    config = {"name": "x", "typed_config": {"@type": f"{TYPES}.{kind}", **settings}}
    return create_sampler(load_dict(config, "envoy.config.core.v3.TypedExtensionConfig").message, "sampler")


def test_always_on_heeds_nobody() -> None:
    always = sampler("AlwaysOnSamplerConfig")
    assert always.should_sample(UNSAMPLED, "00" * 16)
    assert always.should_sample(None, "00" * 16)


def test_a_ratio_is_that_of_the_first_byte_first() -> None:
    half = sampler("TraceIdRatioBasedSamplerConfig", sampling_percentage={"numerator": 50})
    assert half.should_sample(UNSAMPLED, "31" + "00" * 15)  # 49
    assert not half.should_sample(SAMPLED, "32" + "00" * 15)  # 50
    # The other way round this would be 0 of 100.
    assert not half.should_sample(None, "4b" + "00" * 15)


def test_a_ratio_of_nothing_and_one_in_millionths() -> None:
    assert not sampler("TraceIdRatioBasedSamplerConfig").should_sample(SAMPLED, "00" * 16)
    rare = {"numerator": 1, "denominator": "MILLION"}
    assert sampler("TraceIdRatioBasedSamplerConfig", sampling_percentage=rare).should_sample(None, "00" * 16)
    assert not sampler("TraceIdRatioBasedSamplerConfig", sampling_percentage=rare).should_sample(None, "01" + "00" * 15)


def test_a_sampler_by_the_parent_asks_another_where_there_is_none() -> None:
    nothing = {"name": "x", "typed_config": {"@type": f"{TYPES}.TraceIdRatioBasedSamplerConfig"}}
    by_parent = sampler("ParentBasedSamplerConfig", wrapped_sampler=nothing)
    assert by_parent.should_sample(SAMPLED, "00" * 16)
    assert not by_parent.should_sample(UNSAMPLED, "00" * 16)
    assert not by_parent.should_sample(None, "00" * 16)


def test_a_sampler_that_is_not_there_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        sampler("DynatraceSamplerConfig", tenant="abc", cluster_id=1)
    assert caught.value.path == "sampler.typed_config"
