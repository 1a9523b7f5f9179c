"""Route tables that Envoy refuses, in its words, and some that it takes."""

from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config.fields import unsupported
from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.http.header_map import RequestHeaderMap
from minienvoy.router.config import RouteConfig


def compiled(*virtual_hosts: dict[str, Any]) -> RouteConfig:
    fields = {"name": "r", "virtual_hosts": list(virtual_hosts)}
    return RouteConfig(load_dict(fields, "envoy.config.route.v3.RouteConfiguration").message, "route_config")


def refused(*virtual_hosts: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(ConfigError) as error:
        compiled(*virtual_hosts)
    return error.value.problem, error.value.path.removeprefix("route_config.")


def contradiction(action: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(ConfigError) as error:
        unsupported(load_dict(action, "envoy.config.route.v3.RouteAction").message, "route")
    return error.value.problem, error.value.path


REGEX = {"pattern": {"regex": "a"}, "substitution": "b"}
POLICY = {"name": "x", "typed_config": {"@type": "type.googleapis.com/google.protobuf.Empty"}}


@pytest.mark.parametrize(
    "rewrites",
    [
        {"prefix_rewrite": "/b", "regex_rewrite": REGEX},
        {"prefix_rewrite": "/b", "path_rewrite_policy": POLICY},
        {"prefix_rewrite": "/b", "path_rewrite": "/c"},
        {"regex_rewrite": REGEX, "path_rewrite": "/c"},
    ],
)
def test_path_is_rewritten_in_one_way_only(rewrites: dict[str, Any]) -> None:
    assert contradiction({"cluster": "a", **rewrites}) == (
        "Specify only one of prefix_rewrite, regex_rewrite or path_rewrite_policy",
        "route",
    )


def test_weights_are_not_all_zero() -> None:
    weighted = {"clusters": [{"name": "a", "weight": 0}, {"name": "b", "weight": 0}]}
    assert contradiction({"weighted_clusters": weighted}) == (
        "Sum of weights in the weighted_cluster must be greater than 0.",
        "route.weighted_clusters",
    )


def test_domain_stands_once_whatever_its_case() -> None:
    assert refused({"name": "v", "domains": ["a.test", "A.test"]}) == (
        "Only unique values for domains are permitted. Duplicate entry of domain a.test in route r",
        "virtual_hosts[0].domains[1]",
    )


def test_only_one_virtual_host_takes_the_rest() -> None:
    assert refused({"name": "v", "domains": ["*"]}, {"name": "w", "domains": ["*"]}) == (
        "Only a single wildcard domain is permitted in route r",
        "virtual_hosts[1].domains[0]",
    )


def test_virtual_hosts_may_share_a_name() -> None:
    table = compiled({"name": "v", "domains": ["a.test"]}, {"name": "v", "domains": ["b.test"]})
    hosts = [table.virtual_host(b"a.test"), table.virtual_host(b"b.test")]
    assert [host.name for host in hosts if host] == ["v", "v"]
    assert hosts[0] is not hosts[1]


def test_prefix_of_a_redirect_may_bring_a_query_and_the_log_knows_the_path_that_was_asked_for() -> None:
    redirect = {"match": {"prefix": "/r"}, "redirect": {"prefix_rewrite": "/a?b"}}
    host = compiled({"name": "v", "domains": ["*"], "routes": [redirect]}).virtual_host(b"a.test")
    assert host is not None and host.routes[0].direct_response is not None
    headers = RequestHeaderMap(b"GET", b"/rx", b"a.test", [])
    assert host.routes[0].direct_response.location(headers) == b"http://a.test/a?bx"
    assert headers.get(b"x-envoy-original-path") == b"/rx"
