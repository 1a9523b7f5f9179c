"""Access log lines that are one JSON object.

Envoy: `Formatter::JsonFormatterImpl`. Keys come out sorted. A string that is one command is the command's own value
(a number, an object, `null` for what does not exist), any other string is text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .command import CommandTable, Json
from .context import FormatterContext, Sources
from .formatter import NO_COMMANDS, Formatter, parse_format
from .json_text import json_string, json_value

Node = str | Json
"""A value that never changes, already written out, or a function that writes it."""


class JsonFormatter:
    """A compiled `json_format`.

    Attributes:
        constant: the line, if nothing in it depends on the stream, else None.
    """

    __slots__ = ("_getters", "_template", "_tree", "constant")

    def __init__(
        self,
        fields: Mapping[str, Any],
        sources: Sources | None = None,
        omit_empty_values: bool = False,
        added: CommandTable = NO_COMMANDS,
    ) -> None:
        """`fields` are plain values as protobuf's `Struct` holds them; `added` are the commands of `formatters`.

        Raises:
            ConfigError: if a format in it is wrong.
        """
        self._tree: Json | None = None
        self._template = ""
        self._getters: tuple[Json, ...] = ()
        self.constant: str | None = None
        if omit_empty_values:
            # What is left out depends on the stream, so that there can be no template.
            node = _compile_tree(fields, sources, added)
            if callable(node):
                self._tree = node
            else:
                self.constant = ("{}" if node == "null" else node) + "\n"
            return
        getters: list[Json] = []
        self._template = _compile_template(fields, sources, getters, added) + "\n"
        self._getters = tuple(getters)
        if not getters:
            self.constant = self._template.replace("%%", "%")

    def format(self, context: FormatterContext) -> str:
        """The line for `context`, with its new line; its characters are bytes (latin-1)."""
        if self.constant is not None:
            return self.constant
        if self._tree is not None:
            line = self._tree(context)
            return "{}\n" if line == "null" else line + "\n"
        return self._template % tuple([get(context) for get in self._getters])


def _leaf(text: str, sources: Sources | None, omit_empty_values: bool, added: CommandTable) -> Node:
    pieces = parse_format(text, sources, added)
    if len(pieces) == 1 and not isinstance(pieces[0], str):
        return pieces[0].json
    formatter = Formatter(pieces, omit_empty_values)
    if formatter.constant is not None:
        return json_string(formatter.constant)
    return lambda context: json_string(formatter.format(context))


def _compile_template(value: Any, sources: Sources | None, getters: list[Json], added: CommandTable) -> str:
    if isinstance(value, str):
        node = _leaf(value, sources, False, added)
        if isinstance(node, str):
            return node.replace("%", "%%")
        getters.append(node)
        return "%s"
    if isinstance(value, Mapping):
        fields = (
            json_value(key).replace("%", "%%") + ":" + _compile_template(value[key], sources, getters, added)
            for key in sorted(value)
        )
        return "{" + ",".join(fields) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_compile_template(item, sources, getters, added) for item in value) + "]"
    return json_value(value).replace("%", "%%")


def _compile_tree(value: Any, sources: Sources | None, added: CommandTable) -> Node:
    """Like `_compile_template` for `omit_empty_values`: `null` is what the object or list around it leaves out."""
    if isinstance(value, str):
        return _leaf(value, sources, True, added)
    if isinstance(value, Mapping):
        fields = [(json_value(key) + ":", _compile_tree(value[key], sources, added)) for key in sorted(value)]
        return _joined(fields, "{", "}", lambda parts: bool(parts))
    if isinstance(value, (list, tuple)):
        items = [("", _compile_tree(item, sources, added)) for item in value]
        return _joined(items, "[", "]", lambda parts: True)
    return json_value(value)


def _joined(nodes: list[tuple[str, Node]], before: str, after: str, kept: Callable[[list[str]], bool]) -> Node:
    def write(context: FormatterContext) -> str:
        parts = []
        for name, node in nodes:
            text = node if isinstance(node, str) else node(context)
            if text != "null":
                parts.append(name + text)
        return before + ",".join(parts) + after if kept(parts) else "null"

    return write
