"""From the configuration of a format to what formats.

Envoy: `Formatter::SubstitutionFormatStringUtils`, `envoy.config.core.v3.SubstitutionFormatString`.
"""

from __future__ import annotations

import os
from typing import Any, Final, Protocol

from ..config.api import struct_to_dict
from ..config.extension import create_extension, find_extension
from ..config.fields import honours
from ..errors import ConfigError
from .command import CommandTable
from .context import FormatterContext, Sources
from .formatter import FORMATTERS, NO_COMMANDS, compile_format
from .json_formatter import JsonFormatter

honours(
    "envoy.config.core.v3.SubstitutionFormatString",
    "text_format",
    "text_format_source",
    "omit_empty_values",
    "content_type",
    "formatters",
    ignored={"json_format_options": "keys are sorted in any case, as in Envoy"},
    whole=("json_format",),
)
honours(
    "envoy.config.core.v3.DataSource",
    "filename",
    "inline_bytes",
    "inline_string",
    "environment_variable",
)

MAX_FILE_SIZE: Final = 1 << 20
"""Bytes of a file that holds a format; a larger one is surely a mistake."""


class CompiledFormat(Protocol):
    """A `Formatter` or a `JsonFormatter`."""

    @property
    def constant(self) -> str | None: ...
    def format(self, context: FormatterContext) -> str: ...


def compile_substitution_format(proto: Any, sources: Sources | None = None, path: str = "") -> CompiledFormat:
    """Compile a `SubstitutionFormatString`.

    Raises:
        ConfigError: a wrong format, or one that can not be read.
    """
    kind = proto.WhichOneof("format")
    added = compile_formatters(proto.formatters, f"{path}.formatters")
    if kind == "json_format":
        return compile_json_format(proto.json_format, sources, proto.omit_empty_values, f"{path}.json_format", added)
    if kind == "text_format":
        text, path = proto.text_format, f"{path}.text_format"
    else:
        path = f"{path}.text_format_source"
        text = read_data_source(proto.text_format_source, path)
    return compile_format(text, sources, omit_empty_values=proto.omit_empty_values, path=path, added=added)


def compile_formatters(formatters: Any, path: str) -> CommandTable:
    if not formatters:
        return NO_COMMANDS
    added: CommandTable = {}
    for index, each in enumerate(formatters):
        here = f"{path}[{index}]"
        try:
            entry = find_extension(FORMATTERS, each, here)
        except ConfigError as error:
            raise ConfigError(f"Formatter not found: {each.name}", error.path, remedy=error.remedy) from None
        for name, command in create_extension(entry, each, here).items():
            added.setdefault(name, command)
    return added


def compile_json_format(
    struct: Any,
    sources: Sources | None = None,
    omit_empty_values: bool = False,
    path: str = "",
    added: CommandTable = NO_COMMANDS,
) -> JsonFormatter:
    """Compile a `google.protobuf.Struct` of formats; raises ConfigError for a wrong one."""
    try:
        return JsonFormatter(struct_to_dict(struct), sources, omit_empty_values, added)
    except ConfigError as error:
        raise ConfigError(error.problem, path, error.location, error.remedy) from None


def content_type_of(proto: Any) -> str:
    """What a body made with this `SubstitutionFormatString` is, if nothing else says."""
    if proto.content_type:
        return str(proto.content_type)
    return "application/json" if proto.WhichOneof("format") == "json_format" else "text/plain"


def read_data_source(proto: Any, path: str = "") -> str:
    """The text of an `envoy.config.core.v3.DataSource`.

    Raises:
        ConfigError: a file or an environment variable that is not there.
    """
    kind = proto.WhichOneof("specifier")
    if kind == "inline_string":
        return str(proto.inline_string)
    if kind == "inline_bytes":
        data: bytes = proto.inline_bytes
    elif kind == "environment_variable":
        value = os.environ.get(proto.environment_variable)
        if value is None:
            raise ConfigError(f"Environment variable doesn't exist: {proto.environment_variable}", path)
        return value
    elif kind == "filename":
        data = _read_file(proto.filename, f"{path}.filename")
    else:
        raise ConfigError("Unexpected DataSource::specifier_case(): 0", path)
    return data.decode("utf-8", "surrogateescape")


def _read_file(file: str, path: str) -> bytes:
    try:
        with open(file, "rb") as opened:  # noqa: PTH123
            data = opened.read(MAX_FILE_SIZE + 1)
    except FileNotFoundError:
        raise ConfigError(f"file {file} does not exist", path) from None
    except OSError as error:
        raise ConfigError(f"unable to read file: {file}: {error.strerror}", path) from None
    if len(data) > MAX_FILE_SIZE:
        raise ConfigError(f"file {file} size is larger than {MAX_FILE_SIZE} bytes", path)
    return data
