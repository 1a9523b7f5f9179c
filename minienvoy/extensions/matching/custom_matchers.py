"""Branches of match trees that are found by ranges of addresses or by domains.

Envoy: `source/extensions/common/matcher`: `ip_range_matcher.h` (`Common::Matcher::IpRangeMatcher`),
`domain_matcher.h`. The most specific branch comes first; the others are for when it leads nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...config.fields import honours
from ...errors import ConfigError
from ...http.matching import HTTP_CUSTOM_MATCHERS
from ...matchers.match_tree import Candidates, Step
from ...network.cidr import CidrRange
from ...server.filter_chain_matcher import NETWORK_CUSTOM_MATCHERS
from ...server.udp_matching import UDP_CUSTOM_MATCHERS
from .input_matchers import ip_address_of

honours("xds.type.matcher.v3.IPMatcher", "range_matchers")
honours("xds.type.matcher.v3.IPMatcher.IPRangeMatcher", "ranges", "on_match", "exclusive")
honours("xds.core.v3.CidrRange", "address_prefix", "prefix_len")
honours("xds.type.matcher.v3.ServerNameMatcher", "domain_matchers")
honours("xds.type.matcher.v3.ServerNameMatcher.DomainMatcher", "domains", "on_match")

CompileOnMatch = Callable[[Any, str], Step]


@HTTP_CUSTOM_MATCHERS.register("envoy.matching.custom_matchers.ip_range_matcher", "xds.type.matcher.v3.IPMatcher")
@NETWORK_CUSTOM_MATCHERS.register("envoy.matching.custom_matchers.ip_range_matcher", "xds.type.matcher.v3.IPMatcher")
@UDP_CUSTOM_MATCHERS.register("envoy.matching.custom_matchers.ip_range_matcher", "xds.type.matcher.v3.IPMatcher")
def create_ip_matcher(config: Any, on_match: CompileOnMatch) -> Candidates:
    """Of the ranges that an address is in the narrowest first, then in their order."""
    nodes: list[tuple[CidrRange, bool, Step]] = []
    for at, each in enumerate(config.range_matchers):
        here = f"range_matchers[{at}]"
        step = on_match(each.on_match, f"{here}.on_match")
        for index, proto in enumerate(each.ranges):
            nodes.append((CidrRange.from_proto(proto, f"{here}.ranges[{index}]"), each.exclusive, step))
    nodes.sort(key=lambda node: -node[0].length)

    def candidates(value: Any) -> Sequence[Step]:
        address = ip_address_of(value)
        if address is None:
            return ()
        found: list[Step] = []
        for cidr, exclusive, step in nodes:
            # One that is exclusive is not for what a narrower one has taken and could not use.
            if address in cidr and not (exclusive and found):
                found.append(step)
        return found

    return candidates


@HTTP_CUSTOM_MATCHERS.register("envoy.matching.custom_matchers.domain_matcher", "xds.type.matcher.v3.ServerNameMatcher")
@NETWORK_CUSTOM_MATCHERS.register(
    "envoy.matching.custom_matchers.domain_matcher", "xds.type.matcher.v3.ServerNameMatcher"
)
def create_domain_matcher(config: Any, on_match: CompileOnMatch) -> Candidates:
    """Exactly, then by `*.suffix` from the longest on, then `*`."""
    steps: dict[bytes, Step] = {}
    for at, each in enumerate(config.domain_matchers):
        here = f"domain_matchers[{at}]"
        step = on_match(each.on_match, f"{here}.on_match")
        for index, domain in enumerate(each.domains):
            _check_domain(domain, f"{here}.domains[{index}]")
            key = domain.encode()
            if key in steps:
                raise ConfigError(f"Duplicate domain in ServerNameMatcher: {domain}", f"{here}.domains[{index}]")
            steps[key] = step

    def candidates(name: bytes) -> Sequence[Step]:
        found = [steps[name]] if name in steps else []
        at = name.find(b".")
        while at >= 0:
            suffix = b"*" + name[at:]
            if suffix in steps:
                found.append(steps[suffix])
            at = name.find(b".", at + 1)
        if name and b"*" in steps:
            found.append(steps[b"*"])
        return found

    return candidates


def _check_domain(domain: str, path: str) -> None:
    if not domain:
        raise ConfigError("Empty domain in ServerNameMatcher", path)
    problem = ""
    if domain == "*" or "*" not in domain:
        return
    if not domain.startswith("*."):
        problem = "Only '*' and '*.domain' patterns are supported"
    elif "*" in domain[1:]:
        problem = "Multiple wildcards are not supported"
    if problem:
        raise ConfigError(f"Invalid wildcard domain format: {domain}. {problem}", path)
