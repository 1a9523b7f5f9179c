"""Envoy's v3 API: descriptors and message classes, made as they are asked for.

Envoy: the generated code below `api/`. The schema is one file, `envoy_api.binpb`, that the build makes (its layout is
described in `hatch_build.py`). Opening it reads an index; a proto file is given to protobuf when one of its messages is
first asked for. The pool is minienvoy's own: the default pool belongs to the program minienvoy is embedded in, which
may hold another version of the same protos.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from minienvoy.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

# Like everything that a start needs, without pathlib: importing that costs 4 ms.
_PATH = os.path.join(os.path.dirname(__file__), "envoy_api.binpb")  # noqa: PTH118, PTH120
_INDEX_TAG = 0x7A


class _File:
    """One line of the index; the columns are described in `hatch_build.py`."""

    __slots__ = ("dependencies", "name", "offset", "package", "size", "symbols")

    def __init__(self, line: str) -> None:
        self.name, self.package, self.offset, self.size, self.dependencies, self.symbols = line.split(" ")

    def names(self) -> list[str]:
        return self.symbols.lstrip("-").split(",")


def new_pool() -> Any:
    """An empty descriptor pool.

    The C implementation is asked directly where there is one: `google.protobuf.descriptor_pool` imports the pure-Python
    implementation beside it, which costs 40 ms at start.
    """
    if _upb() is None:
        from google.protobuf.descriptor_pool import DescriptorPool

        return DescriptorPool()
    return _upb().DescriptorPool()


@cache
def _upb() -> Any:
    """The C implementation of protobuf; None where it is not (PyPy)."""
    try:
        from google._upb import _message
    except ImportError:
        return None
    return _message


class Schema:
    """The API in one file: which file has which symbol, and the pool of those that were needed so far."""

    def __init__(self, path: str | Path = _PATH) -> None:
        try:
            with open(path, "rb") as file:  # noqa: PTH123
                self._data = file.read()
        except FileNotFoundError:
            raise ConfigError(
                f"the schema of Envoy's API is missing: {path}",
                remedy="installing minienvoy makes it; in a source checkout run `python hatch_build.py`",
            ) from None
        size, start = _varint(self._data, 1)
        if self._data[0] != _INDEX_TAG or len(self._data) < start + size:
            raise ConfigError(f"the schema of Envoy's API is damaged: {path}", remedy="run `python hatch_build.py`")
        self._body = start + size
        self._lines = self._data[start : self._body].decode().split("\n")
        self._by_package: dict[str, list[int]] = {}
        for number, line in enumerate(self._lines):
            self._by_package.setdefault(line.split(" ", 2)[1], []).append(number)
        self._added: set[int] = set()
        self.pool = new_pool()

    def _file(self, number: int) -> _File:
        return _File(self._lines[number])

    def file_of(self, symbol: str) -> int:
        """The number of the file that declares `symbol`, a full name; KeyError if none does."""
        package = symbol
        while package:
            package, _, rest = package.rpartition(".")
            for number in self._by_package.get(package, ()):
                top = symbol[len(package) + 1 :].partition(".")[0] if package else rest
                names = self._file(number).names()
                if top in names or f"={top}" in names or f"+{top}" in names:
                    return number
        raise KeyError(symbol)

    @property
    def file_count(self) -> int:
        """How many proto files there are; they are numbered from 0."""
        return len(self._lines)

    def raw_file(self, number: int) -> bytes:
        """The serialised `FileDescriptorProto`."""
        file = self._file(number)
        start = self._body + int(file.offset)
        return self._data[start : start + int(file.size)]

    def add(self, number: int) -> None:
        """Give a file and what it depends on to the pool."""
        if number in self._added:
            return
        self._added.add(number)
        dependencies = self._file(number).dependencies
        if dependencies != "-":
            for dependency in dependencies.split(","):
                self.add(int(dependency))
        self.pool.AddSerializedFile(self.raw_file(number))

    def message_names(self) -> Iterator[str]:
        """The full name of every top-level message, in the order of the files."""
        for file in map(self._file, range(self.file_count)):
            for name in file.names():
                if name and name[0] not in "=+":
                    yield f"{file.package}.{name}"


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


@cache
def schema() -> Schema:
    """The schema that is shipped with minienvoy, opened on first use.

    Raises:
        ConfigError: the file is not there (a source checkout in which it was not made yet).
    """
    return Schema()


@cache
def descriptor(full_name: str) -> Any:
    """The descriptor of the message `full_name`, e.g. `envoy.config.core.v3.Node`; KeyError if there is no such."""
    opened = schema()
    opened.add(opened.file_of(full_name))
    return opened.pool.FindMessageTypeByName(full_name)


@cache
def message_class(full_name: str) -> Any:
    """The class of the message `full_name`; KeyError if there is no such.

    Classes come from minienvoy's own pool: generated `*_pb2` classes do not mix with them.
    """
    return class_of(descriptor(full_name))


def class_of(message_descriptor: Any) -> Any:
    """The class for a descriptor of this schema.

    What `google.protobuf.message_factory.GetMessageClass` does, without the import of 50 ms that comes with it, and
    without the classes of all that the fields lead to: those of a bootstrap are 980, and protobuf makes the ones that
    are needed itself.
    """
    # Not `._concrete_class`: where no class was made yet the C implementation returns NULL without an exception.
    made = getattr(message_descriptor, "_concrete_class", None)
    if made is not None:
        return made
    if _upb() is None:
        from google.protobuf.message_factory import GetMessageClass

        return GetMessageClass(message_descriptor)
    from google.protobuf.message import Message

    return _upb().MessageMeta(
        message_descriptor.name, (Message,), {"DESCRIPTOR": message_descriptor, "__module__": None}
    )


@cache
def whole_pool() -> Any:
    """The pool with every file in it: for readers that look types up themselves."""
    opened = schema()
    for number in range(opened.file_count):
        opened.add(number)
    return opened.pool


@cache
def is_map(field: Any) -> bool:
    """Whether a field descriptor is a map; told by the shape of its entry, as `GetOptions()` would import 30 ms."""
    entry = field.message_type
    return (
        entry is not None
        and entry.has_options
        and entry.containing_type is field.containing_type
        and entry.name.lower() == f"{field.name.replace('_', '')}entry".lower()
        and is_repeated(field)
        and [part.name for part in entry.fields] == ["key", "value"]
    )


def is_repeated(field: Any) -> bool:
    """Whether a field descriptor is a list or a map."""
    try:
        return bool(field.is_repeated)
    except AttributeError:  # protobuf < 6.31
        return bool(field.label == field.LABEL_REPEATED)


def submessages(field: Any, value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The messages in a field that is set, each with its path; none if the field holds scalars.

    Paths are written `a.b[0].c["key"]`; the entries of a map come in the order of their keys.
    """
    if field.message_type is None:
        return
    if is_map(field):
        if field.message_type.fields_by_name["value"].message_type is not None:
            for key in sorted(value):
                yield f'{path}["{key}"]', value[key]
    elif is_repeated(field):
        for number, item in enumerate(value):
            yield f"{path}[{number}]", item
    else:
        yield path, value


@cache
def declaration(full_name: str) -> Any:
    """The `DescriptorProto` of the message `full_name`, options included, as `protoc` wrote it; KeyError if none.

    Extensions that stand in this schema (`validate.rules`) are understood, because all comes from one pool.
    """
    opened = schema()
    number = opened.file_of(full_name)
    file = _parsed_file(number)
    parts = full_name[len(file.package) + 1 :].split(".")
    found = next((message for message in file.message_type if message.name == parts[0]), None)
    for part in parts[1:]:
        found = next((message for message in found.nested_type if message.name == part), None) if found else None
    if found is None:
        raise KeyError(full_name)
    return found


@cache
def _parsed_file(number: int) -> Any:
    opened = schema()
    for extensions in ("validate.rules", "udpa.annotations.sensitive", "envoy.annotations.deprecated_at_minor_version"):
        opened.add(opened.file_of(extensions))
    return message_class("google.protobuf.FileDescriptorProto").FromString(opened.raw_file(number))


@cache
def extension(full_name: str) -> Any:
    """The descriptor of an extension of the options, e.g. `validate.rules`."""
    opened = schema()
    opened.add(opened.file_of(full_name))
    return opened.pool.FindExtensionByName(full_name)
