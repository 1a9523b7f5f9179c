"""Format strings with `%COMMANDS%`: access logs, header values, bodies of local replies.

Envoy: `Formatter::FormatterImpl`, `SubstitutionFormatParser`; docs "Substitution formatter". A format is compiled once
into a template and a tuple of functions; formatting calls them and fills the template.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from ..errors import ConfigError
from ..registry import Registry
from . import commands_address, commands_http, commands_metadata, commands_stream, commands_time, commands_tls
from .command import Arguments, Command, CommandTable, Text, check_syntax, wire
from .context import FormatterContext, Sources

DEFAULT_FORMAT: Final = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" '
    '"%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n'
)

COMMANDS: Final[CommandTable] = {
    **commands_address.COMMANDS,
    **commands_http.COMMANDS,
    **commands_metadata.COMMANDS,
    **commands_stream.COMMANDS,
    **commands_time.COMMANDS,
    **commands_tls.COMMANDS,
}
"""Every command of Envoy but the two that evaluate CEL."""

LEFT_OUT: Final = {
    "CEL": "the Common Expression Language is not implemented",
    "TYPED_CEL": "the Common Expression Language is not implemented",
}
"""Envoy's commands that are refused, and why; `docs/supported.md` lists them."""

FORMATTERS: Final[Registry[Callable[[Any], CommandTable]]] = Registry("envoy.formatter")
"""What a format may name in `formatters`: of its configuration, the commands that it adds."""

NO_COMMANDS: Final[CommandTable] = {}

_COMMAND: Final = re.compile(r"%([A-Z0-9_]+)(?:\((.*?)\))?(?::([0-9]{1,20}))?%", re.ASCII)


class Formatter:
    """A compiled format.

    Attributes:
        constant: the text, if the format has no commands, else None.
    """

    __slots__ = ("_getters", "_missing", "_template", "constant")

    def __init__(self, pieces: list[str | Command], omit_empty_values: bool = False) -> None:
        getters: list[Text] = []
        template = ""
        for piece in pieces:
            if isinstance(piece, str):
                template += piece.replace("%", "%%")
            else:
                template += "%s"
                getters.append(piece.text)
        self._template = template
        self._getters = tuple(getters)
        self._missing = "" if omit_empty_values else "-"
        self.constant: str | None = None if getters else template.replace("%%", "%")

    def format(self, context: FormatterContext) -> str:
        """The text for `context`; its characters are bytes (latin-1)."""
        if self.constant is not None:
            return self.constant
        missing = self._missing
        values = [missing if (value := get(context)) is None else value for get in self._getters]
        return self._template % tuple(values)


def parse_format(text: str, sources: Sources | None = None, added: CommandTable = NO_COMMANDS) -> list[str | Command]:
    """Split `text` into literal pieces and compiled commands; `added` are those of `formatters`.

    Raises:
        ConfigError: in Envoy's words, without a path.
    """
    pieces: list[str | Command] = []
    literal = ""
    at = 0
    while at < len(text):
        percent = text.find("%", at)
        if percent < 0:
            literal += text[at:]
            break
        literal += text[at:percent]
        if text.startswith("%%", percent):
            literal += "%"
            at = percent + 2
            continue
        match = _COMMAND.match(text, percent)
        length = None if match is None or match[3] is None else int(match[3])
        if match is None or (length is not None and length >= 1 << 64):
            raise ConfigError(f"Incorrect configuration: {text}. Couldn't find valid command at position {percent}")
        if literal:
            pieces.append(wire(literal))
            literal = ""
        pieces.append(compile_command(match[1], match[2] or "", length, sources, added))
        at = match.end()
    if literal:
        pieces.append(wire(literal))
    return pieces


def compile_command(
    name: str, argument: str, max_length: int | None, sources: Sources | None, added: CommandTable = NO_COMMANDS
) -> Command:
    """One command.

    Raises:
        ConfigError: if there is no such command, or it can not be used like this.
    """
    known = added.get(name) or COMMANDS.get(name)
    if known is None:
        if name in LEFT_OUT:
            raise ConfigError(f"%{name}% is not supported", remedy=LEFT_OUT[name])
        raise ConfigError(f"Not supported field in StreamInfo: {name}")
    syntax, maker = known
    check_syntax(name, syntax, argument, max_length)

    def compile_another(name: str, argument: str, max_length: int | None) -> Command:
        return compile_command(name, argument, max_length, sources, added)

    return maker(Arguments(name, argument, max_length, sources, compile_another))


def compile_format(
    text: str,
    sources: Sources | None = None,
    *,
    omit_empty_values: bool = False,
    path: str = "",
    added: CommandTable = NO_COMMANDS,
) -> Formatter:
    """Compile a format string.

    Args:
        text: as it stands in the configuration.
        sources: clock and random numbers; only `EMIT_TIME`, `UNIQUE_ID` and `DURATION` before the end use them.
        omit_empty_values: print nothing, instead of `-`, for what does not exist.
        path: of the configuration field, for the error.
        added: commands that the format names itself (`formatters`).

    Raises:
        ConfigError: if the format is wrong.
    """
    try:
        return Formatter(parse_format(text, sources, added), omit_empty_values)
    except ConfigError as error:
        raise ConfigError(error.problem, path or error.path, error.location, error.remedy) from None


def default_formatter(sources: Sources | None = None) -> Formatter:
    """Of an access log that has no format of its own."""
    return compile_format(DEFAULT_FORMAT, sources)
