"""The message types of a descriptor set, as the translators look at them.

Envoy: `google::grpc::transcoding::TypeHelper`, `google::protobuf::util::converter::TypeInfo`. Types are made from the
descriptors when they are first needed, and kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from .....config import schema
from .path_matcher import unescape

DOUBLE, FLOAT, INT64, UINT64, INT32, FIXED64, FIXED32, BOOL, STRING, GROUP, MESSAGE, BYTES, UINT32, ENUM = range(1, 15)
SFIXED32, SFIXED64, SINT32, SINT64 = range(15, 19)
KIND_NAMES: Final = {
    DOUBLE: "TYPE_DOUBLE",
    FLOAT: "TYPE_FLOAT",
    INT64: "TYPE_INT64",
    UINT64: "TYPE_UINT64",
    INT32: "TYPE_INT32",
    FIXED64: "TYPE_FIXED64",
    FIXED32: "TYPE_FIXED32",
    BOOL: "TYPE_BOOL",
    STRING: "TYPE_STRING",
    GROUP: "TYPE_GROUP",
    MESSAGE: "TYPE_MESSAGE",
    BYTES: "TYPE_BYTES",
    UINT32: "TYPE_UINT32",
    ENUM: "TYPE_ENUM",
    SFIXED32: "TYPE_SFIXED32",
    SFIXED64: "TYPE_SFIXED64",
    SINT32: "TYPE_SINT32",
    SINT64: "TYPE_SINT64",
}
URL_PREFIX: Final = "type.googleapis.com/"
ALL_CHARACTERS: Final = 2


class FieldPathError(Exception):
    """A path of field names leads nowhere."""


class EnumType:
    """Names and numbers of an enum; of several names for a number the first counts."""

    __slots__ = ("full_name", "name_of", "number_of")

    def __init__(self, descriptor: Any) -> None:
        self.full_name: str = descriptor.full_name
        self.number_of: dict[str, int] = {value.name: value.number for value in descriptor.values}
        self.name_of: dict[int, str] = {}
        for value in descriptor.values:
            self.name_of.setdefault(value.number, value.name)


class FieldType:
    """One field; `message` and `enum` are None where there are none.

    Attributes:
        oneof: the name of the group of which only one may be set; None if there is none.
        implicit: it is not there if it has its default value, and so can not be told from one that was not set.
    """

    __slots__ = (
        "_message_descriptor",
        "_types",
        "default",
        "enum",
        "implicit",
        "is_map",
        "is_proto3",
        "json_name",
        "kind",
        "name",
        "number",
        "oneof",
        "repeated",
        "required",
        "type_url",
    )

    def __init__(self, descriptor: Any, types: TypeHelper) -> None:
        self._types = types
        self._message_descriptor = descriptor.message_type
        self.name: str = descriptor.name
        self.json_name: str = descriptor.json_name
        if self.name[:1].isupper() and not self.json_name[:1].isupper():
            # As those have it who wrote the first converter.
            self.json_name = self.name
        self.number: int = descriptor.number
        self.kind: int = descriptor.type
        self.repeated = schema.is_repeated(descriptor)
        self.required = bool(getattr(descriptor, "is_required", False))
        self.is_proto3 = getattr(descriptor.file, "syntax", "proto3") != "proto2"
        self.is_map = schema.is_map(descriptor)
        oneof = descriptor.containing_oneof
        synthetic = oneof is not None and len(oneof.fields) == 1 and oneof.name == f"_{self.name}"
        self.oneof: str | None = None if oneof is None or synthetic else oneof.name
        self.implicit = not self.repeated and not descriptor.has_presence
        self.default: Any = None if self.repeated or self._message_descriptor is not None else descriptor.default_value
        self.enum = None if descriptor.enum_type is None else EnumType(descriptor.enum_type)
        self.type_url = ""
        if self._message_descriptor is not None:
            self.type_url = URL_PREFIX + self._message_descriptor.full_name
        elif self.enum is not None:
            self.type_url = URL_PREFIX + self.enum.full_name

    @property
    def message(self) -> MessageType | None:
        descriptor = self._message_descriptor
        return None if descriptor is None else self._types.of(descriptor)


class MessageType:
    """A message, and its fields by number and by either of their names."""

    __slots__ = ("by_name", "by_number", "fields", "full_name", "required")

    def __init__(self, descriptor: Any, types: TypeHelper) -> None:
        self.full_name: str = descriptor.full_name
        self.fields = sorted((FieldType(field, types) for field in descriptor.fields), key=lambda field: field.number)
        self.by_number: dict[int, FieldType] = {field.number: field for field in self.fields}
        self.by_name: dict[str, FieldType] = {field.name: field for field in self.fields}
        self.by_name.update({field.json_name: field for field in self.fields})
        self.required = [field for field in self.fields if field.required]


class TypeHelper:
    """The types of one descriptor pool."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self._types: dict[str, MessageType] = {}

    def of(self, descriptor: Any) -> MessageType:
        found = self._types.get(descriptor.full_name)
        if found is None:
            found = self._types[descriptor.full_name] = MessageType(descriptor, self)
        return found

    def find(self, full_name: str) -> MessageType | None:
        try:
            return self.of(self.pool.FindMessageTypeByName(full_name))
        except KeyError:
            return None

    def resolve_url(self, type_url: str) -> MessageType | str:
        """The type that an `Any` names; if there is none, what is wrong with the name."""
        if not type_url.startswith(URL_PREFIX):
            return f"Invalid type URL, type URLs must be of the form '{URL_PREFIX}<typename>', got: {type_url}"
        name = type_url.removeprefix(URL_PREFIX)
        found = self.find(name)
        return f"Invalid type URL, unknown type: {name}" if found is None else found


def resolve_field_path(message: MessageType, names: Sequence[str]) -> list[FieldType]:
    """The fields that the names lead through; raises FieldPathError."""
    path: list[FieldType] = []
    current: MessageType | None = message
    for at, name in enumerate(names):
        assert current is not None
        field = find_field(current.by_name, name)
        if field is None:
            raise FieldPathError(f'Could not find field "{name}" in the type "{current.full_name}".')
        path.append(field)
        if at < len(names) - 1:
            if field.kind != MESSAGE:
                problem = "that is not a message while parsing a field path"
                raise FieldPathError(f'Encountered a non-leaf field "{field.name}" {problem}')
            current = field.message
    return path


def find_field(by_name: Mapping[str, FieldType], name: str) -> FieldType | None:
    """The field of that name, which may have escapes as in a URL."""
    field = by_name.get(name)
    if field is None and "%" in name:
        plain = unescape(name.encode("utf-8", "surrogateescape"), ALL_CHARACTERS)
        field = by_name.get(plain.decode("utf-8", "surrogateescape"))
    return field
