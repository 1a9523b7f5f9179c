"""Where a field of a message stands in the file it was read from.

Envoy has no counterpart: its errors name a JSON offset at best. The text is only looked at when there is an error to
show; until then a source costs nothing.
"""

from __future__ import annotations

import re
from typing import Any

_STEP = re.compile(r'(?:^|\.)([^.\[\]]+)|\[(\d+)\]|\["((?:[^"]|"(?!\]))*)"\]')

Steps = list[str | int]


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


class Source:
    """A configuration text, its name, and how it is written: `yaml`, `json`, or something without positions."""

    def __init__(self, name: str = "", text: str = "", syntax: str = "") -> None:
        self.name = name
        self._text = text
        self._syntax = syntax
        self._tree: Any = None

    def locate(self, path: str) -> str:
        """`file:line:column` of the field at `path`, or of the nearest thing above it that is in the text.

        The name alone where positions are not known (a dict, a binary); empty if there is no name either.
        """
        if not self._text or self._syntax not in ("yaml", "json"):
            return self.name
        steps = steps_of(path)
        position = self._in_yaml(steps) if self._syntax == "yaml" else self._in_json(steps)
        return f"{self.name or '<config>'}:{position}" if position else self.name

    def _in_yaml(self, steps: Steps) -> str:
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
            return ""
        mark = node.start_mark
        for step in steps:
            if isinstance(step, int):
                if not isinstance(node, yaml.SequenceNode):
                    continue  # one value stands for a list of one
                items = [item for item in node.value if item.tag != "!ignore"]
                if step >= len(items):
                    break
                node = items[step]
                mark = node.start_mark
            else:
                found = None
                for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
                    if isinstance(key, yaml.ScalarNode) and _same(key.value, step):
                        found = (key, value)  # the last one counts
                if found is None:
                    break
                mark, node = found[0].start_mark, found[1]
        return f"{mark.line + 1}:{mark.column + 1}"

    def _in_json(self, steps: Steps) -> str:
        from minienvoy.errors import ConfigError

        from .json_reader import position, read_json

        text = self._text.removeprefix("\ufeff")
        if self._tree is None:
            self._tree = {}
            try:
                read_json(text, positions=self._tree)
            except ConfigError:
                pass  # what was read before the error is still known
        at: int = 0
        known: tuple[str | int, ...] = ()
        for step in steps:
            for name in (step, _json_name(step)) if isinstance(step, str) else (step,):
                if (*known, name) in self._tree:
                    known = (*known, name)
                    at = self._tree[known]
                    break
            else:
                if isinstance(step, str):
                    break
        return position(text, at)


def _same(key: str, step: str) -> bool:
    return key == step or key == _json_name(step)


def _json_name(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)
