"""Local rate limits over simulated time; what Envoy answers is in tests/conformance/scenarios."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from minienvoy.errors import ConfigError
from minienvoy.extensions.filters.common.local_ratelimit import (
    BucketSettings,
    DescriptorSettings,
    LocalRateLimiter,
    local_cluster_share,
)
from minienvoy.router.rate_limit import Descriptor
from tests.unit.http_bench import GET, OK, Bench

MakeBench = Callable[..., Bench]
ALL = {"default_value": {"numerator": 100}}


def limited(bench: MakeBench, max_tokens: int = 1, fill_interval: str = "60s", **more: Any) -> Bench:
    limit = {
        "stat_prefix": "rl",
        "token_bucket": {"max_tokens": max_tokens, "fill_interval": fill_interval},
        "filter_enabled": ALL,
        "filter_enforced": ALL,
        **more,
    }
    return bench(http_filters={"local_ratelimit": limit})


def status(b: Bench) -> int:
    """Of a request on a connection of its own."""
    client = b.client().send(GET)
    if not (answer := client.received()):
        b.upstream.send(OK)
        answer = client.received()
    return int(answer[9:12])


def test_tokens_come_back_at_their_rate(bench: MakeBench) -> None:
    b = limited(bench, max_tokens=2, fill_interval="10s")
    assert [status(b) for _ in range(3)] == [200, 200, 429]
    b.advance(9.9)
    assert status(b) == 429
    b.advance(0.1)
    assert [status(b), status(b)] == [200, 429]
    b.advance(3600)
    assert [status(b) for _ in range(3)] == [200, 200, 429]
    assert b.stats(*(f"rl.http_local_rate_limit.{name}" for name in ("enabled", "ok", "rate_limited", "enforced"))) == [
        9,
        5,
        4,
        4,
    ]


def test_a_verdict_is_explained_with_what_is_left(bench: MakeBench) -> None:
    b = limited(bench)
    assert [status(b), status(b)] == [200, 429]
    decision = b.explanations.last()["rate_limit"]
    assert (decision.chose, decision.because) == ("over limit", "rl: 0 of 1 tokens left")
    assert b.explanations.last()["local_reply"].because == "local_rate_limited"


def test_runtime_decides_whether_it_is_enabled_and_enforced(bench: MakeBench) -> None:
    b = limited(
        bench,
        filter_enabled={"default_value": {"numerator": 0}, "runtime_key": "rl.enabled"},
        filter_enforced={"default_value": {"numerator": 0}, "runtime_key": "rl.enforced"},
    )
    assert [status(b), status(b)] == [200, 200]
    b.runtime.modify({"rl.enabled": "100"})
    assert [status(b), status(b)] == [200, 200]
    assert b.stat("rl.http_local_rate_limit.rate_limited") == 1
    b.runtime.modify({"rl.enforced": "100"})
    assert status(b) == 429


def test_each_connection_has_a_bucket_that_goes_with_it(bench: MakeBench) -> None:
    b = limited(bench, local_rate_limit_per_downstream_connection=True)
    client = b.client().send(GET)
    b.upstream.send(OK)
    assert client.received().startswith(b"HTTP/1.1 200")
    assert client.send(GET).received().startswith(b"HTTP/1.1 429")
    assert status(b) == 200


def limiter(*descriptors: DescriptorSettings, default: int = 100, **more: Any) -> LocalRateLimiter:
    return LocalRateLimiter(lambda: 0.0, BucketSettings(default, 1.0), descriptors, **more)


def setting(tokens: int, *entries: tuple[str, str]) -> DescriptorSettings:
    dynamic = any(not value for _, value in entries)
    return DescriptorSettings(entries, BucketSettings(tokens, 1.0), False, dynamic)


def user(name: str) -> list[Descriptor]:
    return [Descriptor((("user", name),))]


def test_buckets_of_values_are_forgotten_when_there_are_too_many() -> None:
    one = limiter(setting(1, ("user", "")), default=10_000, max_dynamic_descriptors=3)
    for number in range(1000):
        assert one.request_allowed(user(str(number))).allowed
    assert len(one._dynamic[0]._buckets) == 3
    assert not one.request_allowed(user("999")).allowed
    assert one.request_allowed(user("0")).allowed


def test_a_descriptor_with_more_entries_does_not_match() -> None:
    one = limiter(setting(1, ("user", "bob")), setting(1, ("user", ""), ("plan", "free")))
    more = [Descriptor((("user", "bob"), ("plan", "gold")))]
    assert [one.request_allowed(more).allowed for _ in range(3)] == [True] * 3


def test_a_server_of_four_has_a_quarter_of_the_tokens() -> None:
    one = limiter(default=8, share=lambda: 0.25)
    assert [one.request_allowed().allowed for _ in range(3)] == [True, True, False]


def test_the_share_follows_the_members_of_the_local_cluster() -> None:
    hosts = ["a", "b"]
    manager = SimpleNamespace(local_cluster_name="me", get=lambda name: SimpleNamespace(hosts=lambda: hosts))
    share = local_cluster_share(manager, "")
    assert share() == 0.5
    hosts.extend("cd")
    assert share() == 0.25
    hosts.clear()
    assert share() == 1.0


def test_there_is_no_share_without_a_local_cluster() -> None:
    manager = SimpleNamespace(local_cluster_name="", get=lambda name: None)
    with pytest.raises(ConfigError, match="no local cluster name is present"):
        local_cluster_share(manager, "local_cluster_rate_limit")
