"""Messages of Envoy's API: classes by name, payloads out of `Any` and `TypedStruct`.

Envoy: `Config::Utility::translateAnyToFactoryConfig`, `translateOpaqueConfig` (source/common/config/utility.cc).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minienvoy.errors import ConfigError

from . import schema
from .schema import descriptor, message_class

__all__ = ["descriptor", "message_class", "payloads", "type_of", "unpack"]

MAX_ANY_DEPTH = 100
"""`Any`s within `Any`s; a text can not hold more."""

TYPED_STRUCTS = ("xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct")


def type_of(any_message: Any, path: str = "") -> str:
    """The full name of the message in an `Any`, looking through a `TypedStruct`; empty if the `Any` is.

    Raises:
        ConfigError: at `path`, if the bytes of the `TypedStruct` are none.
    """
    name: str = any_message.type_url.rpartition("/")[2]
    if name in TYPED_STRUCTS:
        return str(_parse(any_message, name, path).type_url.rpartition("/")[2])
    return name


def unpack(any_message: Any, path: str = "", *, validate: bool = False) -> Any:
    """The message in an `Any`. A `TypedStruct` is converted to the message that its own type URL names; if the schema
    has no such type (an extension with a configuration class of its own), the `TypedStruct` itself is the answer.

    Args:
        path: where the `Any` stands, for errors.
        validate: also check the constraints of the payload, as Envoy does when a factory consumes it.

    Raises:
        ConfigError: an unknown type, bytes that are not of that type, values that do not fit it.
    """
    name: str = any_message.type_url.rpartition("/")[2]
    message = _parse(any_message, name, path)
    if name in TYPED_STRUCTS:
        message = from_typed_struct(message, path)
    if validate:
        validate_any_payload(message, path)
    return message


def payloads(message: Any, path: str = "", *, validate: bool = False, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Everything that is in the `Any`s below `message`, and in their `Any`s, each with its path, as `unpack` has it.

    Raises:
        ConfigError: as `unpack`; also if they are nested deeper than `MAX_ANY_DEPTH`.
    """
    if depth > MAX_ANY_DEPTH:
        raise ConfigError(f"messages are nested deeper than {MAX_ANY_DEPTH}", path)
    for field, value in message.ListFields():
        for here, item in schema.submessages(field, value, f"{path}.{field.name}" if path else field.name):
            if item.DESCRIPTOR.full_name == "google.protobuf.Any":
                if not item.type_url:
                    continue
                inner = unpack(item, here, validate=validate)
                yield here, inner
                yield from payloads(inner, here, validate=validate, depth=depth + 1)
            else:
                yield from payloads(item, here, validate=validate, depth=depth + 1)


def validate_any_payload(message: Any, path: str = "") -> None:
    """Check the constraints of a message that came out of an `Any` at `path`; raises ConfigError."""
    from .validation import validate

    validate(message, path)


def _parse(any_message: Any, name: str, path: str) -> Any:
    from google.protobuf.message import DecodeError

    try:
        message = message_class(name)()
    except KeyError:
        raise unknown_type(any_message.type_url, path) from None
    try:
        message.ParseFromString(any_message.value)
    except DecodeError:
        raise ConfigError(f"Unable to unpack as {name}", path) from None
    return message


def from_typed_struct(typed_struct: Any, path: str = "") -> Any:
    """The message that a `TypedStruct` stands for, or the `TypedStruct` if the schema does not have its type."""
    from .proto_fill import FillError, fill

    name = typed_struct.type_url.rpartition("/")[2]
    try:
        message = message_class(name)()
    except KeyError:
        return typed_struct
    try:
        unknown = fill(message, struct_to_dict(typed_struct.value))
    except FillError as error:
        inner = f"{path}.value.{error.path}".strip(".")
        raise ConfigError(f"Unable to parse JSON as proto ({error.problem})", inner) from None
    if unknown:
        import difflib

        inner = f"{path}.value.{unknown[0].path}".strip(".")
        close = difflib.get_close_matches(unknown[0].name, unknown[0].known, n=1)
        raise ConfigError(
            f"Protobuf message (type {name} reason {unknown[0].problem}) has unknown fields",
            inner,
            remedy=f"did you mean '{close[0]}'?" if close else "",
        )
    return message


def struct_to_dict(struct: Any) -> dict[str, Any]:
    """A `google.protobuf.Struct` as plain values; numbers are floats, as they are in a `Struct`."""
    return {key: plain_value(value) for key, value in struct.fields.items()}


def plain_value(value: Any) -> Any:
    """A `google.protobuf.Value` as a plain one."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return struct_to_dict(value.struct_value)
    if kind == "list_value":
        return [plain_value(item) for item in value.list_value.values]
    return None if kind in (None, "null_value") else getattr(value, kind)


def unknown_type(type_url: str, path: str = "") -> ConfigError:
    """The error for a type that the schema does not have, with the nearest that it has."""
    import difflib

    name = type_url.rpartition("/")[2]
    close = difflib.get_close_matches(name, list(schema.schema().message_names()), n=1, cutoff=0.8)
    remedy = f"did you mean '{close[0]}'?" if close else ""
    return ConfigError(f"INVALID_ARGUMENT: could not find @type '{type_url}'", path, remedy=remedy)
