"""Buckets that requests or connections take tokens from: one for everything, and one for each descriptor.

Envoy: `Extensions::Filters::Common::LocalRateLimit::LocalRateLimiterImpl`, `RateLimitTokenBucket`,
`DynamicDescriptor`, `ShareProviderManager`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from math import ceil
from typing import Any, Final, NamedTuple

from ....config.fields import honours
from ....errors import ConfigError
from ....event.token_bucket import TokenBucket
from ....router.rate_limit import Descriptor

honours("envoy.type.v3.TokenBucket", "max_tokens", "tokens_per_fill", "fill_interval")
honours("envoy.extensions.common.ratelimit.v3.LocalRateLimitDescriptor", "entries", "token_bucket", "shadow_mode")
honours("envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.Entry", "key", "value")
honours("envoy.extensions.common.ratelimit.v3.LocalClusterRateLimit")

MIN_FILL_INTERVAL: Final = 0.05
MAX_DYNAMIC_DESCRIPTORS: Final = 20
Entries = tuple[tuple[str, str], ...]


class BucketSettings(NamedTuple):
    """Attributes:
    fill_rate: tokens a second.
    """

    max_tokens: int
    fill_rate: float

    @classmethod
    def from_proto(cls, proto: Any, path: str, what: str = "local rate limit") -> BucketSettings:
        """From an `envoy.type.v3.TokenBucket`; `what` has the bucket, for the error.

        Raises:
            ConfigError: it fills too often.
        """
        interval = proto.fill_interval.seconds + proto.fill_interval.nanos / 1e9
        if interval < MIN_FILL_INTERVAL:
            raise ConfigError(f"{what} token bucket fill timer must be >= 50ms", f"{path}.fill_interval")
        per_fill = proto.tokens_per_fill.value if proto.HasField("tokens_per_fill") else 1
        return cls(proto.max_tokens, per_fill / interval)

    def make(self, monotonic_time: Callable[[], float], *, shadow: bool = False) -> RateLimitTokenBucket:
        return RateLimitTokenBucket(TokenBucket(self.max_tokens, self.fill_rate, monotonic_time), self, shadow)


class RateLimitTokenBucket:
    """A bucket, and what it has to say of itself.

    Attributes:
        shadow: it counts, and refuses nothing.
    """

    __slots__ = ("_bucket", "settings", "shadow")

    def __init__(self, bucket: TokenBucket, settings: BucketSettings, shadow: bool) -> None:
        self._bucket = bucket
        self.settings = settings
        self.shadow = shadow

    def consume(self, hits: float) -> bool:
        # No hits at all are refused, as Envoy does.
        return hits > 0 and self._bucket.consume(hits)

    @property
    def max_tokens(self) -> int:
        return self.settings.max_tokens

    @property
    def remaining_tokens(self) -> int:
        return int(self._bucket.tokens + 1e-9)

    @property
    def reset_seconds(self) -> int:
        """Until the next token, in whole seconds; 0 if there is one."""
        return ceil(self._bucket.next_token_available() - 1e-9)


class Verdict(NamedTuple):
    """Attributes:
    bucket: the one that refused; else the matching one that fills most slowly, or the default one; None without any.
    descriptor: the one that led to the bucket; None for the default bucket.
    shadow: it is allowed only because the bucket that refused is there to count.
    """

    allowed: bool
    bucket: RateLimitTokenBucket | None
    descriptor: Descriptor | None = None
    shadow: bool = False


class DescriptorSettings(NamedTuple):
    """Attributes:
    dynamic: an entry has no value: each value gets a bucket of its own.
    """

    entries: Entries
    bucket: BucketSettings
    shadow: bool
    dynamic: bool

    def matches(self, entries: Entries) -> bool:
        return len(entries) == len(self.entries) and all(
            key == wanted_key and (not wanted or value == wanted)
            for (key, value), (wanted_key, wanted) in zip(entries, self.entries, strict=True)
        )


def descriptor_settings(protos: Any, path: str) -> tuple[DescriptorSettings, ...]:
    """Of a repeated `LocalRateLimitDescriptor`.

    Raises:
        ConfigError: below `path`; the same descriptor comes twice.
    """
    made: list[DescriptorSettings] = []
    for at, each in enumerate(protos):
        entries = tuple((entry.key, entry.value) for entry in each.entries)
        if any(entries == other.entries for other in made):
            shown = ", ".join(f"{key}={value}" for key, value in entries)
            raise ConfigError(f"duplicate descriptor in the local rate descriptor: {shown}", f"{path}[{at}]")
        where = f"{path}[{at}].token_bucket"
        bucket = BucketSettings.from_proto(each.token_bucket, where, "local rate limit descriptor")
        dynamic = any(not value for _, value in entries)
        made.append(DescriptorSettings(entries, bucket, each.shadow_mode, dynamic))
    return tuple(made)


class DynamicDescriptor:
    """The buckets of one descriptor that stands for every value; those used least recently are forgotten."""

    __slots__ = ("_buckets", "_limit", "_monotonic_time", "settings")

    def __init__(self, settings: DescriptorSettings, limit: int, monotonic_time: Callable[[], float]) -> None:
        self.settings = settings
        self._limit = limit
        self._monotonic_time = monotonic_time
        self._buckets: OrderedDict[Entries, RateLimitTokenBucket] = OrderedDict()

    def bucket(self, entries: Entries) -> RateLimitTokenBucket:
        found = self._buckets.get(entries)
        if found is None:
            made = self.settings.bucket.make(self._monotonic_time, shadow=self.settings.shadow)
            found = self._buckets[entries] = made
            if len(self._buckets) > self._limit:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(entries)
        return found


class LocalRateLimiter:
    """
    Args:
        default: the bucket for what no descriptor matches; None: nothing is refused there.
        always_consume_default: what a descriptor matches takes from the default bucket as well.
        share: the share of the tokens that this server may use, from 0 (none) to 1.
    """

    __slots__ = ("_always_default", "_default", "_dynamic", "_exact", "_share")

    def __init__(
        self,
        monotonic_time: Callable[[], float],
        default: BucketSettings | None,
        descriptors: Iterable[DescriptorSettings] = (),
        *,
        always_consume_default: bool = True,
        max_dynamic_descriptors: int = MAX_DYNAMIC_DESCRIPTORS,
        share: Callable[[], float] | None = None,
    ) -> None:
        self._default = None if default is None else default.make(monotonic_time)
        self._always_default = always_consume_default
        self._share = share
        self._exact: dict[Entries, RateLimitTokenBucket] = {}
        self._dynamic: list[DynamicDescriptor] = []
        for each in descriptors:
            if each.dynamic:
                self._dynamic.append(DynamicDescriptor(each, max_dynamic_descriptors, monotonic_time))
            else:
                self._exact[each.entries] = each.bucket.make(monotonic_time, shadow=each.shadow)

    def request_allowed(self, descriptors: Sequence[Descriptor] = ()) -> Verdict:
        """Take what one request costs. Who is asked before a bucket that refuses does not get back what it gave."""
        share = 1.0 if self._share is None else self._share()
        if not share:
            return Verdict(False, self._default)
        matched: list[tuple[RateLimitTokenBucket, Descriptor]] = []
        for descriptor in descriptors:
            bucket = self._find(descriptor.entries)
            if bucket is not None:
                matched.append((bucket, descriptor))
        # The one that fills most slowly is asked first.
        matched.sort(key=lambda match: match[0].settings.fill_rate)
        shadow: Verdict | None = None
        for bucket, descriptor in matched:
            hits = 1 if descriptor.hits is None else descriptor.hits
            if not bucket.consume(hits / share):
                if not bucket.shadow:
                    return Verdict(False, bucket, descriptor)
                shadow = shadow or Verdict(True, bucket, descriptor, shadow=True)
        default = self._default
        if default is not None and (not matched or self._always_default) and not default.consume(1 / share):
            # A bucket that holds nothing has nothing to tell of either.
            return Verdict(False, default if default.max_tokens else None)
        if shadow is not None:
            return shadow
        return Verdict(True, *matched[0]) if matched else Verdict(True, default)

    def _find(self, entries: Entries) -> RateLimitTokenBucket | None:
        bucket = self._exact.get(entries)
        if bucket is None:
            for dynamic in self._dynamic:
                if dynamic.settings.matches(entries):
                    return dynamic.bucket(entries)
        return bucket


def local_cluster_share(cluster_manager: Any, path: str) -> Callable[[], float]:
    """One part of as many as the local cluster has hosts (`ShareProviderManager`).

    Raises:
        ConfigError: at `path`, if there is no local cluster.
    """
    name = cluster_manager.local_cluster_name
    if not name:
        raise ConfigError("local_cluster_rate_limit is set but no local cluster name is present", path)
    if cluster_manager.get(name) is None:
        raise ConfigError("local_cluster_rate_limit is set but no local cluster name is present", path)

    def share() -> float:
        cluster = cluster_manager.get(name)
        hosts = 0 if cluster is None else len(cluster.hosts())
        return 1.0 / hosts if hosts else 1.0

    return share
