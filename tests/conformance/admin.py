"""How the body of an admin answer is compared: as it stands, or as the shape of its JSON.

`body: shape` keeps keys and types, `body: keys` the keys of the top level, `body: words` the text with numbers, hashes
and paths that belong to a build or a run replaced, `body: none` nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from . import messages

_NUMBER = re.compile(r"(?<![\w.])\d+(\.\d+)?(?![\w.])")


def reader(how: str) -> Callable[[messages.Message], list[str]]:
    ways: dict[str, Callable[[str], list[str]]] = {
        "shape": lambda body: json.dumps(shape(json.loads(body)), indent=1).splitlines(),
        "keys": lambda body: sorted(json.loads(body)),
        "words": lambda body: [_NUMBER.sub("<n>", line) for line in body.splitlines()],
        "sorted": lambda body: sorted({_NUMBER.sub("<n>", line) for line in body.splitlines()}),
        "none": lambda body: [],
    }
    way = ways[how]

    def show(message: messages.Message) -> list[str]:
        body = message.body.decode("utf-8", "replace")
        try:
            shown = way(body)
        except ValueError:
            shown = ["<not JSON>", *body.splitlines()[:5]]
        return [*messages.lines(message.head), "", *shown]

    return show


def shape(value: Any) -> Any:
    """Keys and types: of a list, the distinct shapes of its elements."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        shapes: list[Any] = []
        for item in value:
            if (one := shape(item)) not in shapes:
                shapes.append(one)
        return shapes
    return type(value).__name__
