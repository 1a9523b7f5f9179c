"""Writes protobuf as it is told what to write, field by field.

Envoy: `google::protobuf::util::converter::ProtoWriter`. Errors do not stop it: it tells them, the last one counts, and
what can not be written is left out.
"""

from __future__ import annotations

from .data_piece import ConversionError, encoded, shown
from .json_stream_parser import Scalar
from .types import (
    BYTES,
    DOUBLE,
    FIXED32,
    FIXED64,
    FLOAT,
    GROUP,
    KIND_NAMES,
    MESSAGE,
    SFIXED32,
    SFIXED64,
    STRING,
    FieldType,
    MessageType,
)
from .wire import varint

_WIRE_TYPES = {
    DOUBLE: 1,
    FIXED64: 1,
    SFIXED64: 1,
    STRING: 2,
    BYTES: 2,
    MESSAGE: 2,
    FLOAT: 5,
    FIXED32: 5,
    SFIXED32: 5,
    GROUP: 3,
}


class ErrorListener:
    """Keeps the last problem; None while all is well (`StatusErrorListener`)."""

    __slots__ = ("problem",)

    def __init__(self) -> None:
        self.problem: str | None = None


class _Element:
    """A message or a list that is being written; `index` counts what is in a list, -1 for no list."""

    __slots__ = ("buffer", "field", "index", "is_list", "oneofs", "parent", "seen", "type")

    def __init__(self, parent: _Element | None, field: FieldType | None, kind: MessageType, is_list: bool) -> None:
        self.parent = parent
        self.field = field
        self.type = kind
        self.is_list = is_list
        self.index = 0 if is_list else -1
        self.oneofs: set[str] = set()
        self.seen: set[int] = set()
        # A list has no bytes of its own: what is in it follows each other.
        self.buffer: bytearray = parent.buffer if is_list and parent is not None else bytearray()
        if not is_list and parent is not None and field is not None:
            if field.repeated:
                if parent.index >= 0:
                    parent.index += 1
            elif field.required:
                parent.seen.add(field.number)

    def location(self) -> str:
        """Where this is, as errors say it."""
        parent, field = self.parent, self.field
        if parent is None or field is None:
            return ""
        where = parent.location()
        if not field.repeated or parent.field is not field:
            where = f"{where}.{field.name}" if where else field.name
        if field.repeated and self.index > 0:
            where += f"[{self.index - 1}]"
        return where or "."


class ProtoWriter:
    """One message of type `root`; `message` has its bytes when `done`.

    Attributes:
        invalid_depth: how many levels deep we are in something that is not written.
    """

    __slots__ = ("_ignores_case", "done", "element", "invalid_depth", "listener", "message", "root")

    def __init__(self, root: MessageType, listener: ErrorListener, ignores_case: bool) -> None:
        self.root = root
        self.listener = listener
        self._ignores_case = ignores_case
        self.element: _Element | None = None
        self.invalid_depth = 0
        self.done = False
        self.message = b""

    def invalid_value(self, kind: str, value: str) -> None:
        self.listener.problem = f"{self._location()}: invalid value {value} for type {kind}"

    def invalid_name(self, problem: str) -> None:
        self.listener.problem = f"{self._location()}: {problem}"

    def _location(self) -> str:
        return "" if self.element is None else self.element.location()

    def start_object(self, name: str) -> None:
        if self.element is None:
            if name:
                self.invalid_name("Root element should not be named.")
            self.element = _Element(None, None, self.root, is_list=False)
            return
        self._start(name, is_list=False)

    def start_list(self, name: str) -> None:
        self._start(name, is_list=True)

    def _start(self, name: str, is_list: bool) -> None:
        if self.invalid_depth:
            self.invalid_depth += 1
            return
        field = self.lookup(name)
        if field is None:
            self.invalid_depth += 1
            return
        if is_list and not field.repeated:
            self.invalid_depth += 1
            self.invalid_name("Proto field is not repeating, cannot start list.")
            return
        if not self._valid_oneof(field, name):
            self.invalid_depth += 1
            return
        assert self.element is not None
        self.element = _Element(self.element, field, field.message or self.element.type, is_list)

    def end(self) -> None:
        """What was started last is complete."""
        if self.invalid_depth:
            self.invalid_depth -= 1
            return
        element = self.element
        if element is None:
            return
        if not element.is_list:
            for field in element.type.required:
                if field.number not in element.seen:
                    self.listener.problem = f"{element.location()}: missing field {field.name}"
        parent = self.element = element.parent
        if parent is None:
            self.message = bytes(element.buffer)
            self.done = True
        elif not element.is_list:
            assert element.field is not None
            parent.buffer += varint(element.field.number << 3 | 2) + varint(len(element.buffer))
            parent.buffer += element.buffer

    def render(self, name: str, value: Scalar) -> None:
        if self.invalid_depth:
            return
        field = self.lookup(name)
        if field is None or not self._valid_oneof(field, name):
            return
        element = self.element
        assert element is not None
        if field.kind == MESSAGE or field.kind == GROUP:
            self._refuse(element, field, field.type_url, shown(value))
            return
        try:
            content = encoded(field, value, self._ignores_case)
        except ConversionError as problem:
            self._refuse(element, field, field.type_url or KIND_NAMES[field.kind], str(problem))
            return
        if field.required:
            element.seen.add(field.number)
        element.buffer += varint(field.number << 3 | _WIRE_TYPES.get(field.kind, 0)) + content

    def _refuse(self, element: _Element, field: FieldType, kind: str, value: str) -> None:
        # An element of its own tells where this is, and counts in a list.
        self.element = _Element(element, field, field.message or element.type, is_list=False)
        self.invalid_value(kind, value)
        self.element = element

    def lookup(self, name: str) -> FieldType | None:
        """The field of that name, or None; within a list there is no name, but the field of the list."""
        element = self.element
        if element is None:
            self.invalid_name("Root element must be a message.")
            return None
        if not name:
            if element.field is None or not element.field.repeated:
                self.invalid_name("Proto fields must have a name.")
                return None
            return element.field
        # A field that is not known is no error: the server may be older than its client.
        return element.type.by_name.get(name)

    def _valid_oneof(self, field: FieldType, name: str) -> bool:
        element = self.element
        if element is None or field.oneof is None:
            return True
        if field.oneof in element.oneofs:
            self.invalid_value("oneof", f"oneof field '{field.oneof}' is already set. Cannot set '{name}'")
            return False
        element.oneofs.add(field.oneof)
        return True
