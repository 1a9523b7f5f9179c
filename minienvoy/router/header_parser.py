"""Headers that a route adds and removes.

Envoy: `Router::HeaderParser`; docs "Custom request/response headers". Values are formats of the access log's language.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..access_log.context import FormatterContext
from ..config.fields import honours
from ..errors import ConfigError
from ..http.header_map import (
    Entry,
    HeaderMap,
    RequestHeaderMap,
    ResponseHeaderMap,
    entry,
    is_valid_value,
    suspect,
    without_controls,
)
from ..lazy_pattern import lazy_pattern

if TYPE_CHECKING:
    from ..access_log.command import CommandTable
    from ..access_log.context import Sources
    from ..access_log.formatter import Formatter
    from ..stream_info import StreamInfo

honours("envoy.config.core.v3.HeaderValueOption", "header", "append", "append_action", "keep_empty_value")
honours("envoy.config.core.v3.HeaderValue", "key", "value", "raw_value")

_METADATA_OF_LIST: Final = lazy_pattern(r"%(UPSTREAM|DYNAMIC)_METADATA\(\s*(\[[^%]+?\])\s*\)%")
_PER_REQUEST_STATE: Final = lazy_pattern(r"%PER_REQUEST_STATE\((.*?)\)%")

APPEND_IF_EXISTS_OR_ADD: Final = 0
ADD_IF_ABSENT: Final = 1
OVERWRITE_IF_EXISTS_OR_ADD: Final = 2
OVERWRITE_IF_EXISTS: Final = 3


class _Addition:
    """One header to add; `ready` is the finished entry if its value does not depend on the stream."""

    __slots__ = ("action", "formatter", "keep_empty", "name", "ready")

    def __init__(self, name: bytes, formatter: Formatter, action: int, keep_empty: bool) -> None:
        self.name = name
        self.formatter = formatter
        self.action = action
        self.keep_empty = keep_empty
        self.ready: Entry | None = None
        if formatter.constant is not None:
            self.ready = suspect(entry(name, formatter.constant.encode("latin-1")))


class HeaderParser:
    """What one level (route, virtual host, route configuration, weighted cluster) does to the headers."""

    __slots__ = ("_additions", "_removals")

    def __init__(self, additions: Sequence[_Addition], removals: Sequence[bytes]) -> None:
        self._additions = tuple(additions)
        self._removals = tuple(removals)

    @classmethod
    def from_proto(
        cls,
        to_add: Iterable[Any],
        to_remove: Iterable[str],
        path: str,
        sources: Sources | None,
        added: CommandTable | None = None,
    ) -> HeaderParser | None:
        """None if there is nothing to do. `added` are commands that whoever asks names itself.

        Raises:
            ConfigError: a format that is none, or a header that may not be touched.
        """
        additions = [_addition(option, f"{path}_to_add[{at}]", sources, added) for at, option in enumerate(to_add)]
        removals: list[bytes] = []
        for at, name in enumerate(to_remove):
            lower = name.lower()
            if lower.startswith(":") or lower == "host":
                raise ConfigError(":-prefixed or host headers may not be removed", f"{path}_to_remove[{at}]")
            removals.append(lower.encode())
        return cls(additions, removals) if additions or removals else None

    def evaluate(
        self,
        headers: HeaderMap,
        stream: StreamInfo,
        request_headers: RequestHeaderMap | None,
        response_headers: ResponseHeaderMap | None,
    ) -> None:
        """Remove, then add."""
        for name in self._removals:
            headers.remove(name)
        context: FormatterContext | None = None
        # What is there is asked for before anything is changed; Envoy overwrites first, and adds when that is done.
        overwritten: list[Entry] = []
        appended: list[Entry] = []
        for each in self._additions:
            item = each.ready
            if item is None:
                if context is None:
                    context = FormatterContext(stream, request_headers, response_headers)
                value = each.formatter.format(context).encode("latin-1")
                if response_headers is None:
                    # The codec refuses to send what it may not.
                    item = suspect(entry(each.name, value))
                else:
                    item = entry(each.name, value if is_valid_value(value) else without_controls(value))
            if not item[1] and not each.keep_empty:
                continue
            action = each.action
            if action == APPEND_IF_EXISTS_OR_ADD:
                appended.append(item)
            elif action == OVERWRITE_IF_EXISTS_OR_ADD:
                overwritten.append(item)
            elif action == ADD_IF_ABSENT:
                if not headers.has(item[0]):
                    appended.append(item)
            elif headers.has(item[0]):
                overwritten.append(item)
        for item in overwritten:
            headers.remove(item[0])
            headers.add_entry(item)
        for item in appended:
            headers.append_entry(item)


def translate_old_commands(text: str) -> str:
    """`%DYNAMIC_METADATA(["ns", "key"])%`, `%UPSTREAM_METADATA([...])%` and `%PER_REQUEST_STATE(key)%` as the access
    log spells them; what is none of these stays as it is."""
    if "METADATA(" in text:
        text = _METADATA_OF_LIST.sub(_metadata_command, text)
    return _PER_REQUEST_STATE.sub(r"%FILTER_STATE(\1:PLAIN)%", text) if "%PER_REQUEST_STATE(" in text else text


def _metadata_command(match: re.Match[str]) -> str:
    import json  # hardly any configuration has it

    try:
        keys = json.loads(match[2])
    except ValueError:
        return match[0]
    if not keys or not all(isinstance(key, str) for key in keys):
        return match[0]
    return f"%{match[1]}_METADATA({':'.join(keys)})%"


def _addition(option: Any, path: str, sources: Sources | None, added: CommandTable | None) -> _Addition:
    from ..access_log.formatter import compile_format

    name = option.header.key.lower()
    value = option.header.value  # Envoy does not look at raw_value here.
    if option.HasField("append"):
        if option.append_action:
            raise ConfigError("Both append and append_action are set and it's not allowed", path)
        action = APPEND_IF_EXISTS_OR_ADD if option.append.value else OVERWRITE_IF_EXISTS_OR_ADD
    else:
        action = option.append_action
    if name.startswith(":") or name == "host":
        raise ConfigError(":-prefixed or host headers may not be modified", f"{path}.header.key")
    try:
        formatter = compile_format(translate_old_commands(value), sources, omit_empty_values=True, added=added or {})
    except ConfigError as error:
        raise ConfigError(error.problem, f"{path}.header.value", remedy=error.remedy) from None
    return _Addition(name.encode(), formatter, action, option.keep_empty_value)
