"""Which method a path calls, and what it says about the fields of the request.

Envoy: `google::grpc::transcoding::PathMatcher`, `HttpTemplate`; `google.api.HttpRule` describes the templates:

    Template = "/" Segments [ Verb ]           Segment  = "*" | "**" | LITERAL | Variable
    Segments = Segment { "/" Segment }         Variable = "{" FieldPath [ "=" Segments ] "}"
    Verb     = ":" LITERAL                     `{a}` is short for `{a=*}`

`*` is one part of a path, `**` any number of them, with only literals behind it. Templates make a tree: of the
children of a node literals are tried first, then `*`, then `**`; a path with more than one method is called by none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from .....record import record

_RESERVED: Final = frozenset(b"!#$&'()*+,/:;=?@[]")
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")
EXCEPT_RESERVED, EXCEPT_SLASH, ALL_CHARACTERS = range(3)
"""`UrlUnescapeSpec`: which escapes of a path in several parts are taken for what they stand for."""


class Binding(NamedTuple):
    """What path or query say of the field that `field_path` leads to."""

    field_path: tuple[str, ...]
    value: str


@record
class Variable:
    """Parts `start` to `end` of a path; a negative end counts from the last one (-1 is behind it)."""

    field_path: tuple[str, ...]
    start: int
    end: int


@record
class HttpTemplate:
    segments: tuple[str, ...]
    verb: str
    variables: tuple[Variable, ...]

    @classmethod
    def parse(cls, text: str) -> HttpTemplate | None:
        """None if it is no template."""
        parser = _TemplateParser(text)
        try:
            parser.parse()
        except (ValueError, IndexError):
            return None
        wild = parser.segments.index("**") if "**" in parser.segments else len(parser.segments)
        if any(segment in ("*", "**") for segment in parser.segments[wild + 1 :]):
            return None
        variables = tuple(
            Variable(path, start, end - len(parser.segments) - 1 if "**" in parser.segments[start:end] else end)
            for path, start, end in parser.variables
        )
        return cls(segments=tuple(parser.segments), verb=parser.verb, variables=variables)


class _TemplateParser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.segments: list[str] = []
        self.verb = ""
        self.variables: list[tuple[tuple[str, ...], int, int]] = []

    def parse(self) -> None:
        self._take("/")
        self._segments(in_variable=False)
        if self._sees(":"):
            self.at += 1
            self.verb = self._until("/:}")
        if self.at != len(self.text):
            raise ValueError

    def _sees(self, character: str) -> bool:
        return self.text.startswith(character, self.at)

    def _take(self, character: str) -> None:
        if not self._sees(character):
            raise ValueError
        self.at += 1

    def _until(self, stops: str) -> str:
        begin = self.at
        while self.at < len(self.text) and self.text[self.at] not in stops:
            self.at += 1
        if self.at == begin:
            raise ValueError
        return self.text[begin : self.at]

    def _segments(self, in_variable: bool) -> None:
        self._segment(in_variable)
        while self._sees("/"):
            self.at += 1
            self._segment(in_variable)

    def _segment(self, in_variable: bool) -> None:
        if self._sees("*"):
            wild = "**" if self._sees("**") else "*"
            self.at += len(wild)
            self.segments.append(wild)
        elif self._sees("{"):
            if in_variable:
                raise ValueError
            self._variable()
        else:
            self.segments.append(self._until("/:}"))

    def _variable(self) -> None:
        self._take("{")
        start = len(self.segments)
        names = [self._until(".}=")]
        while self._sees("."):
            self.at += 1
            names.append(self._until(".}="))
        if self._sees("="):
            self.at += 1
            self._segments(in_variable=True)
        else:
            self.segments.append("*")
        self._take("}")
        self.variables.append((tuple(names), start, len(self.segments)))


@dataclass(slots=True)
class _Registered:
    """`method` is None where two have the same template."""

    method: Any
    variables: tuple[Variable, ...]
    body: str


class _Node:
    __slots__ = ("children", "methods", "wildcard")

    def __init__(self, wildcard: bool = False) -> None:
        self.children: dict[str, _Node] = {}
        self.methods: dict[str, _Registered] = {}
        self.wildcard = wildcard

    def result(self, method: str) -> _Registered | None:
        return self.methods.get(method) or self.methods.get("*")


class PathMatcher:
    """`register` the rules, then `lookup`."""

    def __init__(
        self,
        ignored_parameters: Iterable[str] = (),
        unescape_spec: int = EXCEPT_RESERVED,
        unescapes_plus: bool = False,
        matches_unregistered_verb: bool = False,
    ) -> None:
        self._root = _Node()
        self._verbs: set[str] = set()
        self._ignored = frozenset(ignored_parameters)
        self._unescape_spec = unescape_spec
        self._unescapes_plus = unescapes_plus
        self._matches_unregistered_verb = matches_unregistered_verb

    def register(self, http_method: str, path: str, body: str, method: Any) -> bool:
        """False if `path` is no template."""
        template = HttpTemplate.parse(path)
        if template is None:
            return False
        node = self._root
        for segment in template.segments:
            child = node.children.get(segment)
            if child is None:
                child = node.children[segment] = _Node(segment == "**")
            node = child
        key = http_method + template.verb
        registered = _Registered(method, template.variables, body)
        if key in node.methods:
            registered.method = None
        node.methods[key] = registered
        if template.verb:
            self._verbs.add(template.verb)
        return True

    def lookup(self, http_method: str, path: bytes, query: bytes) -> tuple[Any, str, list[Binding]] | None:
        """The method that is called, where the body goes, and what is said beside it; None if there is none."""
        verb = b""
        colon = path.rfind(b":")
        if colon > path.rfind(b"/"):
            last = path[colon + 1 :]
            if self._matches_unregistered_verb or last.decode("latin-1") in self._verbs:
                verb, path = last, path[:colon]
        parts = path[1:].split(b"/")
        while parts and not parts[-1]:
            parts.pop()
        found = _lookup(self._root, [part.decode("latin-1") for part in parts], 0, http_method + verb.decode("latin-1"))
        if found is None or found.method is None:
            return None
        bindings = [self._of_path(variable, parts) for variable in found.variables]
        bindings += self._of_query(query)
        return found.method, found.body, bindings

    def _of_path(self, variable: Variable, parts: list[bytes]) -> Binding:
        end = variable.end if variable.end >= 0 else len(parts) + variable.end + 1
        several = end - variable.start > 1 or variable.end < 0
        spec = self._unescape_spec if several else ALL_CHARACTERS
        value = b"/".join(unescape(part, spec) for part in parts[variable.start : end])
        return Binding(variable.field_path, _text(value))

    def _of_query(self, query: bytes) -> list[Binding]:
        bindings = []
        for parameter in query.split(b"&"):
            name, equals, value = parameter.partition(b"=")
            if not name or not equals or _text(name) in self._ignored:
                continue
            names = tuple(part for part in _text(name.removesuffix(b".")).split("."))
            bindings.append(Binding(names, _text(unescape(value, ALL_CHARACTERS, self._unescapes_plus))))
        return bindings


def _lookup(node: _Node, parts: list[str], at: int, method: str) -> _Registered | None:
    """As deep as the templates are, however long the path is."""
    while at < len(parts):
        child = node.children.get(parts[at])
        if child is not None and (found := _lookup(child, parts, at + 1, method)) is not None:
            return found
        if not node.wildcard:
            for key in ("*", "**"):
                child = node.children.get(key)
                if child is not None and (found := _lookup(child, parts, at + 1, method)) is not None:
                    return found
            return None
        at += 1
    found = node.result(method)
    if found is None and "**" in node.children:
        # No part at all is matched by it, too.
        found = node.children["**"].result(method)
    return found


def unescape(part: bytes, spec: int, plus: bool = False) -> bytes:
    """Percent escapes (and `+`) as what they stand for, but those that `spec` leaves."""
    if b"%" not in part and not plus:
        return part
    out = bytearray()
    at = 0
    while at < len(part):
        byte = part[at]
        if plus and byte == 0x2B:
            byte = 0x20
        elif byte == 0x25 and at + 2 < len(part) and part[at + 1] in _HEX and part[at + 2] in _HEX:
            meant = int(part[at + 1 : at + 3], 16)
            if not (spec == EXCEPT_RESERVED and meant in _RESERVED) and not (spec == EXCEPT_SLASH and meant == 0x2F):
                byte = meant
                at += 2
        out.append(byte)
        at += 1
    return bytes(out)


def _text(value: bytes) -> str:
    """Bytes that are no UTF-8 come out as they went in (`surrogateescape`)."""
    return value.decode("utf-8", "surrogateescape")
