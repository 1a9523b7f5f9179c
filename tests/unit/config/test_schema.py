"""`minienvoy/config/schema.py`, and the file that `hatch_build.py` makes for it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minienvoy.config import api, schema
from minienvoy.errors import ConfigError


def test_message_of_the_api_can_be_made_and_filled() -> None:
    cluster = api.message_class("envoy.config.cluster.v3.Cluster")(name="a")
    cluster.load_assignment.endpoints.add().priority = 1
    assert cluster.load_assignment.endpoints[0].priority == 1


def test_nested_message_is_found_by_its_full_name() -> None:
    assert api.descriptor("envoy.config.cluster.v3.Cluster.LbSubsetConfig").name == "LbSubsetConfig"


def test_unknown_message_is_a_key_error() -> None:
    for name in ("envoy.config.cluster.v3.Clutser", "Cluster", "", "envoy.config.cluster.v3"):
        with pytest.raises(KeyError):
            api.message_class(name)


def test_v2_went_as_it_did_from_envoy() -> None:
    with pytest.raises(KeyError):
        api.message_class("envoy.api.v2.Cluster")


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("envoy.config.cluster.v3.Cluster", "stats_matcher"),
        ("envoy.config.route.v3.CookieMatcher", "string_match"),
        ("envoy.config.listener.v3.Listener", "tcp_keepalive"),
        ("envoy.extensions.filters.http.file_server.v3.FileServerConfig", None),
        ("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "codec_type"),
        ("udpa.type.v1.TypedStruct", "type_url"),
        ("xds.type.v3.TypedStruct", "value"),
        ("opencensus.proto.trace.v1.TraceConfig", None),
    ],
)
def test_schema_is_that_of_envoy_1_40(message: str, field: str | None) -> None:
    names = [known.name for known in api.descriptor(message).fields]
    assert field is None or field in names


def test_every_message_can_be_built_and_maps_are_told_from_lists() -> None:
    from google.protobuf import descriptor_pb2

    def entries(proto: Any) -> set[str]:
        return {nested.name for nested in proto.nested_type if nested.options.map_entry}

    count = 0
    for name in schema.schema().message_names():
        descriptor = schema.descriptor(name)
        proto = descriptor_pb2.DescriptorProto()
        descriptor.CopyToProto(proto)
        maps = {field.message_type.name for field in descriptor.fields if schema.is_map(field)}
        assert maps == entries(proto), name
        count += 1
    assert count > 1300


def test_declaration_knows_the_constraints() -> None:
    declared = schema.declaration("envoy.config.cluster.v3.Cluster")
    name = next(field for field in declared.field if field.name == "name")
    assert name.options.Extensions[schema.extension("validate.rules")].string.min_len == 1


def test_missing_schema_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"schema of Envoy's API is missing.*python hatch_build\.py"):
        schema.Schema(tmp_path / "envoy_api.binpb")


def test_damaged_schema_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\x0a\x05hello")
    with pytest.raises(ConfigError, match=r"damaged.*python hatch_build\.py"):
        schema.Schema(tmp_path / "x")


def test_file_is_a_descriptor_set_that_any_tool_can_read() -> None:
    from google.protobuf import descriptor_pb2

    path = Path(schema.__file__).with_name("envoy_api.binpb")
    files = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes()).file
    seen: set[str] = set()
    for file in files:
        assert set(file.dependency) <= seen, file.name
        seen.add(file.name)
    assert "envoy/config/bootstrap/v3/bootstrap.proto" in seen


def test_opening_the_schema_leaves_the_default_pool_and_the_generated_modules_alone() -> None:
    program = (
        "import sys\n"
        "from minienvoy.config import api\n"
        "api.message_class('envoy.config.bootstrap.v3.Bootstrap')\n"
        "print([name for name in sys.modules if name.endswith('_pb2') or name.startswith('envoy')])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_build_makes_the_file_that_is_there() -> None:
    root = Path(schema.__file__).parents[2]
    if not (root / "hatch_build.py").exists():
        pytest.skip("not a source checkout")
    pytest.importorskip("xds")
    program = "import hatch_build, sys; sys.exit(hatch_build.build() != hatch_build.OUTPUT.read_bytes())"
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0


def test_index_names_nothing_twice() -> None:
    names = list(schema.schema().message_names())
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[\w.]+", name) for name in names)
