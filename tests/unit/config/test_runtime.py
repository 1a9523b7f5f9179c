from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minienvoy.config import loader
from minienvoy.config.runtime import (
    Entry,
    FractionalPercent,
    Loader,
    RuntimeDouble,
    RuntimeFeatureFlag,
    RuntimeFractionalPercent,
    RuntimeUInt32,
    Snapshot,
)
from minienvoy.errors import ConfigError


def runtime(*layers: dict[str, Any], cluster: str = "") -> Loader:
    config = loader.load_dict({"layers": list(layers)}, "envoy.config.bootstrap.v3.LayeredRuntime")
    return Loader(config.message, cluster)


def static(**values: Any) -> Snapshot:
    return runtime({"name": "s", "static_layer": values}).snapshot


def test_struct_within_a_struct_is_a_dotted_key() -> None:
    snapshot = static(a={"b": {"c": 1}, "d": 2}, **{"e.f": 3})
    assert [snapshot.get_integer(key, 0) for key in ("a.b.c", "a.d", "e.f", "a", "a.b")] == [1, 2, 3, 0, 0]


def test_value_of_another_type_gives_the_default() -> None:
    snapshot = static(number=5, word="hello", yes=True, negative=-1, float="1.5")
    assert snapshot.get_integer("word", 7) == 7
    assert snapshot.get_integer("negative", 7) == 7
    assert snapshot.get_integer("float", 7) == 1
    assert snapshot.get_integer("yes", 7) == 7
    assert snapshot.get_double("float", 0.0) == 1.5
    assert snapshot.get_double("negative", 0.0) == -1.0
    assert snapshot.get_double("word", 0.5) == 0.5
    assert snapshot.get_boolean("yes", False) is True
    assert snapshot.get_boolean("number", False) is True
    assert snapshot.get_boolean("float", False) is False
    assert snapshot.get_boolean("word", True) is True
    assert snapshot.get_string("number") == "5"
    assert snapshot.get_string("missing", "x") == "x"


@pytest.mark.parametrize("value", [None, [1], {"x": None}])
def test_value_that_is_none_is_an_error(value: Any) -> None:
    with pytest.raises(ConfigError, match="Invalid runtime entry value for a"):
        static(a=value)


def test_last_layer_that_has_a_key_wins() -> None:
    made = runtime(
        {"name": "one", "static_layer": {"a": 1, "b": 1}},
        {"name": "two", "static_layer": {"b": 2}},
        {"name": "admin", "admin_layer": {}},
    )
    assert (made.snapshot.get_integer("a", 0), made.snapshot.get_integer("b", 0)) == (1, 2)
    before = made.snapshot
    made.modify({"a": "3", "new.key": "hello"})
    assert made.snapshot.get_integer("a", 0) == 3
    assert before.get_integer("a", 0) == 1
    assert made.snapshot.to_json() == {
        "layers": ["one", "two", "admin"],
        "entries": {
            "a": {"layer_values": ["1", "", "3"], "final_value": "3"},
            "b": {"layer_values": ["1", "2", ""], "final_value": "2"},
            "new.key": {"layer_values": ["", "", "hello"], "final_value": "hello"},
        },
    }
    assert (made.stats.admin_overrides_active, made.stats.num_keys, made.stats.num_layers) == (1, 3, 3)
    made.modify({"a": "", "new.key": ""})
    assert made.snapshot.get_integer("a", 0) == 1
    assert made.stats.admin_overrides_active == 0


def test_statistics_are_those_of_envoy_after_start() -> None:
    stats = runtime({"name": "s", "static_layer": {"a": 1}}).stats
    assert (stats.load_success, stats.load_error, stats.override_dir_not_exists) == (2, 0, 2)


def test_without_configuration_there_is_no_layer_to_modify() -> None:
    made = Loader()
    assert made.snapshot.to_json() == {"layers": [], "entries": {}}
    with pytest.raises(ConfigError, match="No admin layer specified"):
        made.modify({"a": "1"})


def test_layers_must_have_names_of_their_own_and_one_may_be_the_admin_s() -> None:
    with pytest.raises(ConfigError, match="Duplicate layer name: a"):
        runtime({"name": "a", "static_layer": {}}, {"name": "a", "static_layer": {}})
    with pytest.raises(ConfigError, match="Too many admin layers"):
        runtime({"name": "a", "admin_layer": {}}, {"name": "b", "admin_layer": {}})


