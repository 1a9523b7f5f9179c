from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.config.fields import unsupported
from minienvoy.errors import ConfigError
from minienvoy.http.http1.header_formatter import proper_case_words
from minienvoy.network.address import Address
from minienvoy.stats.store import Store
from minienvoy.upstream.cluster import Cluster, ClusterContext, create_cluster
from minienvoy.upstream.cluster_info import TcpKeepalive
from minienvoy.upstream.host import HostSet

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


CHECK = {"timeout": "1s", "interval": "1s", "unhealthy_threshold": 1, "healthy_threshold": 1}


def typed(name: str, **fields: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/{name}", **fields}


def test_defaults_are_envoys(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster("a")
    assert (cluster.connect_timeout, cluster.per_connection_buffer_limit) == (5.0, 1024 * 1024)
    assert (cluster.tcp_keepalive, cluster.local_address_selector) == (None, None)
    options = cluster.http_options
    assert (options.idle_timeout, options.max_requests_per_connection, options.max_connection_duration) == (
        3600.0,
        None,
        None,
    )
    assert (options.http1.max_headers_size, options.http1.max_headers_count) == (80 * 1024, 100)


def test_settings_are_compiled(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(
        "a",
        ["1.2.3.4:80"],
        alt_stat_name="other",
        connect_timeout="0.25s",
        per_connection_buffer_limit_bytes=1000,
        upstream_connection_options={"tcp_keepalive": {"keepalive_time": 7}},
        upstream_bind_config={"source_address": {"address": "127.0.0.3", "port_value": 0}},
        metadata={"filter_metadata": {"f": {"n": 1, "l": [True, None, "s", {"x": 2}]}}},
    )
    assert (cluster.observability_name, cluster.connect_timeout) == ("other", 0.25)
    assert cluster.per_connection_buffer_limit == 1000
    assert cluster.tcp_keepalive == TcpKeepalive(time=7)
    assert cluster.local_address_selector is not None
    assert str(cluster.local_address_selector.select(Address("10.0.0.1", 80)).address) == "127.0.0.3:0"
    assert cluster.metadata == {"f": {"n": 1.0, "l": [True, None, "s", {"x": 2.0}]}}


def test_http_options_of_the_extension_win(make_cluster: Callable[..., Cluster]) -> None:
    options = make_cluster(
        "a",
        common_http_protocol_options={"idle_timeout": "9s"},
        max_requests_per_connection=5,
        typed_extension_protocol_options={
            HTTP_OPTIONS: typed(
                HTTP_OPTIONS,
                common_http_protocol_options={
                    "idle_timeout": "2s",
                    "max_headers_count": 7,
                    "max_response_headers_kb": 3,
                },
                explicit_http_config={
                    "http_protocol_options": {
                        "enable_trailers": True,
                        "header_key_format": {"proper_case_words": {}},
                    }
                },
            )
        },
    ).http_options
    assert (options.idle_timeout, options.max_requests_per_connection) == (2.0, 5)
    assert (options.http1.max_headers_count, options.http1.max_headers_size) == (7, 3072)
    assert options.http1.enable_trailers
    assert options.http1.key_formatter is proper_case_words


def test_older_http_options_of_the_cluster_itself_count(make_cluster: Callable[..., Cluster]) -> None:
    options = make_cluster(
        "a",
        common_http_protocol_options={"idle_timeout": "0s", "max_requests_per_connection": 2},
        http_protocol_options={"allow_chunked_length": True},
        max_requests_per_connection=5,
    ).http_options
    assert (options.idle_timeout, options.max_requests_per_connection) == (None, 2)
    assert options.http1.allow_chunked_length


def test_protocol_options_may_be_a_typed_struct(make_cluster: Callable[..., Cluster]) -> None:
    value = {"explicit_http_config": {"http_protocol_options": {"enable_trailers": True}}}
    struct = typed("xds.type.v3.TypedStruct", type_url=f"type.googleapis.com/{HTTP_OPTIONS}", value=value)
    cluster = make_cluster("a", typed_extension_protocol_options={HTTP_OPTIONS: struct})
    assert cluster.http_options.http1.enable_trailers


def test_eds_without_a_source_is_refused(make_cluster: Callable[..., Cluster]) -> None:
    with pytest.raises(ConfigError) as error:
        make_cluster("a", type="EDS")
    assert error.value.problem == "cannot create an EDS cluster without an EDS config"
    assert error.value.path == "clusters[0].eds_cluster_config"


def test_members_are_counted(make_cluster: Callable[..., Cluster], store: Store) -> None:
    states = ("HEALTHY", "UNKNOWN", "UNHEALTHY", "DRAINING", "TIMEOUT", "DEGRADED")
    hosts = [
        {
            "endpoint": {"address": {"socket_address": {"address": "1.1.1.1", "port_value": port}}},
            "health_status": state,
        }
        for port, state in enumerate(states, 1)
    ]
    make_cluster("hs", hosts)
    # As Envoy 1.40 counts these.
    assert {name: store.value(f"cluster.hs.membership_{name}") for name in ("total", "healthy", "degraded")} == {
        "total": 6,
        "healthy": 2,
        "degraded": 1,
    }
    assert store.value("cluster.hs.membership_excluded") == 1
    assert store.value("cluster.hs.membership_change") == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"lb_policy": "ROUND_ROBIN"},
        {
            "load_balancing_policy": {
                "policies": [
                    {"typed_extension_config": {"name": "no", "typed_config": typed("envoy.config.core.v3.Address")}},
                    {
                        "typed_extension_config": {
                            "name": "rr",
                            "typed_config": typed("envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin"),
                        }
                    },
                ]
            }
        },
    ],
)
def test_round_robin_has_two_spellings(make_cluster: Callable[..., Cluster], fields: dict[str, Any]) -> None:
    cluster = make_cluster("a", ["1.1.1.1:1", "1.1.1.1:2"], **fields)
    assert cluster.load_balancer_type == "envoy.load_balancing_policies.round_robin"
    chosen = [cluster.load_balancer.choose_host(None) for _ in range(4)]
    assert chosen[:2] == chosen[2:]
    assert set(chosen) == set(cluster.hosts())


