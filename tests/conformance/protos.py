"""Messages of Envoy's API in gRPC calls: written as YAML, and shown one line for each field.

A backend answers with `{message: {type: envoy.service.auth.v3.CheckResponse, status: {code: 7}}}` (see http2.py), and
with `h2: {shows: envoy.service.auth.v3.CheckRequest}` the messages that it was sent are read. Bytes are characters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from minienvoy.config.schema import message_class

_PREFIX = 5


def framed(spec: dict[str, Any]) -> bytes:
    """A message as it stands in a gRPC body."""
    fields = {key: value for key, value in spec.items() if key != "type"}
    made = message_class(spec["type"])()
    for name in _types(fields):
        message_class(name)  # what an Any holds is found in the pool only if it is there
    message = json_format.ParseDict(fields, made, descriptor_pool=made.DESCRIPTOR.file.pool).SerializeToString()
    return b"\0" + len(message).to_bytes(4, "big") + message


def _types(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        if "@type" in tree:
            yield tree["@type"].rpartition("/")[2]
        for value in tree.values():
            yield from _types(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _types(value)


def shown(type_name: str, body: bytes) -> list[str] | None:
    """The lines of the messages in a gRPC body; None if it is none."""
    found: list[str] = []
    while body:
        length = int.from_bytes(body[1:_PREFIX], "big")
        if body[0] or len(body) < _PREFIX + length:
            return None
        try:
            message = message_class(type_name).FromString(body[_PREFIX : _PREFIX + length])
        except DecodeError:
            return None
        found += [f"<message of {length} bytes>" if not length else f"<{type_name.rpartition('.')[2]}>"]
        found += _lines(message, "")
        body = body[_PREFIX + length :]
    return found


def _lines(message: Any, path: str) -> Iterator[str]:
    if message.DESCRIPTOR.full_name.startswith("google.protobuf.") and message.DESCRIPTOR.name != "Any":
        yield f"{path}: {json_format.MessageToJson(message, indent=None, sort_keys=True)}"
        return
    fields = message.ListFields()
    if not fields and path:
        yield f"{path}: {{}}"
    for field, value in fields:
        where = f"{path}.{field.name}".lstrip(".")
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key in sorted(value):
                yield from _value(field.message_type.fields_by_name["value"], value[key], f"{where}[{key}]")
        elif field.is_repeated:
            for at, each in enumerate(value):
                yield from _value(field, each, f"{where}[{at}]")
        else:
            yield from _value(field, value, where)


def _value(field: Any, value: Any, path: str) -> Iterator[str]:
    if field.message_type is not None:
        yield from _lines(value, path)
    elif isinstance(value, bytes):
        yield f"{path}: {value.decode('latin-1')!r} (bytes)"
    elif isinstance(value, str):
        yield f"{path}: {value}" if value.isprintable() else f"{path}: {value!r}"
    elif field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        yield f"{path}: {known.name if known else value}"
    else:
        yield f"{path}: {value}"
