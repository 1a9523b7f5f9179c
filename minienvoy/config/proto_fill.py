"""Fills messages from the plain values that the YAML and JSON readers return.

Envoy: `MessageUtil::loadFromJson`, that is protobuf's C++ JSON parser in its legacy mode (`json/internal/parser.cc`).
It is more lenient than Python's `json_format`: one value is a list of one, enum names are in any case, a wrapper may be
written as a message, any host may stand before a type name.

Unknown fields and enum names do not stop it: like Envoy, which parses a second time without them, it goes on, and what
was unknown is told at the end. Everything else that does not fit is the first error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NoReturn

from ..record import record
from . import schema
from .json_reader import Repeated
from .scalar_fields import UnknownEnum, WrongValue, converter, default, first_character, type_text

MAX_DEPTH = 100
"""Objects and lists within each other; protobuf's limit."""

_DURATION = re.compile(r"(-?)(\d+)(?:\.(\d{1,9}))?s", re.ASCII)
_MAX_DURATION_SECONDS = 315_576_000_000
_ANY_TEXT = "message google.protobuf.Any"
_WRAPPERS = {
    f"google.protobuf.{kind}Value"
    for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
}
_VALUE_IN_ANY = _WRAPPERS | {
    f"google.protobuf.{name}" for name in ("Any", "Duration", "Timestamp", "Struct", "Value", "ListValue", "FieldMask")
}


@record
class Unknown:
    """A field or enum name that the schema does not have."""

    path: str
    name: str
    problem: str
    known: tuple[str, ...]