def test_panic_threshold_is_rounded(make_cluster: Callable[..., Cluster], store: Store) -> None:
    sick = {"endpoint": {"address": {"socket_address": {"address": "1.1.1.1", "port_value": 1}}}}
    cluster = make_cluster(
        "a", [{**sick, "health_status": "UNHEALTHY"}], common_lb_config={"healthy_panic_threshold": {"value": 0.4}}
    )
    assert cluster.load_balancer.choose_host(None) is None
    assert store.value("cluster.a.lb_healthy_panic") == 0


def test_stop_forgets_the_stats(make_cluster: Callable[..., Cluster], store: Store) -> None:
    cluster = make_cluster("a", ["1.1.1.1:1"])
    cluster.stop()
    assert [sample.name for sample in store.counters() if sample.name.startswith("cluster.a.")] == []


class Pool:
    def __init__(self) -> None:
        self.drained = 0

    def drain(self) -> None:
        self.drained += 1


def test_connections_to_removed_hosts_are_drained(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster("a", ["1.1.1.1:1", "1.1.1.1:2"])
    stays, goes = cluster.hosts()
    stays.http_pools["p"], goes.http_pools["p"] = Pool(), Pool()
    cluster.priority_set.update_hosts(HostSet(0, (stays,)))
    assert (stays.http_pools["p"].drained, goes.http_pools["p"].drained) == (0, 1)
    cluster.stop()
    assert (stays.http_pools["p"].drained, goes.http_pools["p"].drained) == (1, 1)


# The problems are worded as Envoy 1.40 words them.
@pytest.mark.parametrize(
    ("fields", "problem", "path"),
    [
        (
            {"upstream_bind_config": {"source_address": {"address": "foo", "port_value": 0}}},
            "malformed IP address: foo",
            "clusters[0].upstream_bind_config.source_address.address",
        ),
        (
            {"load_balancing_policy": {"policies": []}},
            "cluster: didn't find a registered load balancer factory implementation for cluster: 'a' with names from "
            "[]",
            "clusters[0].load_balancing_policy.policies",
        ),
    ],
)
def test_bad_settings_are_refused(
    cluster_config: Callable[..., Any],
    context: ClusterContext,
    store: Store,
    fields: dict[str, Any],
    problem: str,
    path: str,
) -> None:
    with pytest.raises(ConfigError) as error:
        create_cluster(cluster_config("a", **fields), context)
    assert (error.value.problem, error.value.path) == (problem, path)
    assert store.entries == {}


CHECK = {"timeout": "1s", "interval": "1s", "unhealthy_threshold": 1, "healthy_threshold": 1}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        (
            {"health_checks": [{**CHECK, "http_health_check": {"path": "/", "codec_client_type": "HTTP3"}}]},
            "health_checks[0].http_health_check.codec_client_type",
        ),
    ],
)
def test_what_comes_later_is_not_honoured_yet(
    cluster_config: Callable[..., Any], fields: dict[str, Any], path: str
) -> None:
    assert path in {item.path for item in unsupported(cluster_config("a", **fields))}


