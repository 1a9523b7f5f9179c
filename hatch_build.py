"""Build hook: Envoy's whole v3 API as one file, `minienvoy/config/envoy_api.binpb`.

The schema comes from the package `xds-protos` (needed to build, never to run) with `schema/envoy-1.40.0.binpb.xz` laid
over it, because `xds-protos` lags behind Envoy: see `schema/README.md`. A source checkout that is not installed makes
the file with `python hatch_build.py`.

The result is a `google.protobuf.FileDescriptorSet` that any protobuf tool can read. Its first field is one that only
`minienvoy/config/schema.py` knows (number 15, skipped by everyone else): an index, so that a program parses the few
files it needs instead of all of them. The index is text, a line for each file, with these blank-separated columns:

    name package offset size dependencies symbols

`offset` counts from the end of the index, `dependencies` are line numbers, `symbols` top-level names: messages as they
are, enums with a leading `=`, extensions with a leading `+`. Lists are joined by commas; an empty one is `-`.
"""

from __future__ import annotations

import ast
import compileall
import importlib.metadata
import lzma
import re
import sys
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ModuleNotFoundError:  # run as a program, without the build back end
    BuildHookInterface = object  # type: ignore[assignment,misc]

ROOT = Path(__file__).parent
OVERLAY = ROOT / "schema" / "envoy-1.40.0.binpb.xz"
OUTPUT = ROOT / "minienvoy" / "config" / "envoy_api.binpb"
INDEX_TAG = b"\x7a"  # field 15, length-delimited

_SERIALIZED = re.compile(r"AddSerializedFile\((b(['\"]).*?(?<!\\)\2)\)", re.DOTALL)
# Everything Envoy can be configured with: the v3 API with its alphas, and what it borrows. v2 went with Envoy 1.18.
_WANTED = re.compile(r"(envoy|contrib)/(.*/)?v3(alpha)?/|(xds|udpa|validate|opencensus|cel|google/protobuf)/")


def read_xds_protos() -> dict[str, bytes]:
    """File name -> serialised `FileDescriptorProto`, for all of `xds-protos` and the well-known types of protobuf.

    The generated modules are read as text: importing 800 of them would register them all in the default pool and
    needs the very protobuf release they were generated for.
    """
    files: dict[str, bytes] = {}
    for distribution in ("protobuf", "xds-protos"):
        try:
            members = importlib.metadata.files(distribution) or []
        except importlib.metadata.PackageNotFoundError:
            raise SystemExit(f"{distribution} is needed to build: pip install xds-protos protobuf") from None
        for member in members:
            if not member.name.endswith("_pb2.py"):
                continue
            match = _SERIALIZED.search(Path(str(member.locate())).read_text(encoding="utf-8"))
            if match:
                raw: bytes = ast.literal_eval(match[1])
                files[raw[2 : 2 + raw[1]].decode()] = raw
    return files


def build() -> bytes:
    """The content of `envoy_api.binpb`."""
    from google.protobuf import descriptor_pb2

    files = read_xds_protos()
    overlay = descriptor_pb2.FileDescriptorSet.FromString(lzma.decompress(OVERLAY.read_bytes()))
    overlaid = {file.name for file in overlay.file}
    files.update((file.name, file.SerializeToString(deterministic=True)) for file in overlay.file)
    protos = {name: descriptor_pb2.FileDescriptorProto.FromString(raw) for name, raw in files.items()}

    ordered: dict[str, int] = {}

    def add(name: str) -> None:
        if name not in ordered:
            for dependency in protos[name].dependency:
                add(dependency)
            ordered.setdefault(name, len(ordered))

    for name in sorted(files):
        if name in overlaid or _WANTED.match(name):
            add(name)

    body, lines = bytearray(), []
    for name in ordered:
        raw, proto = files[name], protos[name]
        body += b"\x0a" + _varint(len(raw))
        symbols = [
            *(message.name for message in proto.message_type),
            *(f"={enum.name}" for enum in proto.enum_type),
            *(f"+{extension.name}" for extension in proto.extension),
        ]
        dependencies = ",".join(str(ordered[dependency]) for dependency in proto.dependency)
        lines.append(f"{name} {proto.package} {len(body)} {len(raw)} {dependencies or '-'} {','.join(symbols) or '-'}")
        body += raw
    index = "\n".join(lines).encode()
    return INDEX_TAG + _varint(len(index)) + index + bytes(body)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class EnvoyApiHook(BuildHookInterface):  # type: ignore[type-arg,misc]
    """Makes the schema before a wheel (also an editable one) is packed, and puts it in; compiles what is not copied."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name == "wheel":
            OUTPUT.write_bytes(build())
            build_data["artifacts"].append(str(OUTPUT.relative_to(ROOT)))
        if version == "editable":
            # Installers compile what they copy, and nobody compiles what stays where it is: a Python that may not keep
            # its bytecode would compile all of it at every start.
            compileall.compile_dir(ROOT / "minienvoy", quiet=2)


if __name__ == "__main__":
    OUTPUT.write_bytes(build())
    sys.stdout.write(f"{OUTPUT}: {OUTPUT.stat().st_size} bytes\n")