class FillError(Exception):
    """A value does not fit; `path` is where, `problem` is protobuf's text without the offset."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem


def fill(message: Any, value: Any) -> list[Unknown]:
    """Set `message` from `value`, what a reader returned for it.

    Returns:
        What is unknown to the schema, in the order of the document.

    Raises:
        FillError: something known does not fit.
    """
    filler = _Filler(message.DESCRIPTOR.full_name)
    filler.message(message, value)
    return filler.unknown


@record
class _Field:
    """What the filler asks of a field descriptor, looked up once."""

    name: str
    oneof: str
    repeated: bool
    map_key: Callable[[Any], Any] | None
    message_type: str  # of a map: of its value
    scalar: Callable[[Any], Any] | None  # of a map: of its value
    type_text: str


class _Filler:
    """One run over one message: knows where it is, and what it met that is unknown."""

    def __init__(self, root: str) -> None:
        self.unknown: list[Unknown] = []
        self._root = root
        self._path: list[str] = []
        self._depth = 0
        self._any_text = _ANY_TEXT

    def _fail(self, type_text: str, problem: str) -> NoReturn:
        path = self._where()
        at = f" @ {path}: {type_text}" if path else ""  # at the top protobuf does not name the type
        raise FillError(path, f"INVALID_ARGUMENT: invalid JSON in {self._root}{at}: {problem}")

    def _where(self) -> str:
        return "".join(self._path).removeprefix(".")

    def _expected_object(self, type_text: str, value: Any) -> NoReturn:
        self._fail(type_text, f"unexpected character: '{first_character(value)}'; expected '{{'")

    def message(self, message: Any, value: Any) -> None:
        """Any message, well-known ones included."""
        name = message.DESCRIPTOR.full_name
        special = _SPECIAL.get(name)
        nested = 1 if isinstance(value, (dict, list)) else 0
        self._depth += nested
        if self._depth > MAX_DEPTH:
            self._fail(f"message {name}", "JSON content was too deeply nested")
        if special is not None:
            special(self, message, value)
        elif name in _WRAPPERS and not isinstance(value, dict):
            convert = converter(message.DESCRIPTOR.fields_by_name["value"])
            message.value = self._scalar(convert, value, f"message {name}")
        else:
            self._members(message, value)
        self._depth -= nested

    def _members(self, message: Any, value: Any, skip: str | None = None) -> None:
        descriptor = message.DESCRIPTOR
        if not isinstance(value, dict):
            self._expected_object(f"message {descriptor.full_name}", value)
        fields = _fields(descriptor)
        oneofs: set[str] = set()
        for key, item in _pairs(value):
            if key == skip:
                continue
            field = fields[key]
            if field is None:
                self._unknown_field(descriptor, str(key))
                continue
            if item is None and field.message_type != "google.protobuf.Value":
                continue
            self._path.append(f".{field.name}")
            if field.oneof:
                if field.oneof in oneofs:
                    problem = f"'{field.name}' has already been set (either directly or as part of a oneof)"
                    self._fail(field.type_text, problem)
                oneofs.add(field.oneof)
            if field.map_key is not None:
                self._map(getattr(message, field.name), field, item)
            elif field.repeated:
                self._list(getattr(message, field.name), field, item)
            elif field.scalar is not None:
                self._set(message, field, item)
            else:
                inner = getattr(message, field.name)
                if message.HasField(field.name):
                    inner.Clear()  # the key stands twice: the last one counts
                inner.SetInParent()
                self.message(inner, item)
            self._path.pop()

    def _unknown_field(self, descriptor: Any, key: str) -> None:
        path = self._where()
        at = f" @ {path}: message {descriptor.full_name}" if path else ""  # at the top protobuf does not name the type
        problem = f"INVALID_ARGUMENT: invalid JSON in {self._root}{at}: no such field: '{key}'"
        self.unknown.append(Unknown(f"{path}.{key}".removeprefix("."), key, problem, _names(descriptor)))

    def _unknown_enum(self, error: UnknownEnum) -> None:
        problem = f"INVALID_ARGUMENT: unknown enum value: '{error.name}'"
        self.unknown.append(Unknown(self._where(), error.name, problem, error.known))

    def _scalar(self, convert: Callable[[Any], Any], value: Any, type_text: str) -> Any:
        try:
            return convert(value)
        except WrongValue as error:
            self._fail(type_text, str(error))

    def _set(self, message: Any, field: _Field, value: Any) -> None:
        assert field.scalar is not None
        try:
            setattr(message, field.name, field.scalar(value))
        except WrongValue as error:
            self._fail(field.type_text, str(error))
        except UnknownEnum as error:
            self._unknown_enum(error)
        except ValueError as error:  # a lone surrogate in a string
            self._fail(field.type_text, str(error))

    def _list(self, target: Any, field: _Field, value: Any) -> None:
        if not isinstance(value, list):
            self._element(target, field, value)
            return
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(field.type_text, "JSON content was too deeply nested")
        for number, item in enumerate(value):
            self._path.append(f"[{number}]")
            if isinstance(item, list) and field.message_type not in (
                "google.protobuf.Value",
                "google.protobuf.ListValue",
            ):
                self._list(target, field, item)  # a list in a list is as good as its elements
            else:
                self._element(target, field, item)
            self._path.pop()
        self._depth -= 1

    def _element(self, target: Any, field: _Field, value: Any) -> None:
        if field.scalar is None:
            added = target.add()
            if value is not None or field.message_type == "google.protobuf.Value":
                self.message(added, value)
            return
        try:
            target.append(default(field.scalar) if value is None else field.scalar(value))
        except WrongValue as error:
            self._fail(field.type_text, str(error))
        except UnknownEnum as error:
            self._unknown_enum(error)
        except ValueError as error:
            self._fail(field.type_text, str(error))

    def _map(self, target: Any, field: _Field, value: Any) -> None:
        assert field.map_key is not None
        if not isinstance(value, dict):
            self._expected_object(field.type_text, value)
        self._depth += 1
        for key, item in _pairs(value):
            self._path.append(f'["{key}"]')
            converted = self._scalar(field.map_key, key, field.type_text)
            if converted in target and isinstance(value, Repeated):
                self._fail(field.type_text, f"got unexpectedly-repeated repeated map key: '{key}'")
            if field.scalar is None:
                entry = target[converted]
                if item is not None or field.message_type == "google.protobuf.Value":
                    self._any_text = field.type_text  # what protobuf calls an `Any` in a map
                    self.message(entry, item)
                    self._any_text = _ANY_TEXT
            else:
                try:
                    target[converted] = default(field.scalar) if item is None else field.scalar(item)
                except WrongValue as error:
                    self._fail(field.type_text, str(error))
                except UnknownEnum as error:
                    self._unknown_enum(error)
            self._path.pop()
        self._depth -= 1

    def any(self, message: Any, value: Any) -> None:
        type_text, self._any_text = self._any_text, _ANY_TEXT
        if not isinstance(value, dict):
            self._expected_object(type_text, value)
        if "@type" not in value:
            if value:
                self._fail(
                    type_text,
                    "in legacy mode, missing @type in Any is only allowed for an empty object",
                )
            return
        type_url = value["@type"]
        if not isinstance(type_url, str):
            self._fail(type_text, f"unexpected character: '{first_character(type_url)}'; expected '\"'")
        host, slash, name = type_url.rpartition("/")
        if not slash or not host:
            raise FillError(
                self._where(),
                f"INVALID_ARGUMENT: @type must contain at least one / and a nonempty host; got: {type_url}",
            )
        try:
            payload = schema.message_class(name)()
        except KeyError:
            raise FillError(self._where(), f"INVALID_ARGUMENT: could not find @type '{type_url}'") from None
        self._path.append(".<any>")
        if name in _VALUE_IN_ANY:
            for key in value:
                if key not in ("@type", "value"):
                    self._fail(f"message {name}", "fields in a well-known-typed Any must be @type or value")
            if value.get("value") is not None:
                self.message(payload, value["value"])
        else:
            self._members(payload, value, skip="@type")
        self._path.pop()
        message.type_url = type_url
        message.value = payload.SerializeToString(deterministic=True)

    def duration(self, message: Any, value: Any) -> None:
        type_text = "message google.protobuf.Duration"
        if isinstance(value, dict):
            self._members(message, value)
            return
        if not isinstance(value, str):
            self._fail(type_text, f"unexpected character: '{first_character(value)}'; expected '\"'")
        match = _DURATION.fullmatch(value)
        if match is None:
            if not re.match(r"-?\d", value, re.ASCII):
                self._fail(type_text, "duration must start with an integer")
            if re.match(r"-?\d+\.", value, re.ASCII) and value.endswith("s"):
                self._fail(type_text, "duration had bad nanoseconds")
            self._fail(type_text, "duration must end with a single 's'")
        sign, whole, fraction = match.groups()
        seconds = int(whole) if len(whole) < 20 else _MAX_DURATION_SECONDS + 1
        if seconds > _MAX_DURATION_SECONDS:
            self._fail(type_text, "duration out of range")
        nanos = int((fraction or "").ljust(9, "0"))
        message.seconds, message.nanos = (-seconds, -nanos) if sign else (seconds, nanos)

    def from_json_string(self, message: Any, value: Any) -> None:
        """Timestamp and FieldMask: protobuf's own parser of the text form."""
        name = message.DESCRIPTOR.full_name
        if isinstance(value, dict):
            self._members(message, value)
            return
        if not isinstance(value, str):
            self._fail(f"message {name}", f"unexpected character: '{first_character(value)}'; expected '\"'")
        try:
            message.FromJsonString(value)
        except ValueError as error:
            self._fail(f"message {name}", str(error))

    def struct(self, message: Any, value: Any) -> None:
        if not isinstance(value, dict):
            self._expected_object("message google.protobuf.Struct.FieldsEntry", value)
        if isinstance(value, Repeated):
            keys = [key for key, _ in value.pairs]
            twice = next(key for number, key in enumerate(keys) if key in keys[:number])
            self._fail(
                "message google.protobuf.Struct.FieldsEntry", f"got unexpectedly-repeated repeated map key: '{twice}'"
            )
        for key, item in value.items():
            self._path.append(f'["{key}"]')
            self.message(message.fields[key], item)
            self._path.pop()

    def list_value(self, message: Any, value: Any) -> None:
        if not isinstance(value, list):
            self._fail(
                "message google.protobuf.ListValue", f"unexpected character: '{first_character(value)}'; expected '['"
            )
        for number, item in enumerate(value):
            self._path.append(f"[{number}]")
            self.message(message.values.add(), item)
            self._path.pop()

    def value(self, message: Any, value: Any) -> None:
        if value is None:
            message.null_value = 0
        elif isinstance(value, bool):
            message.bool_value = value
        elif isinstance(value, (int, float)):
            message.number_value = value
        elif isinstance(value, str):
            message.string_value = value
        elif isinstance(value, list):
            message.list_value.SetInParent()
            self.list_value(message.list_value, value)
        elif isinstance(value, dict):
            message.struct_value.SetInParent()
            self.struct(message.struct_value, value)
        else:
            self._fail("message google.protobuf.Value", f"no JSON value: {type(value).__name__}")


