"""Protos as the JSON that Envoy prints.

Envoy: `MessageUtil::getJsonStringFromMessage` and `MessageUtil::redact` (`source/common/protobuf/utility.cc`).
`google.protobuf.json_format` is not used: it needs the default descriptor pool for `Any`, sorts nothing and redacts
nothing.

Names are the proto's own, fields stand in the order of their numbers, 64-bit integers are strings, an `Any` is shown as
what it holds. Maps are sorted by key; Envoy's stand in no order.
"""

from __future__ import annotations

import base64
import math
import struct
from typing import Any, Final

from ...config.schema import descriptor, is_map, is_repeated, message_class

REDACTED: Final = "[redacted]"
_TYPED_STRUCTS: Final = ("udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct")
_WRAPPERS: Final = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)
_VALUE_IN_ANY: Final = _WRAPPERS | {
    "google.protobuf.Any",
    "google.protobuf.Duration",
    "google.protobuf.FieldMask",
    "google.protobuf.ListValue",
    "google.protobuf.Struct",
    "google.protobuf.Timestamp",
    "google.protobuf.Value",
}
"""What has a form of its own in JSON and therefore stands below `value` inside an `Any`."""


class ProtoPrinter:
    """Makes plain values of messages.

    Args:
        always_print_fields: also show what is not set, with its default; messages that are not set stay out.
        redact: show `[redacted]` instead of what is annotated as sensitive.
    """

    def __init__(self, *, always_print_fields: bool = False, redact: bool = False) -> None:
        self._always = always_print_fields
        self._redact = redact
        self._sensitive: dict[str, bool] = {}

    def message(self, message: Any) -> Any:
        """A dictionary, or for the types that JSON has a form for (`Duration`, `Struct`, ...) that form."""
        return self._message(message, sensitive=False)

    def _message(self, message: Any, *, sensitive: bool) -> Any:
        name = message.DESCRIPTOR.full_name
        if name.startswith("google.protobuf."):
            if name in _WRAPPERS:
                field = message.DESCRIPTOR.fields_by_number[1]
                return self._scalar(field, message.value, sensitive=sensitive)
            special = _WELL_KNOWN.get(name)
            if special is not None:
                return _redact_plain(special(message)) if sensitive else special(message)
            if name == "google.protobuf.Any":
                return self._any(message, sensitive=sensitive)
        if self._redact and name in _TYPED_STRUCTS:
            return self._typed_struct(message, sensitive=sensitive)
        return self._fields(message, sensitive=sensitive)

    def _fields(self, message: Any, *, sensitive: bool) -> dict[str, Any]:
        result: dict[str, Any] = {}
        if self._always:
            fields = sorted(message.DESCRIPTOR.fields, key=lambda field: field.number)
            present = [(field, getattr(message, field.name)) for field in fields if _shown(message, field)]
        else:
            present = sorted(message.ListFields(), key=lambda item: item[0].number)
        for field, value in present:
            hidden = sensitive or (self._redact and self._is_sensitive(field))
            printed = self._field(field, value, hidden)
            if printed is not _NOTHING:
                result[field.name] = printed
        return result

    def _field(self, field: Any, value: Any, sensitive: bool) -> Any:
        if is_map(field):
            item = field.message_type.fields_by_name["value"]
            entries = {_key(key): self._one(item, value[key], sensitive) for key in sorted(value)}
            return {key: each for key, each in entries.items() if each is not _NOTHING}
        if is_repeated(field):
            items = [self._one(field, each, sensitive) for each in value]
            return [each for each in items if each is not _NOTHING]
        return self._one(field, value, sensitive)

    def _one(self, field: Any, value: Any, sensitive: bool) -> Any:
        if field.message_type is not None:
            return self._message(value, sensitive=sensitive)
        return self._scalar(field, value, sensitive=sensitive)

    def _scalar(self, field: Any, value: Any, *, sensitive: bool) -> Any:
        kind = field.cpp_type
        if sensitive:
            if kind != field.CPPTYPE_STRING:
                return _NOTHING
            value = REDACTED.encode() if field.type == field.TYPE_BYTES else REDACTED
        if kind in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64):
            return str(value)
        if kind == field.CPPTYPE_ENUM:
            if field.enum_type.full_name == "google.protobuf.NullValue":
                return None
            known = field.enum_type.values_by_number.get(value)
            return value if known is None else known.name
        if kind == field.CPPTYPE_DOUBLE:
            return _number(value)
        if kind == field.CPPTYPE_FLOAT:
            return _number(_shortest_float(value))
        return base64.b64encode(value).decode() if field.type == field.TYPE_BYTES else value

    def _any(self, message: Any, *, sensitive: bool) -> Any:

        if not message.type_url:
            return {}
        name = message.type_url.rpartition("/")[2]
        try:
            inner = message_class(name).FromString(message.value)
        except Exception:
            # An unknown type, or bytes that are not of it. What it holds may be a secret.
            return {"@type": message.type_url}
        printed = self._message(inner, sensitive=sensitive)
        if name in _VALUE_IN_ANY:
            return {"@type": message.type_url, "value": printed}
        return {"@type": message.type_url, **printed}

    def _typed_struct(self, message: Any, *, sensitive: bool) -> dict[str, Any]:

        result: dict[str, Any] = {}
        if message.type_url:
            result["type_url"] = message.type_url
        if not message.HasField("value"):
            return result
        plain = _struct(message.value)
        try:
            shape = descriptor(message.type_url.rpartition("/")[2])
        except KeyError:
            shape = None
        if sensitive or shape is None:
            result["value"] = _redact_plain(plain) if sensitive else plain
        else:
            result["value"] = self._redact_by_shape(shape, plain)
        return result

    def _redact_by_shape(self, shape: Any, plain: Any) -> Any:
        """What `_message` would do to the message that `plain` stands for."""
        if not isinstance(plain, dict):
            return plain

        if shape.full_name == "google.protobuf.Any" and isinstance(plain.get("@type"), str):
            try:
                shape = descriptor(plain["@type"].rpartition("/")[2])
            except KeyError:
                return plain
        if shape.full_name in _TYPED_STRUCTS and isinstance(plain.get("type_url"), str):
            try:
                inner = descriptor(plain["type_url"].rpartition("/")[2])
            except KeyError:
                return plain
            return {**plain, "value": self._redact_by_shape(inner, plain.get("value"))}
        by_json_name = {field.json_name: field for field in shape.fields}
        result = {}
        for name, value in plain.items():
            field = shape.fields_by_name.get(name) or by_json_name.get(name)
            if field is None:
                result[name] = value
            elif self._is_sensitive(field):
                result[name] = _redact_plain(value)
            elif field.message_type is None:
                result[name] = value
            elif is_map(field) and isinstance(value, dict):
                item = field.message_type.fields_by_name["value"].message_type
                result[name] = (
                    value if item is None else {key: self._redact_by_shape(item, each) for key, each in value.items()}
                )
            elif isinstance(value, list):
                result[name] = [self._redact_by_shape(field.message_type, each) for each in value]
            else:
                result[name] = self._redact_by_shape(field.message_type, value)
        return result

    def _is_sensitive(self, field: Any) -> bool:
        known = self._sensitive.get(field.full_name)
        if known is None:
            known = self._sensitive[field.full_name] = field.has_options and _has_sensitive_option(field)
        return known


