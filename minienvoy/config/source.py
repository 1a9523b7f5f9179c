"""Where a field of a message stands in the file it was read from.

Envoy has no counterpart: its errors name a JSON offset at best. The text is only looked at when there is an error to
show; until then a source costs nothing.
"""

from __future__ import annotations

from typing import Any

from minienvoy.lazy_pattern import lazy_pattern
from minienvoy.record import record

_STEP = lazy_pattern(r'(?:^|\.)([^.\[\]]+)|\[(\d+)\]|\["((?:[^"]|"(?!\]))*)"\]')

Steps = list[str | int]

MAX_SIZE = 1 << 20
"""Characters of a text in which places are looked up: the tree that it takes has hundreds of bytes for each value."""


def steps_of(path: str) -> Steps:
    """A field path as keys and indices; `<any>` and its like, which stand for no key, are left out."""
    steps: Steps = []
    for match in _STEP.finditer(path):
        name, index, key = match.groups()
        if index is not None:
            steps.append(int(index))
        elif key is not None:
            steps.append(key)
        elif not name.startswith("<"):
            steps.append(name)
    return steps


@record
class Found:
    """Where a path leads: the place as text, how many of its steps are in the text, and how many elements are there."""

    location: str
    matched: int
    size: int


class Source:
    """A configuration text, its name, and how it is written: `yaml`, `json`, or something without positions."""

    def __init__(self, name: str = "", text: str = "", syntax: str = "") -> None:
        self.name = name
        self._text = text
        self._syntax = syntax
        self._tree: Any = None
        self._children: dict[int, Any] = {}

    def locate(self, path: str) -> str:
        """`file:line:column` of the field at `path`, or of the nearest thing above it that is in the text.

        The name alone where positions are not known (a dict, a binary); empty if there is no name either.
        """
        return self.find(steps_of(path)).location

    def find(self, steps: Steps) -> Found:
        """What is known of the field that `steps` lead to."""
        if not 0 < len(self._text) <= MAX_SIZE or self._syntax not in ("yaml", "json"):
            return Found(self.name, 0, 0)
        position, matched, size = self._in_yaml(steps) if self._syntax == "yaml" else self._in_json(steps)
        return Found(f"{self.name or '<config>'}:{position}" if position else self.name, matched, size)

    def _in_yaml(self, steps: Steps) -> tuple[str, int, int]:
        import yaml

        if self._tree is None:
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(self._text)
            try:
                self._tree = loader.get_node() if loader.check_node() else False
            except yaml.YAMLError:
                self._tree = False
            finally:
                loader.dispose()
        node = self._tree
        if not node:
            return "", 0, 0
        mark = node.start_mark
        matched = 0
        for step in steps:
            if isinstance(step, int):
                if isinstance(node, yaml.SequenceNode):
                    items = self._elements(node)
                    if step >= len(items):
                        break
                    node = items[step]
                    mark = node.start_mark
                elif step:
                    break  # one value stands for a list of one
            else:
                members = self._members(node) if isinstance(node, yaml.MappingNode) else {}
                found = members.get(step) or members.get(_json_name(step))
                if found is None:
                    break
                mark, node = found[0].start_mark, found[1]
            matched += 1
        size = len(self._elements(node)) if isinstance(node, yaml.SequenceNode) else 1
        return f"{mark.line + 1}:{mark.column + 1}", matched, size

    def _elements(self, node: Any) -> Any:
        """The elements of a YAML list that count."""
        found = self._children.get(id(node))
        if found is None:
            found = self._children[id(node)] = [item for item in node.value if item.tag != "!ignore"]
        return found

    def _members(self, node: Any) -> Any:
        """Key -> (key node, value node) of a YAML map; of a key that stands twice the last one counts."""
        found = self._children.get(id(node))
        if found is None:
            found = self._children[id(node)] = {
                key.value: (key, value) for key, value in node.value if isinstance(key.value, str)
            }
        return found

    def _in_json(self, steps: Steps) -> tuple[str, int, int]:
        from minienvoy.errors import ConfigError

        from .json_reader import position, read_json

        text = self._text.removeprefix("\ufeff")
        if self._tree is None:
            self._tree = {}
            try:
                read_json(text, positions=self._tree)
            except ConfigError:
                pass  # what was read before the error is still known
        at, matched = 0, 0
        known: tuple[str | int, ...] = ()
        for step in steps:
            names = (step,) if isinstance(step, int) else (step, _json_name(step))
            name = next((name for name in names if (*known, name) in self._tree), None)
            if name is not None:
                known = (*known, name)
                at = self._tree[known]
            elif step != 0:
                break  # 0 may be the one value that stands for a list
            matched += 1
        size = 0
        while (*known, size) in self._tree:
            size += 1
        return position(text, at), matched, size or 1


class MergedSource(Source):
    """Two texts whose messages were merged: the second replaced scalars of the first and added to its lists."""

    def __init__(self, base: Source, override: Source) -> None:
        super().__init__(base.name)
        self._base = base
        self._override = override

    def find(self, steps: Steps) -> Found:
        """In the override what it has of its own; its elements of a list are counted after those of the base."""
        for number, step in enumerate(steps):
            if isinstance(step, int):
                above = self._base.find(steps[:number])
                in_base = above.size if above.matched == number else 0
                if step < in_base:
                    return self._base.find(steps)
                return self._override.find([*steps[:number], step - in_base, *steps[number + 1 :]])
        override = self._override.find(steps)
        return override if override.matched == len(steps) else self._base.find(steps)


def _json_name(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)
