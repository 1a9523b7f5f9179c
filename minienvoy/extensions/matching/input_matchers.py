"""Matchers of a single input that are more than a comparison of strings.

Envoy: `source/extensions/matching/input_matchers`: `ip`, `consistent_hashing`, `runtime_fraction`, `metadata`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...config.fields import honours
from ...config.runtime import RuntimeFractionalPercent
from ...errors import ConfigError
from ...matchers.match_tree import INPUT_MATCHERS
from ...matchers.value import MISSING, compile_value_matcher
from ...network.address import Address
from ...network.cidr import CidrSet
from ...stats.store import CounterValue, StatsStruct
from ...upstream.xx_hash import xx_hash64

_TYPE = "envoy.extensions.matching.input_matchers"

honours(f"{_TYPE}.ip.v3.Ip", "cidr_ranges", "stat_prefix")
honours(f"{_TYPE}.consistent_hashing.v3.ConsistentHashing", "threshold", "modulo", "seed")
honours(f"{_TYPE}.runtime_fraction.v3.RuntimeFraction", "runtime_fraction", "seed")
honours(f"{_TYPE}.metadata.v3.Metadata", "value", "invert")

Test = Callable[[Any], bool]


class IpMatcherStats(StatsStruct):
    """`STAT_PREFIX.ip_matcher.*`."""

    ip_parsing_failed: CounterValue


def ip_address_of(text: Any) -> Address | None:
    """The address that a text is, or None."""
    if not isinstance(text, bytes) or b"%" in text:
        return None
    try:
        return Address.ip(text.decode("latin-1"), 0)
    except ValueError:
        return None


@INPUT_MATCHERS.register("envoy.matching.matchers.ip", f"{_TYPE}.ip.v3.Ip")
def create_ip_matcher(config: Any, server: Any) -> Test:
    """The input is an address in one of the ranges."""
    ranges = CidrSet.from_protos(config.cidr_ranges, "cidr_ranges")
    stats = server.stats.scope(f"{config.stat_prefix}.ip_matcher").struct(IpMatcherStats)

    def test(value: Any) -> bool:
        address = ip_address_of(value)
        if address is None:
            if value:
                stats.ip_parsing_failed += 1
            return False
        return address in ranges

    return test


@INPUT_MATCHERS.register(
    "envoy.matching.matchers.consistent_hashing", f"{_TYPE}.consistent_hashing.v3.ConsistentHashing"
)
def create_consistent_hashing(config: Any, server: Any) -> Test:
    """A stable share of the values: those whose hash modulo `modulo` is at least `threshold`."""
    if config.threshold > config.modulo:
        problem = f"threshold cannot be greater than modulo: {config.threshold} > {config.modulo}"
        raise ConfigError(problem, "threshold")
    threshold, modulo, seed = config.threshold, config.modulo, config.seed
    return lambda value: isinstance(value, bytes) and xx_hash64(value, seed) % modulo >= threshold


@INPUT_MATCHERS.register("envoy.matching.matchers.runtime_fraction", f"{_TYPE}.runtime_fraction.v3.RuntimeFraction")
def create_runtime_fraction(config: Any, server: Any) -> Test:
    """A stable share of the values, as large as the runtime says."""
    fraction = RuntimeFractionalPercent.from_proto(config.runtime_fraction)
    runtime, seed = server.runtime, config.seed

    def test(value: Any) -> bool:
        return isinstance(value, bytes) and runtime.snapshot.fraction_enabled(fraction, xx_hash64(value, seed))

    return test


@INPUT_MATCHERS.register("envoy.matching.matchers.metadata_matcher", f"{_TYPE}.metadata.v3.Metadata")
def create_metadata_matcher(config: Any, server: Any) -> Test:
    """Of a value in dynamic metadata."""
    test, invert = compile_value_matcher(config.value, "value"), config.invert
    return lambda value: test(MISSING if value is None else value) != invert
