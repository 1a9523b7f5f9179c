"""YAML the way Envoy reads it.

Envoy: `ValueUtil::loadFromYaml`, `parseYamlNode` (source/common/protobuf/yaml_utility.cc) over yaml-cpp. Its types are
not those of YAML 1.1: `n` is a boolean, `1.5` and dates are strings, an integer that does not fit 32 bits is a
string, merge keys mean nothing, a tag other than `!ignore` only decides whether a quoted scalar stays a string.

The document is built from parser events, not by recursion, and what an alias repeats is counted each time it is
repeated: neither deep nesting nor an alias bomb costs more than a bounded amount of memory and time.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from minienvoy.errors import ConfigError

MAX_DEPTH = 500
"""Nesting that is read at all. The JSON rules that come afterwards allow 100 levels, so nothing usable is refused."""

MAX_NODES = 2_000_000
"""Scalars, lists and maps of a document, with everything that aliases repeat."""

_BOOLS = {
    word: value
    for words, value in ((("y", "yes", "true", "on"), True), (("n", "no", "false", "off"), False))
    for low in words
    for word in (low, low.capitalize(), low.upper())
}
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|[0-9]+)", re.ASCII)
_IGNORE = "!ignore"
_MAX_REREAD = 1 << 20
"""Characters; PyYAML's own parser takes about a second for as many."""
_UNPRINTABLE = "[^\x09\x0a\x0d\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
"""What PyYAML's own reader looks for, letter for letter."""
_UNPRINTABLE_BY_NAME = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]"
"""The same characters, by naming them."""
_NO_KEY: Any = object()
_IGNORED_KEY: Any = object()


def scalar(text: str) -> Any:
    """What a plain scalar means to Envoy: None, a bool, an int of 32 bits, or a string."""
    if text in _BOOLS:
        return _BOOLS[text]
    if text in _NULLS:
        return None
    if not text[0].isalpha() and len(text) < 32 and _INTEGER.fullmatch(text):
        digits = text.lstrip("+-")
        try:
            if digits[:2] in ("0x", "0X"):
                number = int(digits, 16)
            elif digits[0] == "0":
                number = int(digits, 8)
            else:
                number = int(digits)
        except ValueError:  # 08: yaml-cpp reads a leading zero as octal, and gives up
            return text
        number = -number if text[0] == "-" else number
        if -(2**31) <= number < 2**31:
            return number
    return text


def _import_yaml() -> None:
    """Import the package `yaml`, at a third of what that costs.

    Two thirds is one pattern, of a reader that is not even used where libyaml is: `re` goes through each of the 65,000
    characters that it excludes, twice (8 ms). Who asks `re` for it gets an equal one that names the 2,100 others.
    """
    if "yaml" not in sys.modules:
        known = getattr(re, "_cache", None)
        if isinstance(known, dict):
            known[str, _UNPRINTABLE, 0] = re.compile(_UNPRINTABLE_BY_NAME)
    import yaml  # noqa: F401


def new_parser(text: str) -> Any:
    """A source of YAML events: libyaml where PyYAML was built with it, else PyYAML's own (ten times slower)."""
    try:
        from yaml._yaml import CParser
    except ImportError:
        return _slow_parser(text)
    return CParser(text)


def _slow_parser(text: str) -> Any:
    from yaml import SafeLoader

    return SafeLoader(text)


def _errors() -> tuple[type[Exception], ...]:
    """What parsers raise: libyaml's keeps the classes of the `yaml` that was imported first in this process."""
    from yaml.error import YAMLError

    try:
        from yaml import _yaml
    except ImportError:
        return (YAMLError,)
    libyaml: Any = _yaml
    return YAMLError, libyaml.YAMLError


