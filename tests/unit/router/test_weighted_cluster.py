"""Clusters that are chosen when the request is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.config.runtime import Loader
from minienvoy.errors import ConfigError
from minienvoy.http.header_map import RequestHeaderMap
from minienvoy.router.config import RouteConfig
from minienvoy.router.route_entry import RouteEntry
from tests.unit.router.conftest import Stream

MakeHeaders = Callable[..., RequestHeaderMap]


def table(action: dict[str, Any], draw: int = 0, runtime: Loader | None = None, **fields: Any) -> RouteConfig:
    hosts = [{"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": action, **fields}]}]
    message = load_dict({"virtual_hosts": hosts}, "envoy.config.route.v3.RouteConfiguration").message
    return RouteConfig(message, "r", random=lambda: draw, runtime=runtime)


def weighted(*clusters: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"weighted_clusters": {"clusters": list(clusters), **fields}}


A, B = {"name": "a", "weight": 10}, {"name": "b", "weight": 20}


def routed(config: RouteConfig, headers: RequestHeaderMap) -> RouteEntry:
    route = config.route(headers, Stream())
    assert route is not None
    return route


@pytest.mark.parametrize(("draw", "cluster"), [(0, "a"), (9, "a"), (10, "b"), (29, "b"), (30, "a"), (2**64 - 1, "b")])
def test_a_number_falls_in_the_weight_of_a_cluster(request_headers: MakeHeaders, draw: int, cluster: str) -> None:
    assert routed(table(weighted(A, B), draw), request_headers()).cluster_name == cluster


@pytest.mark.parametrize(("value", "cluster"), [("12", "b"), ("3", "a"), ("no number", "a"), ("", "a")])
def test_a_header_may_bring_the_number(request_headers: MakeHeaders, value: str, cluster: str) -> None:
    config = table(weighted(A, B, header_name="X-Number"))
    assert routed(config, request_headers(headers={"x-number": value})).cluster_name == cluster


def test_a_stream_that_is_routed_again_goes_to_the_same_cluster(request_headers: MakeHeaders) -> None:
    draws = iter([15, 0])
    message = load_dict(
        {
            "virtual_hosts": [
                {"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": weighted(A, B)}]}
            ]
        },
        "envoy.config.route.v3.RouteConfiguration",
    ).message
    config, stream = RouteConfig(message, "r", random=lambda: next(draws)), Stream()
    chosen = [config.route(request_headers(), stream) for _ in range(2)]
    assert [route.cluster_name for route in chosen if route] == ["b", "b"]


def test_the_runtime_may_have_other_weights(request_headers: MakeHeaders) -> None:
    layered = {"layers": [{"name": "static", "static_layer": {"w.a": 0, "w.b": 5}}]}
    runtime = Loader(load_dict(layered, "envoy.config.bootstrap.v3.LayeredRuntime").message)
    config = table(weighted(A, B, runtime_key_prefix="w"), 0, runtime)
    assert routed(config, request_headers()).cluster_name == "b"


def test_a_weighted_cluster_has_headers_and_a_host_of_its_own(request_headers: MakeHeaders) -> None:
    own = {**A, "host_rewrite_literal": "a.test", "request_headers_to_add": [{"header": {"key": "x-a", "value": "1"}}]}
    headers = request_headers()
    route = routed(table(weighted(own, B)), headers)
    route.finalize_request_headers(headers, Stream())
    assert headers.authority == b"a.test"
    assert headers["x-a"] == "1"


def test_a_weighted_cluster_adds_to_the_metadata_that_hosts_must_have(request_headers: MakeHeaders) -> None:
    def metadata(**values: str) -> dict[str, Any]:
        return {"filter_metadata": {"envoy.lb": values}}

    action = {**weighted({**A, "metadata_match": metadata(b="3", c="4")}), "metadata_match": metadata(a="1", b="2")}
    assert routed(table(action), request_headers()).metadata_match == {"a": "1", "b": "3", "c": "4"}


def test_a_header_names_the_cluster(request_headers: MakeHeaders) -> None:
    config = table({"cluster_header": "X-Cluster"})
    assert routed(config, request_headers(headers={"x-cluster": "a"})).cluster_name == "a"
    assert routed(config, request_headers()).cluster_name == ""


def test_a_header_names_a_weighted_cluster(request_headers: MakeHeaders) -> None:
    config = table(weighted({"cluster_header": "x-cluster", "weight": 1}))
    assert routed(config, request_headers(headers={"x-cluster": "a"})).cluster_name == "a"


@pytest.mark.parametrize("cluster", [{"weight": 1}, {"name": "a", "cluster_header": "b", "weight": 1}])
def test_a_weighted_cluster_has_one_name(cluster: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="name or cluster_header"):
        table(weighted(cluster))


def test_weights_have_a_bound() -> None:
    with pytest.raises(ConfigError, match="exceeds 4294967295"):
        table(weighted({"name": "a", "weight": 2**32 - 1}, {"name": "b", "weight": 1}))


def test_weighted_clusters_must_exist() -> None:
    message = load_dict(
        {
            "virtual_hosts": [
                {"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": weighted(A, B)}]}
            ]
        },
        "envoy.config.route.v3.RouteConfiguration",
    ).message
    with pytest.raises(ConfigError, match="route: unknown weighted cluster 'b'"):
        RouteConfig(message, "r", cluster_exists=lambda name: name == "a")
