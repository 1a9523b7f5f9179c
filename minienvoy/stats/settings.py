"""What the bootstrap says about stats, without protos.

Envoy: `envoy.config.metrics.v3.StatsConfig` (`StatsMatcherImpl`, `HistogramSettingsImpl`, `TagProducerImpl`) and the
flush fields of the bootstrap. Whoever reads the bootstrap compiles string matchers to plain predicates.
"""

from __future__ import annotations

from collections.abc import Callable

from ..record import record
from .histogram import DEFAULT_BUCKETS

NamePredicate = Callable[[str], bool]


@record
class TagSpecifier:
    """One of `stats_tags`: a regex, a fixed value, or neither for one of Envoy's own tags by its name."""

    name: str
    regex: str = ""
    fixed_value: str | None = None


@record
class StatsMatcherSettings:
    """`stats_matcher`: exactly one of the three is set."""

    reject_all: bool = False
    inclusion_list: tuple[NamePredicate, ...] | None = None
    exclusion_list: tuple[NamePredicate, ...] | None = None

    def rejects(self, name: str) -> bool:
        if self.inclusion_list is not None:
            return not any(matches(name) for matches in self.inclusion_list)
        if self.exclusion_list is not None:
            return any(matches(name) for matches in self.exclusion_list)
        return self.reject_all


@record
class HistogramBucketSettings:
    """`histogram_bucket_settings`: the first entry that matches a name gives its bounds, in ascending order."""

    entries: tuple[tuple[NamePredicate, tuple[float, ...]], ...] = ()

    def buckets(self, name: str) -> tuple[float, ...]:
        for matches, bounds in self.entries:
            if matches(name):
                return bounds
        return DEFAULT_BUCKETS


@record
class StatsSettings:
    """All of it."""

    use_all_default_tags: bool = True
    tags: tuple[TagSpecifier, ...] = ()
    matcher: StatsMatcherSettings | None = None
    histogram_buckets: HistogramBucketSettings | None = None
    flush_interval: float = 5.0
    """Seconds, from 0.001 on."""
    flush_on_admin: bool = False
    """Flush when an admin reads stats, never by time (`stats_flush_on_admin`)."""
