"""How the body of an admin answer is compared: as it stands, or as less than that.

`body: json` sorts the keys (Envoy's `Struct`s have no order), `body: shape` keeps keys and types, `body: keys` the keys
of the top level, `body: words` the text with its numbers replaced, `body: sorted` the same sorted, `body: stats`
statistics with the values of those that are never the same twice replaced, `body: names` the names of statistics,
`body: none` nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from . import messages

_NUMBER = re.compile(r"(?<![\w.])\d+(\.\d+)?(?![\w.])")


_RESTLESS = re.compile(
    r"^(server\.|filesystem\.|main_thread\.|workers\.|overload\.|tls_inspector\.|dns\.|(http|listener)\.admin\.|"
    r".*(_ms|_time|downstream_cx_tx_bytes_total|_buffered|length_ms)$)"
)
_SAMPLE = re.compile(r"^(envoy_\w+(?:\{.*\})?) (\S+)$")


def _statistic(line: str) -> str:
    """A line of /stats or /stats/prometheus with restless values replaced."""
    if sample := _SAMPLE.match(line):
        name, value = sample[1], sample[2]
        restless = re.search(r"_ms|_time|tx_bytes|_buffered|envoy_server|admin|envoy_filesystem", name)
        return f"{name} {'<n>' if restless else value}"
    name, colon, value = line.partition(": ")
    if not colon or line.startswith("#"):
        return line
    if value.startswith(("P0(", "No recorded")):
        return f"{name}: <histogram>"
    return f"{name}: {'<n>' if _RESTLESS.match(name) else value}"


def reader(how: str) -> Callable[[messages.Message], list[str]]:
    ways: dict[str, Callable[[str], list[str]]] = {
        "shape": lambda body: json.dumps(shape(json.loads(body)), indent=1).splitlines(),
        "json": lambda body: json.dumps(json.loads(body), indent=1, sort_keys=True).splitlines(),
        "keys": lambda body: sorted(json.loads(body)),
        "words": lambda body: [_NUMBER.sub("<n>", line) for line in body.splitlines()],
        "sorted": lambda body: sorted({_NUMBER.sub("<n>", line) for line in body.splitlines()}),
        "stats": lambda body: [_statistic(line) for line in body.splitlines()],
        "names": lambda body: [line.partition(": ")[0] for line in body.splitlines()],
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


def shape(value: Any, without_order: bool = False) -> Any:
    """Keys and types: of a list, the distinct shapes of its elements. A proto map has no order, a message has."""
    if isinstance(value, dict):
        items = sorted(value.items()) if without_order else value.items()
        return {key: shape(item, key in ("metadata", "static_layer")) for key, item in items}
    if isinstance(value, list):
        shapes: list[Any] = []
        for item in value:
            if (one := shape(item)) not in shapes:
                shapes.append(one)
        return shapes
    return type(value).__name__
