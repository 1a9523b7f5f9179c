"""What a cluster says over its routes, without a clock."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.errors import ConfigError
from minienvoy.router.cluster_policies import ClusterPolicies
from minienvoy.router.route_entry import RouteEntry
from tests.unit.http_bench import GET, OK, Bench

MakeBench = Callable[..., Bench]
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
UNAVAILABLE = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"


def saying(**policies: Any) -> dict[str, Any]:
    """Fields of a cluster."""
    explicit = {"explicit_http_config": {"http_protocol_options": {}}}
    return {
        "typed_extension_protocol_options": {
            OPTIONS: {"@type": f"type.googleapis.com/{OPTIONS}", **explicit, **policies}
        }
    }


def routes(**action: Any) -> list[Any]:
    return [{"match": {"prefix": "/"}, "route": {"cluster": "a", **action}}]


def policies_of(b: Bench) -> ClusterPolicies:
    policies = b.cluster_manager.clusters()["a"].route_policies
    assert policies is not None
    return policies


def route_of(b: Bench) -> RouteEntry:
    (host,) = b.config.route_config.virtual_hosts
    (route,) = host.routes
    assert isinstance(route, RouteEntry)
    return route


def test_a_cluster_that_says_nothing_has_no_say(bench: MakeBench) -> None:
    cluster = bench(routes(), cluster=saying()).cluster_manager.clusters()["a"]
    assert cluster.route_policies is None
    assert not cluster.has_say


def test_a_request_is_retried_because_its_cluster_says_so(bench: MakeBench) -> None:
    b = bench(routes(retry_policy={"retry_on": "retriable-4xx"}), cluster=saying(retry_policy={"retry_on": "5xx"}))
    client = b.client().send(GET)
    (upstream,) = b.upstreams
    upstream.send(UNAVAILABLE)
    assert client.received() == b""
    b.advance(0.1)
    upstream.send(OK)
    assert client.received().startswith(b"HTTP/1.1 200 OK\r\n")
    assert b.stat("cluster.upstream_rq_retry") == 1
    because = [each.because for each in b.explanations.last().decisions if each.point == "policies"]
    assert because == ["retry_policy: in place of the route's"]


def test_how_long_an_attempt_may_take_stays_with_the_route(bench: MakeBench) -> None:
    of_route = {"per_try_timeout": "1s", "per_try_idle_timeout": "2s", "refresh_cluster_on_retry": True}
    of_cluster = {"retry_on": "5xx", "num_retries": 4, "per_try_timeout": "3s", "per_try_idle_timeout": "4s"}
    b = bench(routes(retry_policy=of_route), cluster=saying(retry_policy=of_cluster))
    policy = policies_of(b).over(route_of(b)).attempts.retry_policy
    assert (policy.per_try_timeout, policy.per_try_idle_timeout, policy.refresh_cluster) == (1.0, 2.0, True)
    assert policy.num_retries == 4


def test_what_the_cluster_does_not_say_is_as_the_route_says(bench: MakeBench) -> None:
    by_header = [{"header": {"header_name": "x-key"}}]
    b = bench(routes(retry_policy={"retry_on": "5xx"}, hash_policy=by_header), cluster=saying(hash_policy=by_header))
    route = route_of(b)
    made = policies_of(b).over(route)
    assert made.attempts is route.attempts
    assert made.hash_policy is policies_of(b).hash_policy
    assert made.shadow_policies == ()
    assert not made.copies_request


def test_an_empty_policy_of_the_cluster_leaves_one_attempt(bench: MakeBench) -> None:
    b = bench(routes(retry_policy={"retry_on": "5xx"}), cluster=saying(retry_policy={}))
    route = route_of(b)
    assert not route.tries_once
    assert policies_of(b).over(route).tries_once


def test_a_route_is_made_over_once_and_few_are_kept(bench: MakeBench) -> None:
    b = bench(routes(), cluster=saying(retry_policy={"retry_on": "5xx"}))
    policies, route = policies_of(b), route_of(b)
    made = policies.over(route)
    assert policies.over(route) is made
    for _ in range(2000):
        policies.over(copy.copy(route))
    assert len(policies._routes) <= 256


def test_clusters_that_mirror_themselves_come_to_an_end(bench: MakeBench) -> None:
    b = bench(routes(), cluster=saying(request_mirror_policies=[{"cluster": "a"}]))
    b.client().send(GET)
    assert len(b.upstreams) == 6
    hosts = sorted(each.received().split(b"host: ")[1].split(b"\r\n")[0].decode() for each in b.upstreams)
    assert hosts == ["a.com" + "-shadow" * times for times in range(6)]


def test_what_is_wrong_has_its_place(bench: MakeBench) -> None:
    with pytest.raises(ConfigError, match="exactly one of cluster and cluster_header") as raised:
        bench(routes(), cluster=saying(request_mirror_policies=[{"cluster": "a", "cluster_header": "x"}]))
    assert raised.value.path.endswith(f'typed_extension_protocol_options["{OPTIONS}"].request_mirror_policies[0]')
