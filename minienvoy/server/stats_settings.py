"""`stats_config` and the flush settings of the bootstrap, compiled.

Envoy: `Config::Utility::createTagProducer`, `createStatsMatcher`, `Stats::HistogramSettingsImpl`;
`envoy.config.metrics.v3.StatsConfig`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..config.fields import honours
from ..errors import ConfigError
from ..matchers.string import compile_string_matcher
from ..stats.settings import (
    HistogramBucketSettings,
    StatsMatcherSettings,
    StatsSettings,
    TagSpecifier,
)

honours(
    "envoy.config.metrics.v3.StatsConfig",
    "stats_tags",
    "use_all_default_tags",
    "stats_matcher",
    "histogram_bucket_settings",
)
honours("envoy.config.metrics.v3.TagSpecifier", "tag_name", "regex", "fixed_value")
honours("envoy.config.metrics.v3.StatsMatcher", "reject_all", "exclusion_list", "inclusion_list")
honours("envoy.config.metrics.v3.HistogramBucketSettings", "match", "buckets")
honours("envoy.type.matcher.v3.ListStringMatcher", "patterns")


def compile_stats_settings(bootstrap: Any, command_line_tags: tuple[tuple[str, str], ...] = ()) -> StatsSettings:
    """Raises ConfigError for tags or patterns that can not be used."""
    config = bootstrap.stats_config
    tags = [TagSpecifier(name, fixed_value=value) for name, value in command_line_tags]
    for at, each in enumerate(config.stats_tags):
        kind = each.WhichOneof("tag_value")
        if kind == "fixed_value":
            tags.append(TagSpecifier(each.tag_name, fixed_value=each.fixed_value))
        else:
            tags.append(TagSpecifier(each.tag_name, regex=each.regex))
            if not each.tag_name:
                raise ConfigError("tag_name cannot be empty", f"stats_config.stats_tags[{at}].tag_name")
    if config.stats_tags:
        from ..stats.tag_extractor import TagProducer

        try:
            TagProducer(tags)
        except ConfigError as error:
            raise error.below("stats_config.stats_tags") from None
    interval = 5.0
    if bootstrap.HasField("stats_flush_interval"):
        if bootstrap.stats_flush_on_admin:
            raise ConfigError(
                "Only one of stats_flush_interval or stats_flush_on_admin should be set!", "stats_flush_on_admin"
            )
        duration = bootstrap.stats_flush_interval
        interval = duration.seconds + duration.nanos / 1e9
        if not 0.001 <= interval <= 300:
            raise ConfigError("Stats flush interval must be between 1ms and 5min", "stats_flush_interval")
    return StatsSettings(
        use_all_default_tags=not config.HasField("use_all_default_tags") or config.use_all_default_tags.value,
        tags=tuple(tags),
        matcher=_matcher(config.stats_matcher) if config.HasField("stats_matcher") else None,
        histogram_buckets=_buckets(config.histogram_bucket_settings),
        flush_interval=interval,
        flush_on_admin=bootstrap.stats_flush_on_admin,
    )


def _text_matcher(proto: Any, path: str) -> Callable[[str], bool]:
    matches = compile_string_matcher(proto, path)
    return lambda text: matches(text.encode())


def _matcher(proto: Any) -> StatsMatcherSettings:
    kind = proto.WhichOneof("stats_matcher")
    if kind == "reject_all":
        return StatsMatcherSettings(reject_all=proto.reject_all)
    patterns = tuple(
        _text_matcher(each, f"stats_config.stats_matcher.{kind}.patterns[{at}]")
        for at, each in enumerate(getattr(proto, kind).patterns)
    )
    if kind == "exclusion_list":
        return StatsMatcherSettings(exclusion_list=patterns)
    return StatsMatcherSettings(inclusion_list=patterns)


def _buckets(protos: Any) -> HistogramBucketSettings | None:
    if not protos:
        return None
    return HistogramBucketSettings(
        tuple(
            (_text_matcher(each.match, f"stats_config.histogram_bucket_settings[{at}].match"), tuple(each.buckets))
            for at, each in enumerate(protos)
        )
    )
