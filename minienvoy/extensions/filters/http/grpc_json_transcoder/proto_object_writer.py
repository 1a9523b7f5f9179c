"""Writes what JSON says as protobuf, with the forms that JSON has for the well-known types.

Envoy: `google::protobuf::util::converter::ProtoStreamObjectWriter`. An object or list of JSON may be several messages
within each other: the value of a map is a message with `key` and `value`, a `Struct` is a message with a map, a `Value`
may be a message with a `Struct`. A `_Level` is one object or list of JSON and knows how many messages it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .data_piece import ConversionError, shown, to_string
from .json_stream_parser import Scalar
from .proto_writer import ErrorListener, ProtoWriter
from .types import GROUP, MESSAGE, URL_PREFIX, FieldType, MessageType, TypeHelper
from .well_known import ANY, LIST_VALUE, RENDERERS, STRUCT, VALUE
from .wire import length_delimited

_NULL_VALUE: Final = f"{URL_PREFIX}google.protobuf.NullValue"


class _Level:
    __slots__ = ("any", "depth", "keys")

    def __init__(self, depth: int, keys: set[str] | None = None, any_writer: AnyWriter | None = None) -> None:
        self.depth = depth
        self.keys = keys
        """Of a map: those that were there."""
        self.any = any_writer


class ProtoObjectWriter:
    """One message; see `ProtoWriter` for `done` and `message`."""

    __slots__ = ("_levels", "ignores_case", "types", "writer")

    def __init__(self, types: TypeHelper, root: MessageType, listener: ErrorListener, ignores_case: bool) -> None:
        self.types = types
        self.ignores_case = ignores_case
        self.writer = ProtoWriter(root, listener, ignores_case)
        self._levels: list[_Level] = []

    @property
    def done(self) -> bool:
        return self.writer.done

    @property
    def message(self) -> bytes:
        return self.writer.message

    # -- objects

    def start_object(self, name: str) -> None:
        writer = self.writer
        if writer.invalid_depth:
            writer.invalid_depth += 1
        elif not self._levels:
            self._start_root(name)
        elif (top := self._levels[-1]).any is not None:
            top.any.start_object(name)
        elif top.keys is not None:
            self._start_map_value(name, top.keys)
        else:
            self._start_field(name)

    def _start_root(self, name: str) -> None:
        writer = self.writer
        writer.start_object(name)
        kind = writer.root.full_name
        if kind == STRUCT:
            self._push_rest(1, "fields")
        elif kind == VALUE:
            self._push_rest(1, "struct_value", "fields")
        else:
            if kind == LIST_VALUE:
                writer.invalid_value(LIST_VALUE, "Cannot start root message with ListValue.")
            self._levels.append(_Level(1, any_writer=AnyWriter(self) if kind == ANY else None))

    def _push_rest(self, depth: int, *names: str) -> None:
        """A level of what was started already and of what these names are; the last is a list, `fields` a map."""
        for name in names[:-1]:
            self.writer.start_object(name)
        self.writer.start_list(names[-1])
        self._levels.append(_Level(depth + len(names), set() if names[-1] == "fields" else None))

    def _start_map_value(self, name: str, keys: set[str]) -> None:
        writer = self.writer
        if not self._start_map_entry(name, keys):
            writer.invalid_depth += 1
            return
        field = writer.lookup("value")
        writer.start_object("value")
        if writer.invalid_depth:
            return
        kind = _message_name(field)
        if kind == STRUCT:
            self._push_rest(2, "fields")
        elif kind == VALUE:
            self._push_rest(2, "struct_value", "fields")
        else:
            self._levels.append(_Level(2, any_writer=AnyWriter(self) if kind == ANY else None))

    def _start_map_entry(self, name: str, keys: set[str]) -> bool:
        """The message of one key; False if the key was there already."""
        writer = self.writer
        if name in keys:
            writer.invalid_name(f"Repeated map key: '{name}' is already set.")
            return False
        keys.add(name)
        writer.start_object("")
        writer.render("key", name)
        return True

    def _start_field(self, name: str) -> None:
        writer = self.writer
        field = writer.lookup(name)
        if field is None:
            writer.invalid_depth += 1
            return
        if field.is_map:
            writer.start_list(name)
            self._append(_Level(1, set()))
            return
        kind = _message_name(field)
        if kind is None:
            writer.invalid_depth += 1
            writer.invalid_value(field.name, "Starting an object on a scalar field")
            return
        writer.start_object(name)
        if writer.invalid_depth:
            return
        if kind == STRUCT:
            self._push_rest(1, "fields")
        elif kind == VALUE:
            self._push_rest(1, "struct_value", "fields")
        else:
            self._levels.append(_Level(1, any_writer=AnyWriter(self) if kind == ANY else None))

    def _append(self, level: _Level) -> None:
        if not self.writer.invalid_depth:
            self._levels.append(level)

    def end_object(self) -> None:
        writer = self.writer
        if writer.invalid_depth:
            writer.invalid_depth -= 1
        elif self._levels:
            top = self._levels[-1]
            if top.any is not None and top.any.end_object():
                return
            self._pop()

    def _pop(self) -> None:
        for _ in range(self._levels.pop().depth):
            self.writer.end()

    # -- lists

    def start_list(self, name: str) -> None:
        writer = self.writer
        if writer.invalid_depth:
            writer.invalid_depth += 1
        elif not self._levels:
            self._start_root_list(name)
        elif (top := self._levels[-1]).any is not None:
            top.any.start_list(name)
        elif top.keys is not None:
            self._start_list_in_map(name, top.keys)
        elif not name:
            self._start_list_in_list()
        else:
            self._start_list_field(name)

    def _start_root_list(self, name: str) -> None:
        writer = self.writer
        kind = writer.root.full_name
        if name:
            writer.invalid_name("Root element should not be named.")
            writer.invalid_depth += 1
        elif kind == VALUE:
            writer.start_object(name)
            self._push_rest(1, "list_value", "values")
        elif kind == LIST_VALUE:
            writer.start_object(name)
            self._push_rest(1, "values")
        else:
            # There is nothing that this could be: that is told.
            writer.start_list(name)

    def _start_list_in_map(self, name: str, keys: set[str]) -> None:
        writer = self.writer
        if not self._start_map_entry(name, keys):
            writer.invalid_depth += 1
            return
        field = writer.lookup("value")
        writer.start_object("value")
        if writer.invalid_depth:
            return
        kind = _message_name(field)
        if kind == VALUE:
            self._push_rest(2, "list_value", "values")
        elif kind == LIST_VALUE:
            self._push_rest(2, "values")
        else:
            writer.invalid_value("Map", f"Cannot have repeated items ('{name}') within a map.")
            self._levels.append(_Level(2))

    def _start_list_in_list(self) -> None:
        writer = self.writer
        element = writer.element
        kind = None if element is None or element.field is None else _message_name(element.field)
        if kind == VALUE:
            writer.start_object("")
            self._push_rest(1, "list_value", "values")
        elif kind == LIST_VALUE:
            writer.start_object("")
            self._push_rest(1, "values")
        else:
            writer.start_list("")
            self._append(_Level(1))

    def _start_list_field(self, name: str) -> None:
        writer = self.writer
        field = writer.lookup(name)
        if field is None:
            writer.invalid_depth += 1
            return
        kind = _message_name(field)
        if kind in (VALUE, LIST_VALUE) and not field.repeated:
            writer.start_object(name)
            if not writer.invalid_depth:
                self._push_rest(1, *(("list_value", "values") if kind == VALUE else ("values",)))
            return
        if not field.repeated:
            writer.invalid_depth += 1
            writer.invalid_name("Proto field is not repeating, cannot start list.")
        elif field.is_map:
            writer.invalid_value("Map", f"Cannot bind a list to map for field '{name}'.")
            writer.invalid_depth += 1
        else:
            writer.start_list(name)
            self._append(_Level(1))

    def end_list(self) -> None:
        writer = self.writer
        if writer.invalid_depth:
            writer.invalid_depth -= 1
        elif self._levels:
            top = self._levels[-1]
            if top.any is not None:
                top.any.end_list()
            else:
                self._pop()

    # -- values

    def render(self, name: str, value: Scalar) -> None:
        writer = self.writer
        if writer.invalid_depth:
            return
        if not self._levels:
            self._render_root(name, value)
            return
        top = self._levels[-1]
        if top.any is not None:
            top.any.render(name, value)
        elif top.keys is not None:
            self._render_map_value(name, value, top.keys)
        else:
            field = writer.lookup(name)
            if field is None:
                return
            kind = _message_name(field)
            if value is None and field.type_url != _NULL_VALUE and kind != VALUE:
                return
            renderer = RENDERERS.get(kind or "")
            if renderer is None:
                writer.render(name, value)
            else:
                self._render_well_known(renderer, field.type_url, name, name, value)

    def _render_root(self, name: str, value: Scalar) -> None:
        writer = self.writer
        renderer = RENDERERS.get(writer.root.full_name)
        if renderer is None:
            writer.invalid_name("Root element must be a message.")
        else:
            self._render_well_known(renderer, writer.root.full_name, name, name, value)

    def _render_map_value(self, name: str, value: Scalar, keys: set[str]) -> None:
        writer = self.writer
        if not self._start_map_entry(name, keys):
            return
        field = writer.lookup("value")
        kind = _message_name(field)
        renderer = RENDERERS.get(kind or "")
        if renderer is not None and field is not None:
            self._render_well_known(renderer, field.type_url, "value", name, value)
        elif value is not None or (field is not None and field.type_url == _NULL_VALUE):
            writer.render("value", value)
        writer.end()

    def _render_well_known(
        self, renderer: Callable[[ProtoWriter, Scalar], None], kind: str, key: str, name: str, value: Scalar
    ) -> None:
        writer = self.writer
        writer.start_object(key)
        try:
            renderer(writer, value)
        except ConversionError as problem:
            writer.invalid_value(kind, f"Field '{name}', {problem}")
        writer.end()


class AnyWriter:
    """An `Any`: what it holds is written by a writer of its own, once `@type` has said what it is."""

    __slots__ = ("_depth", "_events", "_invalid", "_parent", "_type_url", "_well_known", "_writer")

    def __init__(self, parent: ProtoObjectWriter) -> None:
        self._parent = parent
        self._writer: ProtoObjectWriter | None = None
        self._type_url = ""
        self._well_known = False
        self._invalid = False
        self._depth = 0
        # What came before `@type`.
        self._events: list[Callable[[], object]] = []

    def _refuse(self, problem: str, kind: str = "Any") -> None:
        if not self._invalid:
            self._invalid = True
            self._parent.writer.invalid_value(kind, problem)

    def start_object(self, name: str) -> None:
        self._depth += 1
        writer = self._writer
        if writer is None:
            self._events.append(lambda: self.start_object(name))
        elif self._well_known and self._depth == 1:
            self._expect_value(name)
            writer.start_object("")
        else:
            writer.start_object(name)

    def end_object(self) -> bool:
        """False when the `Any` itself is over."""
        self._depth -= 1
        writer = self._writer
        if writer is None:
            if self._depth >= 0:
                self._events.append(self.end_object)
        elif self._depth >= 0 or not self._well_known:
            writer.end_object()
        if self._depth >= 0:
            return True
        self._write()
        return False

    def start_list(self, name: str) -> None:
        self._depth += 1
        writer = self._writer
        if writer is None:
            self._events.append(lambda: self.start_list(name))
        elif self._well_known and self._depth == 1:
            self._expect_value(name)
            writer.start_list("")
        else:
            writer.start_list(name)

    def end_list(self) -> None:
        self._depth -= 1
        if self._writer is None:
            self._events.append(self.end_list)
        else:
            self._writer.end_list()

    def render(self, name: str, value: Scalar) -> None:
        writer = self._writer
        if writer is None:
            if not self._depth and name == "@type":
                self._start(value)
            else:
                self._events.append(lambda: self.render(name, value))
        elif not self._depth and self._well_known:
            self._expect_value(name)
            renderer = RENDERERS.get(writer.writer.root.full_name)
            if renderer is None:
                if value is not None:
                    self._refuse("Expect a JSON object.")
                return
            writer.writer.start_object("")
            try:
                renderer(writer.writer, value)
            except ConversionError as problem:
                writer.writer.invalid_value("Any", str(problem))
            writer.writer.end()
        else:
            writer.render(name, value)

    def _expect_value(self, name: str) -> None:
        if name != "value":
            self._refuse('Expect a "value" field for well-known types.')

    def _start(self, value: Scalar) -> None:
        parent = self._parent
        try:
            self._type_url = to_string(value).decode("utf-8", "surrogateescape")
        except ConversionError:
            self._refuse(shown(value), "String")
            return
        found = parent.types.resolve_url(self._type_url)
        if isinstance(found, str):
            self._refuse(found)
            return
        self._well_known = found.full_name in RENDERERS or found.full_name in (ANY, STRUCT)
        self._writer = ProtoObjectWriter(parent.types, found, parent.writer.listener, parent.ignores_case)
        if not self._well_known:
            self._writer.start_object("")
        events, self._events = self._events, []
        self._depth = 0
        for event in events:
            event()

    def _write(self) -> None:
        if self._writer is None:
            if self._events:
                self._refuse(f"Missing @type for any field in {self._parent.writer.root.full_name}")
            return
        element = self._parent.writer.element
        assert element is not None
        element.buffer += length_delimited(1, self._type_url.encode("utf-8", "surrogateescape"))
        if self._writer.message:
            element.buffer += length_delimited(2, self._writer.message)


def _message_name(field: FieldType | None) -> str | None:
    """The full name of the message that a field holds; None for anything else."""
    if field is None or field.kind not in (MESSAGE, GROUP):
        return None
    return field.type_url.removeprefix(URL_PREFIX)
