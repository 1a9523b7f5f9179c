"""What a `%COMMAND(ARGUMENT):LENGTH%` is made of.

Envoy: `Formatter::FormatterProvider`, `CommandSyntaxChecker`, `BuiltInCommandParser`. The commands themselves are in
`commands_*.py`, one module per subject, as Envoy has `stream_info_formatter.cc` and `http_specific_formatter.cc`.

Text in here is `str` whose characters are bytes (latin-1), as in the header maps: a log line may hold any byte, and
what came from a peer leaves as it came. Text that was Unicode becomes its UTF-8 bytes through `wire`.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Final, NamedTuple

from ..errors import ConfigError
from ..stream_info import StreamInfo
from .context import FormatterContext, Sources
from .json_text import json_string

Text = Callable[[FormatterContext], "str | int | None"]
"""Gives what is printed in a text; an int is printed in decimal, None where the thing does not exist."""
Json = Callable[[FormatterContext], str]
"""Gives a JSON value, already written out; `null` where the thing does not exist."""


class Command(NamedTuple):
    """One compiled command: how it prints in a text, and as a value of its own in JSON."""

    text: Text
    json: Json


class Arguments(NamedTuple):
    """What stands behind a command's name, and what the command may use.

    Attributes:
        compile: makes a command of its name, argument and length, for commands that are made of others.
    """

    name: str
    argument: str
    max_length: int | None
    sources: Sources | None
    compile: Callable[[str, str, int | None], Command]

    def needed_sources(self) -> Sources:
        """Raises ValueError where a formatter is made without sources: a mistake of the caller, not of the user."""
        if self.sources is None:
            raise ValueError(f"%{self.name}% needs the server's clock and random numbers")
        return self.sources


Maker = Callable[[Arguments], Command]

COMMAND_ONLY: Final = 0
PARAMS_REQUIRED: Final = 1
PARAMS_OPTIONAL: Final = 2
LENGTH_ALLOWED: Final = 4

CommandTable = dict[str, tuple[int, Maker]]
"""Name -> what may follow it, and what compiles it."""


def command(table: CommandTable, name: str, syntax: int = COMMAND_ONLY) -> Callable[[Maker], Maker]:
    """Put the decorated maker into `table`."""

    def add(maker: Maker) -> Maker:
        table[name] = (syntax, maker)
        return maker

    return add


def check_syntax(name: str, syntax: int, argument: str, max_length: int | None) -> None:
    """Raises ConfigError in Envoy's words if argument or length are missing or unwanted."""
    if syntax == COMMAND_ONLY and (argument or max_length is not None):
        raise ConfigError(f"{name} does not take any parameters or length")
    if syntax & PARAMS_REQUIRED and not argument:
        raise ConfigError(f"{name} requires parameters")
    if not syntax & LENGTH_ALLOWED and max_length is not None:
        raise ConfigError(f"{name} does not allow length to be specified.")


def simple(text: Text) -> Command:
    """A command whose JSON value is what it prints: a number if it is an int, else a string."""

    def json(context: FormatterContext) -> str:
        value = text(context)
        if value is None:
            return "null"
        return json_string(value) if isinstance(value, str) else str(value)

    return Command(text, json)


def truncated(text: Text, max_length: int | None) -> Command:
    """`simple`, cut to `max_length` bytes."""
    if max_length is None:
        return simple(text)

    def cut(context: FormatterContext) -> str | int | None:
        value = text(context)
        return value[:max_length] if isinstance(value, str) else value

    return simple(cut)


def wire(text: str) -> str:
    """Unicode text as `str` of its UTF-8 bytes."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("latin-1")


def reads(getters: dict[str, str | Callable[[StreamInfo], str | int | None]]) -> CommandTable:
    """Commands that take nothing and only read the `StreamInfo`: by a function, or just the attribute that is named."""

    def maker(read: str | Callable[[StreamInfo], str | int | None]) -> Maker:
        if isinstance(read, str):
            made = simple(attrgetter(f"stream_info.{read}"))
        else:
            made = simple(lambda context: read(context.stream_info))
        return lambda arguments: made

    return {name: (COMMAND_ONLY, maker(read)) for name, read in getters.items()}