class _Nothing:
    """A field that redaction removes."""


_NOTHING: Final = _Nothing()


def pack(message: Any, into: Any) -> None:
    """Put `message` into an `Any`."""
    into.type_url = f"type.googleapis.com/{message.DESCRIPTOR.full_name}"
    into.value = message.SerializeToString(deterministic=True)


def timestamp(seconds: float, into: Any) -> None:
    """Put a wall time into a `Timestamp`, to the millisecond as Envoy's clocks give it."""
    milliseconds = int(seconds * 1000)
    into.seconds = milliseconds // 1000
    into.nanos = milliseconds % 1000 * 1_000_000


def _has_sensitive_option(field: Any) -> bool:
    from ...config.schema import declaration, extension

    declared = declaration(field.containing_type.full_name).field
    options = next(each for each in declared if each.number == field.number).options
    return bool(options.Extensions[extension("udpa.annotations.sensitive")])


def _shown(message: Any, field: Any) -> bool:
    """Whether a field without regard to its value is printed under `always_print_fields`."""
    if field.has_presence:
        present: bool = message.HasField(field.name)
        return present
    return True


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)


def _shortest_float(value: float) -> float:
    """The number that, as a double, is written like the 32-bit float (`SimpleFtoa`)."""
    if not math.isfinite(value):
        return value
    short = float(f"{value:.6g}")
    return short if struct.pack("f", short) == struct.pack("f", value) else float(f"{value:.9g}")


def _number(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _redact_plain(plain: Any) -> Any:
    """Strings become `[redacted]`, other values go; what they stand in stays."""
    if isinstance(plain, dict):
        redacted = {key: _redact_plain(value) for key, value in plain.items()}
        return {key: value for key, value in redacted.items() if value is not _NOTHING}
    if isinstance(plain, list):
        return [value for value in map(_redact_plain, plain) if value is not _NOTHING]
    return REDACTED if isinstance(plain, str) else _NOTHING


def _duration(message: Any) -> str:
    sign = "-" if message.seconds < 0 or message.nanos < 0 else ""
    return f"{sign}{abs(message.seconds)}{_fraction(abs(message.nanos))}s"


def _timestamp_text(message: Any) -> str:
    from datetime import UTC, datetime, timedelta

    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=message.seconds)
    return f"{when:%Y-%m-%dT%H:%M:%S}{_fraction(message.nanos)}Z"


def _fraction(nanos: int) -> str:
    """Three, six or nine digits."""
    if not nanos:
        return ""
    digits = f"{nanos:09}"
    for zeros in ("000000", "000"):
        if digits.endswith(zeros):
            return f".{digits.removesuffix(zeros)}"
    return f".{digits}"


def _camel_case(path: str) -> str:
    first, *rest = path.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def _struct(message: Any) -> dict[str, Any]:
    return {key: _value(message.fields[key]) for key in sorted(message.fields)}


def _value(message: Any) -> Any:
    kind = message.WhichOneof("kind")
    if kind == "struct_value":
        return _struct(message.struct_value)
    if kind == "list_value":
        return [_value(each) for each in message.list_value.values]
    if kind == "number_value":
        return _number(message.number_value)
    return None if kind in (None, "null_value") else getattr(message, kind)


_WELL_KNOWN: Final = {
    "google.protobuf.Duration": _duration,
    "google.protobuf.FieldMask": lambda message: ",".join(map(_camel_case, message.paths)),
    "google.protobuf.ListValue": lambda message: [_value(each) for each in message.values],
    "google.protobuf.Struct": _struct,
    "google.protobuf.Timestamp": _timestamp_text,
    "google.protobuf.Value": _value,
}
