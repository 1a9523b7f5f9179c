"""How header names are written when it is not in lower case.

Envoy: `Http1::ProperCaseHeaderKeyFormatter`, `Http::StatefulHeaderKeyFormatter`,
`envoy.http.stateful_header_formatters`; docs "HTTP header casing".

A codec writes names with the formatter that the headers carry (a stateful one, made when they were read), else with its
own. The headers that carry one have the bit `CASED` in `seen`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from ...config.extension import create_extension, find_extension
from ...config.fields import honours
from ...lazy_pattern import lazy_pattern
from ...registry import Registry

honours("envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat", "proper_case_words", "stateful_formatter")
honours("envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat.ProperCaseWords")

KeyFormatter = Callable[[bytes], bytes]
"""Makes the name that goes on the wire from the lower-case one."""


class StatefulKeyFormatter(Protocol):
    """What one message keeps of how it came. `reason` is its reason phrase if that is to go on, else empty."""

    reason: bytes

    def __call__(self, name: bytes) -> bytes: ...


MakeStatefulFormatter = Callable[[bytes], StatefulKeyFormatter]
"""Makes a formatter from the head of a message."""

STATEFUL_HEADER_FORMATTERS: Final[Registry[Callable[[Any], MakeStatefulFormatter]]] = Registry(
    "envoy.http.stateful_header_formatters"
)

_FIRST_LETTER = lazy_pattern(rb"(?:^|(?<=[^0-9A-Za-z]))[a-z]")


def proper_case_words(name: bytes) -> bytes:
    """`content-type` -> `Content-Type`: the first letter, and each after what is no letter or digit, is a capital."""
    return _FIRST_LETTER.sub(lambda match: match[0].upper(), name)


def header_formatters(header_key_format: Any, path: str) -> tuple[KeyFormatter | None, MakeStatefulFormatter | None]:
    """What `Http1ProtocolOptions.header_key_format` asks for: a formatter of the codec, or one for each message.

    Raises:
        ConfigError: below `path`, for a formatter that is not known.
    """
    kind = header_key_format.WhichOneof("header_format")
    if kind == "proper_case_words":
        return proper_case_words, None
    if kind == "stateful_formatter":
        extension = header_key_format.stateful_formatter
        where = f"{path}.stateful_formatter"
        return None, create_extension(find_extension(STATEFUL_HEADER_FORMATTERS, extension, where), extension, where)
    return None, None
