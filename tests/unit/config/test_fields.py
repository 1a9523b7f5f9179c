from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minienvoy import registry
from minienvoy.config import api, fields, loader
from minienvoy.config.fields import Note, Unsupported, honours
from minienvoy.errors import ConfigError

CLUSTER = "envoy.config.cluster.v3.Cluster"
TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
FILTER = "envoy.config.listener.v3.Filter"


@pytest.fixture(autouse=True)
def no_declarations(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test declares what it needs, whatever else was imported."""
    monkeypatch.setattr(fields, "_DECLARATIONS", {})
    monkeypatch.setattr(fields, "_FORBIDDEN", {})
    monkeypatch.setattr(registry, "_CATALOGUE", {TCP_PROXY: "minienvoy.config.fields"})
    monkeypatch.setattr(registry, "_REGISTRIES", {})
    yield


def cluster(**value: Any) -> Any:
    return loader.load_dict({"name": "a", **value}, CLUSTER).message


def test_message_that_nobody_declared_is_unsupported_field_by_field() -> None:
    assert fields.unsupported(cluster(type="EDS", connect_timeout="1s")) == [
        Unsupported("name", "not supported"),
        Unsupported("type", "not supported"),
        Unsupported("connect_timeout", "not supported"),
    ]


def test_contradiction_is_told_before_what_is_not_honoured(tmp_path: Path) -> None:
    @fields.forbids(CLUSTER)
    def check(message: Any, path: str) -> None:
        if message.type == 3 and message.respect_dns_ttl:
            raise ConfigError("EDS asks no DNS", f"{path}.respect_dns_ttl")

    assert len(fields.unsupported(cluster(type="EDS"))) == 2
    honours("envoy.config.bootstrap.v3.Bootstrap", "static_resources")
    honours("envoy.config.bootstrap.v3.Bootstrap.StaticResources", "clusters")
    path = tmp_path / "envoy.yaml"
    path.write_text("static_resources:\n  clusters:\n  - name: a\n    type: EDS\n    respect_dns_ttl: true\n")
    loaded = loader.load_bootstrap(path)
    with pytest.raises(ConfigError) as error:
        fields.require_supported(loaded.bootstrap, loaded.source, warn=True)
    assert (error.value.problem, error.value.location) == ("EDS asks no DNS", f"{path}:5:5")


def test_everything_that_is_honoured_is_silent() -> None:
    honours(CLUSTER, "name", "connect_timeout", "metadata", whole=("load_assignment",))
    message = cluster(connect_timeout="1s", load_assignment={"cluster_name": "x", "policy": {}})
    assert fields.unsupported(message) == []


def test_all_that_is_not_is_told_at_once_with_its_path() -> None:
    honours(CLUSTER, "name", "health_checks", "metadata")
    honours("envoy.config.core.v3.Metadata", "typed_filter_metadata")
    honours("envoy.config.core.v3.HealthCheck", "timeout", "interval", "unhealthy_threshold", "healthy_threshold")
    check = {"timeout": "1s", "interval": "1s", "unhealthy_threshold": 1, "healthy_threshold": 1}
    message = cluster(
        health_checks=[{**check, "tcp_health_check": {}}, {**check, "event_log_path": "x", "tcp_health_check": {}}],
        metadata={"typed_filter_metadata": {"k": {"@type": f"t/{CLUSTER}"}}, "filter_metadata": {"a": {}}},
    )
    assert fields.unsupported(message, "clusters[3]") == [
        Unsupported("clusters[3].health_checks[0].tcp_health_check", "not supported"),
        Unsupported("clusters[3].health_checks[1].tcp_health_check", "not supported"),
        Unsupported("clusters[3].health_checks[1].event_log_path", "not supported"),
        Unsupported("clusters[3].metadata.filter_metadata", "not supported"),
        Unsupported('clusters[3].metadata.typed_filter_metadata["k"]', f"no extension of minienvoy takes {CLUSTER}"),
    ]


@pytest.mark.parametrize(
    ("name", "allowed", "good", "bad", "reason"),
    [
        ("lb_policy", ("RANDOM",), "RANDOM", "MAGLEV", "MAGLEV is not supported, only RANDOM"),
        ("lb_policy", ("RANDOM",), 3, 77, "77 is not supported, only RANDOM"),
        ("respect_dns_ttl", (), False, True, "not supported"),
        ("per_connection_buffer_limit_bytes", (0, 1), 1, 2, "2 is not supported, only 0, 1"),
        ("alt_stat_name", ("x",), "x", "y", "y is not supported, only x"),
    ],
)
def test_field_may_be_honoured_for_some_values(
    name: str, allowed: tuple[object, ...], good: object, bad: object, reason: str
) -> None:
    honours(CLUSTER, "name", values={name: allowed})
    if bad != 77:
        assert fields.unsupported(loader.load_dict({"name": "a", name: bad}, CLUSTER).message) == [
            Unsupported(name, reason)
        ]
    assert fields.unsupported(cluster(**{name: good})) == []


def test_wrapper_is_compared_by_what_it_holds() -> None:
    honours(TCP_PROXY, "stat_prefix", "cluster", values={"max_connect_attempts": (1,)})
    message = loader.load_dict({"stat_prefix": "a", "cluster": "b", "max_connect_attempts": 2}, TCP_PROXY).message
    assert fields.unsupported(message) == [Unsupported("max_connect_attempts", "2 is not supported, only 1")]


def test_field_may_depend_on_the_rest_of_the_message() -> None:
    def only_static(message: Any) -> str | None:
        return None if message.type == 0 else "only for STATIC clusters"

    honours(CLUSTER, "name", "type", when={"load_assignment": only_static}, whole=("eds_cluster_config",))
    honours("envoy.config.endpoint.v3.ClusterLoadAssignment", "cluster_name")
    assignment = {"cluster_name": "x"}
    assert fields.unsupported(cluster(load_assignment=assignment)) == []
    assert fields.unsupported(cluster(load_assignment=assignment, type="EDS")) == [
        Unsupported("load_assignment", "only for STATIC clusters")
    ]


def test_declarations_of_two_modules_add_up() -> None:
    honours(CLUSTER, "name", values={"lb_policy": ("RANDOM",), "type": ("EDS",)})
    honours(CLUSTER, "type", values={"lb_policy": ("MAGLEV",)})
    assert fields.unsupported(cluster(lb_policy="MAGLEV", type="LOGICAL_DNS")) == []
    honours(CLUSTER, values={"type": ("EDS",)})
    assert fields.unsupported(cluster(lb_policy="RANDOM", type="LOGICAL_DNS")) == []


def test_what_is_ignored_on_purpose_is_a_note() -> None:
    honours(CLUSTER, "name", ignored={"track_timeout_budgets": "deprecated"})
    message = cluster(track_timeout_budgets=True)
    assert fields.unsupported(message) == []
    assert fields.notes(message, "c") == [Note("c.track_timeout_budgets", "deprecated")]


@pytest.mark.parametrize("wrap", [False, True])
def test_payload_of_an_any_is_looked_into(wrap: bool) -> None:
    honours(FILTER, "name", "typed_config")
    honours(TCP_PROXY, "stat_prefix")
    value = {"stat_prefix": "a", "cluster": "b"}
    config = (
        {"@type": "t/xds.type.v3.TypedStruct", "type_url": f"t/{TCP_PROXY}", "value": value}
        if wrap
        else {"@type": f"t/{TCP_PROXY}", **value}
    )
    message = loader.load_dict({"name": "x", "typed_config": config}, FILTER).message
    path = "f.typed_config.value.cluster" if wrap else "f.typed_config.cluster"
    assert fields.unsupported(message, "f") == [Unsupported(path, "not supported")]


def test_extension_that_registered_itself_needs_no_catalogue() -> None:
    made: registry.Registry[Any] = registry.Registry("test")
    made.register("mine", "example.Mine")(lambda: None)
    honours(FILTER, "name", "typed_config")
    config = {"@type": "t/xds.type.v3.TypedStruct", "type_url": "t/example.Mine", "value": {"colour": "red"}}
    assert fields.unsupported(loader.load_dict({"name": "x", "typed_config": config}, FILTER).message) == []


def test_anys_without_end_are_refused() -> None:
    message = api.message_class("google.protobuf.Any")()
    for _ in range(300):
        outer = api.message_class("envoy.config.core.v3.TypedExtensionConfig")(name="x")
        outer.typed_config.CopyFrom(message)
        message.type_url = "t/envoy.config.core.v3.TypedExtensionConfig"
        message.value = outer.SerializeToString()
    honours("envoy.config.core.v3.TypedExtensionConfig", "name", "typed_config")
    registry.add_to_catalogue({"envoy.config.core.v3.TypedExtensionConfig": "minienvoy.config.fields"})
    with pytest.raises(ConfigError, match="nested deeper than"):
        fields.unsupported(message)
    with pytest.raises(ConfigError, match="nested deeper than"):
        list(api.payloads(outer))


def test_error_lists_everything_with_its_place(tmp_path: Path) -> None:
    honours("envoy.config.bootstrap.v3.Bootstrap", "static_resources")
    honours("envoy.config.bootstrap.v3.Bootstrap.StaticResources", "clusters")
    honours(CLUSTER, "name")
    path = tmp_path / "envoy.yaml"
    path.write_text("static_resources:\n  clusters:\n  - name: a\n    type: EDS\n    respect_dns_ttl: true\n")
    loaded = loader.load_bootstrap(path)
    with pytest.raises(ConfigError) as caught:
        fields.require_supported(loaded.message, loaded.source)
    assert str(caught.value) == (
        "2 fields are set that minienvoy does not honour:\n"
        f"  {path}:4:5: static_resources.clusters[0].type: not supported\n"
        f"  {path}:5:5: static_resources.clusters[0].respect_dns_ttl: not supported\n"
        " (docs/supported.md lists what is honoured; --unsupported warn starts without them)"
    )
    assert len(fields.require_supported(loaded.message, loaded.source, warn=True)) == 2


def test_nothing_unsupported_is_no_error() -> None:
    honours(CLUSTER, "name")
    assert fields.require_supported(cluster()) == []
