"""Header names go on in the case in which they came.

Envoy: `envoy.http.stateful_header_formatters.preserve_case`
(`source/extensions/http/header_formatters/preserve_case`).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from ....config.fields import honours
from ....http.http1.header_formatter import (
    STATEFUL_HEADER_FORMATTERS,
    KeyFormatter,
    MakeStatefulFormatter,
    proper_case_words,
)

CONFIG_TYPE: Final = "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"
PROPER_CASE: Final = 1

honours(CONFIG_TYPE, "forward_reason_phrase", "formatter_type_on_envoy_headers")


class PreserveCase:
    """Of one message: of a name that came in several cases the first counts for all."""

    __slots__ = ("_names", "_other", "reason")

    def __init__(self, forward_reason: bool, other: KeyFormatter | None, head: bytes) -> None:
        start_line, *lines = head.split(b"\n")
        names: dict[bytes, bytes] = {}
        for line in lines:
            name = line.partition(b":")[0]
            names.setdefault(name.lower(), name)
        self._names = names
        self._other = other
        self.reason = b""
        if forward_reason and start_line.startswith(b"HTTP/"):
            _, _, rest = start_line.rstrip(b"\r").partition(b" ")
            self.reason = rest.lstrip(b" ").partition(b" ")[2]

    def __call__(self, name: bytes) -> bytes:
        known = self._names.get(name)
        if known is not None:
            return known
        return name if self._other is None else self._other(name)


@STATEFUL_HEADER_FORMATTERS.register("envoy.http.stateful_header_formatters.preserve_case", CONFIG_TYPE)
def create_preserve_case(config: Any) -> MakeStatefulFormatter:
    other = proper_case_words if config.formatter_type_on_envoy_headers == PROPER_CASE else None
    return partial(PreserveCase, config.forward_reason_phrase, other)