def read_yaml(text: str, name: str = "") -> Any:
    """The first document of `text` as None, bool, int, str, list and dict; None if there is no document.

    What an alias repeats is the same object, not a copy.

    Raises:
        ConfigError: at `name:line:column`, for what is not YAML, an unknown or recursive alias, a key that is not a
            scalar, and documents deeper than `MAX_DEPTH` or larger than `MAX_NODES`.
    """
    _import_yaml()
    from yaml.error import MarkedYAMLError, YAMLError

    try:
        try:
            return _read(new_parser(text), name)
        except _errors() as error:
            if not isinstance(error, YAMLError):
                # Of a `yaml` that was imported before; what is wrong is told as this one does.
                return _read(_slow_parser(text), name)
            if len(text) > _MAX_REREAD:
                raise
            # What is wrong is told in one way, whether libyaml is there or not.
            return _read(_slow_parser(text), name)
    except MarkedYAMLError as error:
        problem = error.problem or error.context or "not YAML"
        raise _error(problem, error.problem_mark or error.context_mark, name) from None
    except YAMLError as error:
        raise ConfigError(f"yaml-cpp: {error}", location=name) from None


def _error(problem: str, mark: Any, name: str) -> ConfigError:
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    return ConfigError(
        f"yaml-cpp: error at line {line}, column {column}: {problem}",
        location=f"{name}:{line}:{column}" if name else "",
    )


def _read(parser: Any, name: str) -> Any:
    # Events go by the names of their classes: where `yaml` was imported anew (test runners and reloaders do that),
    # there are several of each, and libyaml's parser makes the first.
    next_event = parser.get_event
    root: list[Any] = []
    container: Any = root  # the list or dict that is being filled
    key: Any = _NO_KEY  # of a dict: the key whose value comes next
    stack: list[tuple[Any, Any, bool, str | None, int]] = []
    anchors: dict[str, tuple[Any, int] | None] = {}
    nodes = 0
    while True:
        event = next_event()
        kind = type(event).__name__
        if kind == "ScalarEvent":
            anchor = event.anchor
            if container.__class__ is dict and key is _NO_KEY:
                key = event.value
                if not event.style and key in _NULLS:
                    key = "null"
                if anchor is not None:
                    anchors[anchor] = (key, 1)
                if event.tag == _IGNORE:
                    key = _IGNORED_KEY
                continue
            tag, text = event.tag, event.value
            # A quoted scalar carries the tag "!" unless it was given another one, which makes it as good as plain.
            value = text if (event.style and tag is None) or tag == "!" else scalar(text)
            size = 1
        elif kind == "MappingStartEvent" or kind == "SequenceStartEvent":
            anchor = event.anchor
            if container.__class__ is dict and key is _NO_KEY:
                raise _error("bad conversion", event.start_mark, name)
            if len(stack) >= MAX_DEPTH:
                raise _error(f"nested deeper than {MAX_DEPTH} levels", event.start_mark, name)
            new: Any = {} if kind == "MappingStartEvent" else []
            if anchor is not None:
                anchors[anchor] = None
            ignored = event.tag == _IGNORE and container.__class__ is list
            stack.append((container, key, ignored, anchor, nodes))
            nodes += 1
            container, key = new, _NO_KEY
            continue
        elif kind == "MappingEndEvent" or kind == "SequenceEndEvent":
            value = container
            container, key, ignored, anchor, before = stack.pop()
            size = nodes - before
            if anchor is not None:
                anchors[anchor] = (value, size)
                anchor = None
            if ignored:
                continue
            nodes = before  # counted again with its size below
        elif kind == "AliasEvent":
            anchor = None
            known = anchors.get(event.anchor)
            if known is None:
                problem = (
                    f"the anchor {event.anchor} is an alias of itself"
                    if event.anchor in anchors
                    else f"the referenced anchor is not defined: {event.anchor}"
                )
                raise _error(problem, event.start_mark, name)
            value, size = known
            if container.__class__ is dict and key is _NO_KEY:
                if not isinstance(value, str):
                    raise _error("bad conversion", event.start_mark, name)
                key = value
                continue
        elif kind == "StreamEndEvent" or kind == "DocumentEndEvent":
            return root[0] if root else None
        elif kind == "StreamStartEvent" or kind == "DocumentStartEvent":
            continue
        else:
            raise ConfigError(f"yaml-cpp: the parser says {kind}", location=name)
        if anchor is not None:
            anchors[anchor] = (value, size)
        nodes += size
        if nodes > MAX_NODES:
            raise _error(f"more than {MAX_NODES} values, with those that aliases repeat", event.start_mark, name)
        if container.__class__ is dict:
            if key is not _IGNORED_KEY:
                container[key] = value
            key = _NO_KEY
        elif kind != "ScalarEvent" or event.tag != _IGNORE:
            container.append(value)