_SPECIAL: dict[str, Callable[[_Filler, Any, Any], None]] = {
    "google.protobuf.Any": _Filler.any,
    "google.protobuf.Duration": _Filler.duration,
    "google.protobuf.Timestamp": _Filler.from_json_string,
    "google.protobuf.FieldMask": _Filler.from_json_string,
    "google.protobuf.Struct": _Filler.struct,
    "google.protobuf.ListValue": _Filler.list_value,
    "google.protobuf.Value": _Filler.value,
}


def _pairs(value: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    return value.pairs if isinstance(value, Repeated) else value.items()


@cache
def _names(descriptor: Any) -> tuple[str, ...]:
    return tuple(field.name for field in descriptor.fields)


class _FieldTable(dict[str, "_Field | None"]):
    """Both spellings of a field's name -> what to do with it, worked out for those that are used."""

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self._by_name = descriptor.fields_by_name
        self._by_json_name = descriptor.fields_by_camelcase_name

    def __missing__(self, name: str) -> _Field | None:
        field = self._by_name.get(name) or self._by_json_name.get(name)
        if field is None:
            return None  # not kept: there is no end to names that do not exist
        made = self[name] = _field(field)
        return made


@cache
def _fields(descriptor: Any) -> _FieldTable:
    return _FieldTable(descriptor)


def _field(field: Any) -> _Field:
    repeated = schema.is_repeated(field)
    oneof = field.containing_oneof.name if field.containing_oneof is not None else ""
    if schema.is_map(field):
        key = field.message_type.fields_by_name["key"]
        value = field.message_type.fields_by_name["value"]
        value_type = value.message_type.full_name if value.message_type is not None else ""
        scalar = None if value_type else converter(value)
        return _Field(field.name, oneof, True, converter(key), value_type, scalar, type_text(field))
    if field.message_type is not None:
        return _Field(field.name, oneof, repeated, None, field.message_type.full_name, None, type_text(field))
    return _Field(field.name, oneof, repeated, None, "", converter(field), type_text(field))
