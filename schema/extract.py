"""Reads the protobuf schema of an Envoy release out of its binary: `python schema/extract.py ENVOY`.

Every generated `.pb.cc` carries its `FileDescriptorProto` as plain bytes, so the binary is the exact statement of what
that Envoy accepts. `xds-protos` follows Envoy from some distance; what it lacks or has in another version is written to
`envoy-1.40.0.binpb.xz`, which `hatch_build.py` lays over it.
"""

from __future__ import annotations

import lzma
import re
import sys
from pathlib import Path

from google.protobuf import descriptor_pb2

sys.path.insert(0, str(Path(__file__).parent.parent))
from hatch_build import OVERLAY, read_xds_protos

# FileDescriptorProto field 1 (`name`), then whichever field comes next: package, dependency, message_type or options.
_START = re.compile(rb'\n([\x01-\x7f])((?:[a-z]\w*/)[\w/\-.]+?\.proto)(?=[\x12\x1a"*2B])')
_FIELDS = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14}
_SYNTAX = 12


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("not a varint")


def _end(data: bytes, start: int) -> int:
    """Where the message that starts at `start` ends: `syntax` is always the last field of a proto3 file."""
    at = start
    while at < len(data):
        tag, after = _varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if number not in _FIELDS or (number == 1 and at != start):
            break
        value, after = _varint(data, after)
        if wire_type == 2:
            after += value
        elif wire_type != 0:
            break
        at = after
        if number == _SYNTAX:
            break
    return at


def schema_of(binary: bytes) -> dict[str, bytes]:
    """File name -> serialised `FileDescriptorProto`, for every file that is compiled into `binary`."""
    found: dict[str, bytes] = {}
    for match in _START.finditer(binary):
        if len(match[2]) != match[1][0]:
            continue
        try:
            raw = binary[match.start() : _end(binary, match.start())]
            proto = descriptor_pb2.FileDescriptorProto.FromString(raw)
        except Exception:  # bytes that only look like a descriptor; the completeness check of the build decides
            continue
        if proto.package and len(raw) > len(found.get(proto.name, b"")):
            found[proto.name] = raw
    return found


def main() -> None:
    base = read_xds_protos()
    overlay = descriptor_pb2.FileDescriptorSet()
    for name, raw in sorted(schema_of(Path(sys.argv[1]).read_bytes()).items()):
        if base.get(name) != raw:
            overlay.file.add().ParseFromString(raw)
    OVERLAY.write_bytes(lzma.compress(overlay.SerializeToString(deterministic=True), preset=9 | lzma.PRESET_EXTREME))
    sys.stdout.write(f"{OVERLAY}: {len(overlay.file)} files, {OVERLAY.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
