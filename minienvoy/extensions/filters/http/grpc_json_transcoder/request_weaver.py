"""Puts what path and query say into the message that a body makes.

Envoy: `google::grpc::transcoding::RequestWeaver`, `PrefixWriter`. Bindings are written at the end of the message that
they belong to; lists are completed where the body has them. What the body says itself counts, unless the two shall not
differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .data_piece import ConversionError, shown, to_bool, to_double, to_int
from .json_stream_parser import ObjectWriter, Scalar
from .proto_writer import ErrorListener
from .types import FieldType

_ALMOST = 32 * 2**-23


@dataclass(slots=True)
class _Woven:
    """What is still to be said of a message, and of those in it."""

    bindings: list[tuple[FieldType, str]] = field(default_factory=list)
    messages: list[tuple[str, _Woven]] = field(default_factory=list)

    def find(self, name: str) -> _Woven | None:
        return next((woven for known, woven in self.messages if known == name), None)


class RequestWeaver:
    """Hands on to `writer` what it is told, with the bindings in it."""

    def __init__(
        self,
        bindings: Sequence[tuple[Sequence[FieldType], str]],
        writer: ObjectWriter,
        listener: ErrorListener,
        reports_collisions: bool,
    ) -> None:
        self._writer = writer
        self._listener = listener
        self._reports_collisions = reports_collisions
        self._root = _Woven()
        self._current: list[_Woven] = []
        # How deep we are in what nothing is bound in.
        self._depth = 0
        for path, value in bindings:
            woven = self._root
            for step in path[:-1]:
                found = woven.find(step.name)
                if found is None:
                    found = _Woven()
                    woven.messages.append((step.name, found))
                woven = found
            if path:
                woven.bindings.append((path[-1], value))

    def start_object(self, name: str) -> None:
        self._writer.start_object(name)
        if not self._current:
            self._current.append(self._root)
            return
        if not self._depth:
            found = self._current[-1].find(name)
            if found is not None:
                self._current.append(found)
                return
        self._depth += 1

    def end_object(self) -> None:
        if self._depth:
            self._depth -= 1
        else:
            self._weave(self._current.pop())
        self._writer.end_object()

    def start_list(self, name: str) -> None:
        self._writer.start_list(name)
        self._depth += 1

    def end_list(self) -> None:
        self._writer.end_list()
        self._depth -= 1

    def render(self, name: str, value: Scalar) -> None:
        if not self._depth and self._current and value is not None:
            self._collide(self._current[-1], name, value)
        self._writer.render(name, value)

    def _weave(self, woven: _Woven) -> None:
        for bound, value in woven.bindings:
            self._writer.render(bound.name, value)
        woven.bindings.clear()
        for name, inner in woven.messages:
            if inner.bindings or inner.messages:
                self._writer.start_object(name)
                self._weave(inner)
                self._writer.end_object()
        woven.messages.clear()

    def _collide(self, woven: _Woven, name: str, value: Scalar) -> None:
        left = []
        for bound, said in woven.bindings:
            if bound.name != name:
                left.append((bound, said))
            elif bound.repeated:
                self._writer.render(name, said)
            elif self._reports_collisions and (problem := _difference(name, value, said)):
                self._listener.problem = problem
        woven.bindings = left


def _difference(name: str, in_body: Scalar, said: str) -> str | None:
    """What is wrong with a binding beside what the body says; None if they agree."""
    try:
        if isinstance(in_body, bool):
            kind, same = "bool", False
            same = to_bool(said) == in_body
        elif isinstance(in_body, float):
            kind, same = "double", False
            same = abs(to_double(said) - in_body) < _ALMOST
        elif isinstance(in_body, int):
            kind = "uint64" if in_body >= 0 else "int64"
            low, high = (0, (1 << 64) - 1) if in_body >= 0 else (-(1 << 63), (1 << 63) - 1)
            same = to_int(said, low, high) == in_body
        else:
            kind, same = "string", said == in_body
    except ConversionError:
        return f"Failed to convert binding value {name}:{shown(said)} to {kind}"
    if same:
        return None
    conflict = f"is conflicting with the value {shown(in_body)} in the body."
    return f"The binding value {shown(said)} of the field {name} {conflict}"


class PrefixWriter:
    """Hands on to `writer` what it is told as the value of a field within fields."""

    def __init__(self, prefix: Sequence[str], writer: ObjectWriter) -> None:
        self._prefix = prefix
        self._writer = writer
        self._depth = 0

    def start_object(self, name: str) -> None:
        self._depth += 1
        self._writer.start_object(self._start_prefix(name) if self._depth == 1 else name)

    def end_object(self) -> None:
        self._writer.end_object()
        self._depth -= 1
        self._end_prefix()

    def start_list(self, name: str) -> None:
        self._depth += 1
        self._writer.start_list(self._start_prefix(name) if self._depth == 1 else name)

    def end_list(self) -> None:
        self._writer.end_list()
        self._depth -= 1
        self._end_prefix()

    def render(self, name: str, value: Scalar) -> None:
        self._writer.render(self._start_prefix(name) if not self._depth else name, value)
        self._end_prefix()

    def _start_prefix(self, name: str) -> str:
        for step in self._prefix:
            self._writer.start_object(name)
            name = step
        return name

    def _end_prefix(self) -> None:
        if not self._depth:
            for _ in self._prefix:
                self._writer.end_object()
