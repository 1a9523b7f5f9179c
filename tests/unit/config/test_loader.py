from __future__ import annotations

import resource
from pathlib import Path

import pytest

from minienvoy.config import api, loader
from minienvoy.errors import ConfigError

CLUSTER = """\
static_resources:
  clusters:
  - name: a
    type: STATIC
    {line}
"""


def written(directory: Path, text: str | bytes, name: str = "envoy.yaml") -> Path:
    path = directory / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_extension_decides_the_format(tmp_path: Path) -> None:
    bootstrap = loader.load_bootstrap(written(tmp_path, "node: {id: a, cluster: b}")).bootstrap
    files = [
        written(tmp_path, 'node:\n  id: "a"\n  cluster: b\n', "x.yml"),
        written(tmp_path, "{node: {id: 'a', cluster: \"b\"},}", "x.json"),
        written(tmp_path, '{"node": {"id": "a", "cluster": "b"}}', "x.conf"),
        written(tmp_path, bootstrap.SerializeToString(), "x.pb"),
        written(tmp_path, 'node { id: "a" cluster: "b" }', "x.pb_text"),
    ]
    for file in files:
        assert loader.load_bootstrap(file).bootstrap == bootstrap, file.name


def test_text_format_may_expand_an_any(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        'static_resources { clusters { name: "a" typed_extension_protocol_options { key: "h" value {\n'
        "[type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions] { auto_config {} } } } } }",
        "x.pb_text",
    )
    cluster = loader.load_bootstrap(path).bootstrap.static_resources.clusters[0]
    assert cluster.typed_extension_protocol_options["h"].type_url.endswith("HttpProtocolOptions")


def test_config_yaml_is_merged_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "node: {id: a, cluster: b}\nstatic_resources: {clusters: [{name: w, type: STATIC}]}\n")
    loaded = loader.load_bootstrap(path, "node: {id: c}\nstatic_resources: {clusters: [{name: z, type: STATIC}]}")
    assert (loaded.bootstrap.node.id, loaded.bootstrap.node.cluster) == ("c", "b")
    assert [cluster.name for cluster in loaded.bootstrap.static_resources.clusters] == ["w", "z"]


@pytest.mark.parametrize(
    ("override", "place"),
    [
        (
            "static_resources:\n  clusters:\n  - {name: z}\n  - {name: ''}",
            "<config-yaml>:4:6: static_resources.clusters[2].name",
        ),
        ("static_resources:\n  clusters: {name: ''}", "<config-yaml>:2:14: static_resources.clusters[1].name"),
        ("stats_flush_interval: 0s", "<config-yaml>:1:1: stats_flush_interval"),
        ("node: {id: c}", "FILE:2:34: dynamic_resources.ads_config.api_type"),
    ],
)
def test_error_after_the_merge_is_placed_where_it_was_written(tmp_path: Path, override: str, place: str) -> None:
    wrong = "" if "FILE" not in place else "dynamic_resources: {ads_config: {api_type: 9}}"
    path = written(tmp_path, f"static_resources: {{clusters: [{{name: w}}]}}\n{wrong}")
    with pytest.raises(ConfigError) as caught:
        loader.load_bootstrap(path, override)
    assert str(caught.value).startswith(place.replace("FILE", str(path)))


def test_config_yaml_alone_is_enough() -> None:
    assert loader.load_bootstrap(None, "{node: {id: c}}").bootstrap.node.id == "c"


def test_nothing_to_load_is_an_error() -> None:
    with pytest.raises(ConfigError, match="At least one of --config-path or --config-yaml"):
        loader.load_bootstrap(None)


def test_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Invalid path: .*missing\.yaml.*No such file"):
        loader.load_bootstrap(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="Invalid path"):
        loader.load_bootstrap(tmp_path)


def test_unknown_fields_are_all_named_with_place_and_proposal(tmp_path: Path) -> None:
    path = written(tmp_path, "nodd: {}\n" + CLUSTER.format(line="conect_timeout: 1s\n    lb_policy: ROUND_ROBBIN"))
    with pytest.raises(ConfigError) as caught:
        loader.load_bootstrap(path)
    assert str(caught.value) == (
        f"{path}:1:1: nodd: Protobuf message (type envoy.config.bootstrap.v3.Bootstrap reason INVALID_ARGUMENT: "
        "invalid JSON in envoy.config.bootstrap.v3.Bootstrap: no such field: 'nodd') has unknown fields "
        "(did you mean 'node'?\n"
        f"{path}:6:5: static_resources.clusters[0].conect_timeout: 'conect_timeout' is unknown "
        "(did you mean 'connect_timeout'?)\n"
        f"{path}:7:5: static_resources.clusters[0].lb_policy: 'ROUND_ROBBIN' is unknown "
        "(did you mean 'ROUND_ROBIN'?))"
    )