def test_what_is_here_is_honoured(cluster_config: Callable[..., Any]) -> None:
    config = cluster_config(
        "a",
        ["1.1.1.1:1"],
        type="STRICT_DNS",
        dns_lookup_family="V4_ONLY",
        circuit_breakers={"thresholds": [{"max_connections": 1}]},
        typed_extension_protocol_options={
            HTTP_OPTIONS: typed(HTTP_OPTIONS, explicit_http_config={"http_protocol_options": {}})
        },
        typed_dns_resolver_config={
            "name": "cares",
            "typed_config": typed(
                "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
                resolvers=[{"socket_address": {"address": "127.0.0.1", "port_value": 53}}],
            ),
        },
    )
    assert unsupported(config) == []


@pytest.mark.parametrize(("wanted", "drained"), [(False, 0), (True, 1)])
def test_connections_are_closed_when_hosts_change_if_that_is_wanted(
    make_cluster: Callable[..., Cluster], wanted: bool, drained: int
) -> None:
    common = {"close_connections_on_host_set_change": wanted}
    cluster = make_cluster("a", ["1.2.3.4:80", "1.2.3.5:80"], common_lb_config=common)
    stays, goes = cluster.hosts()
    pools = Pool(), Pool()
    stays.http_pools[0], goes.http_pools[0] = pools
    cluster.priority_set.refresh_health(0)
    assert [pool.drained for pool in pools] == [0, 0]  # the hosts are the same
    cluster.priority_set.update_hosts(cluster.load_assignment.host_set(0, (stays,)))
    assert [pool.drained for pool in pools] == [drained, 1]


def test_a_part_of_the_load_is_dropped(make_cluster: Callable[..., Cluster]) -> None:
    policy = {"drop_overloads": [{"category": "x", "drop_percentage": {"numerator": 25}}]}
    cluster = make_cluster("a", load_assignment={"cluster_name": "a", "policy": policy})
    drop = cluster.drop_overload
    assert drop is not None
    assert (drop.category, drop.always) == ("x", False)
    assert 190 < sum(drop.drops() for _ in range(1000)) < 310


def test_no_load_is_dropped_where_nothing_is_told(make_cluster: Callable[..., Cluster]) -> None:
    none = {"drop_overloads": [{"category": "x", "drop_percentage": {"numerator": 0}}]}
    assert make_cluster("a").drop_overload is None
    assert make_cluster("b", load_assignment={"cluster_name": "b", "policy": none}).drop_overload is None


def test_an_update_of_many_hosts_keeps_those_that_stay(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster("a", [f"10.0.{number // 250}.{number % 250}:80" for number in range(1000)])
    hosts = cluster.hosts()
    hosts[5].stats.rq_total = 7
    cluster.priority_set.update_hosts(cluster.load_assignment.host_set(0, tuple(hosts[1:])))
    assert cluster.hosts()[4] is hosts[5]
    assert cluster.hosts()[4].stats.rq_total == 7