def disk(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        path = directory.joinpath(*name.split("__"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def test_file_is_a_key_and_a_directory_is_a_part_of_one(tmp_path: Path) -> None:
    disk(
        tmp_path,
        v1__health_check__min_interval="  20  \n",
        v1__commented="# why\n5\n# so\n",
        v1__lines="a\n\nb\n",
        v1__fraction="numerator: 5\ndenominator: MILLION\n",
        v1__empty="",
    )
    (tmp_path / "current").symlink_to(tmp_path / "v1")
    made = runtime({"name": "d", "disk_layer": {"symlink_root": str(tmp_path / "current")}})
    entries = made.snapshot.to_json()["entries"]
    assert {key: entry["final_value"] for key, entry in entries.items()} == {
        "health_check.min_interval": "  20",
        "commented": "5\n",
        "lines": "a\nb",
        "fraction": "numerator: 5\ndenominator: MILLION",
        "empty": "",
    }
    assert made.snapshot.get_integer("health_check.min_interval", 0) == 20
    assert made.snapshot.get_integer("commented", 0) == 5
    assert made.watched == [str(tmp_path / "current")]


def test_disk_layer_is_read_again_when_it_is_told(tmp_path: Path) -> None:
    disk(tmp_path, one__a="1", two__a="2")
    (tmp_path / "current").symlink_to(tmp_path / "one")
    made = runtime({"name": "d", "disk_layer": {"symlink_root": str(tmp_path), "subdirectory": "current"}})
    seen: list[Snapshot] = []
    made.on_change(seen.append)
    (tmp_path / "new").symlink_to(tmp_path / "two")
    (tmp_path / "new").rename(tmp_path / "current")
    assert made.snapshot.get_integer("a", 0) == 1
    assert made.reload().get_integer("a", 0) == 2
    assert seen == [made.snapshot]


def test_directory_of_the_service_cluster_overrides(tmp_path: Path) -> None:
    disk(tmp_path, base__a="1", base__b="1", override__mine__a="2")
    made = runtime(
        {"name": "base", "disk_layer": {"symlink_root": str(tmp_path), "subdirectory": "base"}},
        {
            "name": "override",
            "disk_layer": {
                "symlink_root": str(tmp_path),
                "subdirectory": "override",
                "append_service_cluster": True,
            },
        },
        cluster="mine",
    )
    assert (made.snapshot.get_integer("a", 0), made.snapshot.get_integer("b", 0)) == (2, 1)
    assert (made.stats.override_dir_exists, made.stats.override_dir_not_exists) == (2, 0)


def test_directory_that_is_not_there_is_no_layer(tmp_path: Path) -> None:
    made = runtime({"name": "d", "disk_layer": {"symlink_root": str(tmp_path / "nowhere")}})
    assert (made.snapshot.layers, made.stats.load_error) == ((), 0)


@pytest.mark.parametrize("root", ["/proc", "DEEP"])
def test_directory_that_must_not_be_read_counts_as_an_error(tmp_path: Path, root: str) -> None:
    deep = tmp_path.joinpath(*["d"] * 20)
    deep.mkdir(parents=True)
    made = runtime({"name": "d", "disk_layer": {"symlink_root": str(tmp_path) if root == "DEEP" else root}})
    assert (made.snapshot.layers, made.stats.load_error) == ((), 2)


PROTO = "envoy.config.core.v3.Runtime"


def compiled(kind: Any, name: str, **value: Any) -> Any:
    return kind.from_proto(loader.load_dict(value, PROTO + name).message)


@pytest.mark.parametrize(
    ("value", "enabled"),
    [
        ({"numerator": 25, "denominator": "TEN_THOUSAND"}, 25 * 100),
        ({"numerator": 25}, 25 * 10_000),
        (30, 30 * 10_000),
        (200, 1_000_000),
        ("word", 1 * 10_000),
        ({"numerator": 1.5}, 1 * 10_000),
    ],
)
def test_fraction_is_what_its_key_says(value: Any, enabled: int) -> None:
    fraction = compiled(RuntimeFractionalPercent, "FractionalPercent", default_value={"numerator": 1}, runtime_key="f")
    snapshot = static(f=value)
    step = 1_000  # 1000 random values, evenly over a million
    hits = sum(snapshot.fraction_enabled(fraction, number) for number in range(0, 1_000_000, 997))
    assert abs(hits * 997 - enabled) <= 0.02 * 1_000_000
    assert static().fraction_enabled(fraction, 0) and not static().fraction_enabled(fraction, step + 1)


def test_fraction_without_a_key_is_its_default() -> None:
    half = RuntimeFractionalPercent(FractionalPercent(500_000, 1_000_000))
    assert [static(**{"": 100}).fraction_enabled(half, number) for number in (499_999, 500_000, 1_499_999)] == [
        True,
        False,
        True,
    ]


def test_other_runtime_messages_are_compiled_too() -> None:
    flag = compiled(RuntimeFeatureFlag, "FeatureFlag", default_value=True, runtime_key="flag")
    double = compiled(RuntimeDouble, "Double", default_value=1.5, runtime_key="double")
    percent = compiled(RuntimeDouble, "Percent", default_value={"value": 50}, runtime_key="percent")
    integer = compiled(RuntimeUInt32, "UInt32", default_value=3, runtime_key="integer")
    empty, full = static(), static(flag="false", double=2, percent=20, integer="4294967299")
    assert (flag.value(empty), double.value(empty), percent.value(empty), integer.value(empty)) == (True, 1.5, 50.0, 3)
    assert (flag.value(full), double.value(full), percent.value(full)) == (False, 2.0, 20.0)
    assert integer.value(full) == 2**32 - 1


def test_feature_is_enabled_for_the_first_buckets() -> None:
    snapshot = static(a=30)
    assert [snapshot.feature_enabled("a", 0, number) for number in (29, 30, 129)] == [True, False, True]
    assert snapshot.feature_enabled("b", 5, 7, buckets=10) is False


def test_admin_value_is_read_as_yaml() -> None:
    made = runtime({"name": "admin", "admin_layer": {}})
    made.modify({"fraction": "{numerator: 3, denominator: MILLION}", "word": "yes", "broken": "[", "text": "a: b"})
    values = made.snapshot.layers[0].values
    assert values["fraction"].fraction == FractionalPercent(3, 1_000_000)
    assert values["word"] == Entry("yes", boolean=True)
    assert (values["broken"], values["text"]) == (Entry("["), Entry("a: b"))