def test_unknown_fields_become_warnings_when_they_are_allowed(tmp_path: Path) -> None:
    path = written(tmp_path, CLUSTER.format(line="foo: 1"))
    loaded = loader.load_bootstrap(path, allow_unknown_static_fields=True)
    assert loaded.bootstrap.static_resources.clusters[0].name == "a"
    assert loaded.warnings == [
        f"{path}:5:5: Unknown field: type envoy.config.bootstrap.v3.Bootstrap reason INVALID_ARGUMENT: invalid JSON in "
        "envoy.config.bootstrap.v3.Bootstrap @ static_resources.clusters[0]: message envoy.config.cluster.v3.Cluster: "
        "no such field: 'foo'"
    ]


def test_unknown_fields_without_end_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path, "".join(f"k{number}: 1\n" for number in range(5000)))
    with pytest.raises(ConfigError) as caught:
        loader.load_bootstrap(path)
    lines = str(caught.value).split("\n")
    assert len(lines) == loader.MAX_LISTED + 1
    assert lines[1].startswith(f"{path}:2:1: k1: 'k1' is unknown")
    assert lines[-1] == "and 4900 more)"
    warnings = loader.load_bootstrap(path, allow_unknown_static_fields=True).warnings
    assert warnings[-1] == "4900 more unknown fields"


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("x.yaml", CLUSTER.format(line="connect_timeout: 5"), "5:5: static_resources.clusters[0].connect_timeout: "),
        ("x.yaml", CLUSTER.format(line="connectTimeout: 5"), "5:5: static_resources.clusters[0].connect_timeout: "),
        ("x.yaml", CLUSTER.format(line="dns_refresh_rate: 0s"), "5:5: static_resources.clusters[0].dns_refresh_rate: "),
        ("x.yaml", "static_resources: {clusters: {name: 5}}", "1:31: static_resources.clusters.name: "),
        (
            "x.yaml",
            "static_resources:\n  clusters:\n  - !ignore {}\n  - {name: 5}",
            "4:6: static_resources.clusters[0].name",
        ),
        ("x.json", '{"static_resources":\n{"clusters": [{"name": 5}]}}', "2:16: static_resources.clusters[0].name: "),
        ("x.json", '{staticResources:\n{"clusters": [{name: ""}]}}', "2:16: static_resources.clusters[0].name: "),
        ("x.json", '{"node":\n oops}', "2:2: "),
        ("x.yaml", "node: {\n", "2:1: "),
        ("x.pb_text", "node {\n  idd: 1 }", "2:3: "),
    ],
)
def test_error_says_where(tmp_path: Path, name: str, text: str, place: str) -> None:
    path = written(tmp_path, text, name)
    with pytest.raises(ConfigError) as caught:
        loader.load_bootstrap(path)
    assert str(caught.value).startswith(f"{path}:{place}")


def test_place_of_a_dict_is_its_path() -> None:
    with pytest.raises(
        ConfigError, match=r"^static_resources\.clusters\[1\]\.name: Proto constraint validation failed"
    ):
        loader.load_dict({"static_resources": {"clusters": [{"name": "a"}, {}]}})


def test_dict_is_typed_as_yaml_is() -> None:
    loaded = loader.load_dict(
        {"static_resources": {"clusters": [{"name": "a", "type": "static", "connect_timeout": "1s"}]}}
    )
    assert loaded.bootstrap.static_resources.clusters[0].connect_timeout.seconds == 1


def test_dict_within_itself_is_refused() -> None:
    value: dict[str, object] = {}
    value["node"] = {"metadata": value}
    with pytest.raises(ConfigError, match="too deeply nested"):
        loader.load_dict(value)


@pytest.mark.parametrize(
    ("name", "data"), [("x.yaml", b"a: \xff"), ("x.json", b'{"node": "\xff"}'), ("x.pb_text", b"\xff")]
)
def test_text_that_is_not_utf8_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    with pytest.raises(ConfigError, match=r":1:\d+: not UTF-8"):
        loader.load_bootstrap(written(tmp_path, data, name))


def test_binary_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="as a binary protobuf"):
        loader.load_bootstrap(written(tmp_path, b"\xff\xff\xff", "x.pb"))


def test_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "envoy.yaml"
    with path.open("wb") as file:
        file.truncate(200 << 20)  # a hole: takes no room on the disk
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConfigError, match="209715200 bytes, more than"):
        loader.load_bootstrap(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_device_without_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="more than"):
        loader.load_bootstrap("/dev/zero")


@pytest.mark.parametrize(
    "text", ["node: {metadata: {a: " + "[" * 300 + "]" * 300 + "}}", "node: " + "{metadata: " * 400 + "}" * 400]
)
def test_nesting_that_the_reader_allows_and_protobuf_does_not_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"too deeply nested|no such field"):
        loader.load_bootstrap(written(tmp_path, text))


EXAMPLES = Path(__file__).parents[2] / "data" / "examples"
FILES = sorted(path for path in EXAMPLES.rglob("*") if path.suffix in (".yaml", ".json"))


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(EXAMPLES)) for path in FILES])
def test_example_loads(path: Path) -> None:
    loaded = loader.load_bootstrap(path)
    types = {payload.DESCRIPTOR.full_name for _, payload in api.payloads(loaded.bootstrap, validate=True)}
    assert types
    assert not loaded.warnings
