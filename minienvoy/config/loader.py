"""Configuration files to messages.

Envoy: `InstanceUtil::loadBootstrapConfig` (source/server/server.cc), `MessageUtil::loadFromFile`
(source/common/protobuf/utility.cc). The extension decides the format; `--config-yaml` is parsed on its own and merged
over the file as protobuf merges messages: scalars replace, lists grow, messages merge.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from minienvoy.errors import ConfigError, hide_keys
from minienvoy.lazy_pattern import lazy_pattern
from minienvoy.record import record

from . import schema
from .json_reader import read_json
from .proto_fill import FillError, Unknown, fill
from .source import MergedSource, Source
from .yaml_reader import read_yaml

if TYPE_CHECKING:
    from pathlib import Path

BOOTSTRAP = "envoy.config.bootstrap.v3.Bootstrap"

_TEXT_LINE = lazy_pattern(r"(?s)(?<=^)(\d+:\d+) : '.*': ")
"""What the parser of text protobufs repeats of a line, which may have a password in it."""

MAX_LISTED = 100
"""Unknown fields that are told one by one."""

MAX_FILE_SIZE = 64 << 20
"""Bytes of a configuration file. Envoy has no limit; what is larger is refused before it is read."""


@record
class LoadedConfig:
    """A message, where its fields stand, and what was unknown but allowed to be."""

    message: Any
    source: Source
    warnings: list[str]

    @property
    def bootstrap(self) -> Any:
        """The message, by the name of what it usually is."""
        return self.message


def load_bootstrap(
    path: str | Path | None, config_yaml: str | None = None, *, allow_unknown_static_fields: bool = False
) -> LoadedConfig:
    """Read a bootstrap from `-c` and `--config-yaml`, either of which may be missing; check it against the API.

    Raises:
        ConfigError: the file can not be read, is not of its format, or breaks a rule of the API.
    """
    if path is None and not config_yaml:
        raise ConfigError(
            "At least one of --config-path or --config-yaml or Options::configProto() should be non-empty",
            remedy="give a file with -c",
        )
    if path is not None:
        loaded = load_file(path, BOOTSTRAP, allow_unknown_fields=allow_unknown_static_fields)
        if config_yaml:
            override = load_message(
                config_yaml, BOOTSTRAP, name="<config-yaml>", allow_unknown_fields=allow_unknown_static_fields
            )
            loaded.message.MergeFrom(override.message)
            source = MergedSource(loaded.source, override.source)
            loaded = LoadedConfig(loaded.message, source, loaded.warnings + override.warnings)
    else:
        loaded = load_message(
            config_yaml or "", BOOTSTRAP, name="<config-yaml>", allow_unknown_fields=allow_unknown_static_fields
        )
    check(loaded)
    return loaded


def load_dict(
    value: dict[str, Any], full_name: str = BOOTSTRAP, *, name: str = "", allow_unknown_fields: bool = False
) -> LoadedConfig:
    """A message from plain Python values, typed as the YAML reader types them; validated.

    Raises:
        ConfigError: the values do not fit the message, or break a rule of the API.
    """
    loaded = _from_value(value, full_name, Source(name), allow_unknown_fields)
    check(loaded)
    return loaded


def check(loaded: LoadedConfig) -> None:
    """Validate what was loaded; errors are placed in its source."""
    from .validation import validate

    try:
        validate(loaded.message)
    except ConfigError as error:
        raise ConfigError(error.problem, error.path, loaded.source.locate(error.path), error.remedy) from None


def load_file(
    path: str | Path, full_name: str, *, allow_unknown_fields: bool = False, made: Any = None
) -> LoadedConfig:
    """The message `full_name` from a file, by extension: .yaml .yml .json .pb .pb_text; JSON for any other.

    `made` is the class of the message if it is none of Envoy's API. Constraints are not checked: `check` does that.
    """
    path = os.fspath(path)
    try:
        size = os.stat(path).st_size  # noqa: PTH116
        if size > MAX_FILE_SIZE:
            raise ConfigError(f"the file has {size} bytes, more than {MAX_FILE_SIZE}", location=path)
        with open(path, "rb") as file:  # noqa: PTH123
            data = file.read(MAX_FILE_SIZE + 1)  # a device or a pipe has no size
    except OSError as error:
        raise ConfigError(f"Invalid path: {path}", remedy=error.strerror or str(error)) from None
    if len(data) > MAX_FILE_SIZE:
        raise ConfigError(f"the file has more than {MAX_FILE_SIZE} bytes", location=str(path))
    syntax = {".yaml": "yaml", ".yml": "yaml", ".pb": "pb", ".pb_text": "pb_text"}.get(
        os.path.splitext(path)[1].lower(),  # noqa: PTH122
        "json",
    )
    if syntax == "pb":
        return _from_binary(data, full_name, path, made)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise ConfigError("not UTF-8", location=f"{path}:{line}:{column}") from None
    return load_message(text, full_name, name=path, syntax=syntax, allow_unknown_fields=allow_unknown_fields, made=made)


def load_message(
    text: str,
    full_name: str,
    *,
    name: str = "",
    syntax: str = "yaml",
    allow_unknown_fields: bool = False,
    made: Any = None,
) -> LoadedConfig:
    """The message `full_name` from a text in `syntax`: `yaml`, `json` or `pb_text`; constraints are not checked.

    Raises:
        ConfigError: with `file:line:column` where it can be told.
    """
    if len(text) > MAX_FILE_SIZE:
        raise ConfigError(f"the text has more than {MAX_FILE_SIZE} characters", location=name)
    if syntax == "pb_text":
        return _from_text(text, full_name, name, made)
    if syntax == "json":
        return _from_value(read_json(text, name), full_name, Source(name, text, "json"), allow_unknown_fields, made)
    value = read_yaml(text, name)
    if not isinstance(value, (dict, list)):
        shown = "" if value is None else str(value)
        raise ConfigError(f"Unable to convert YAML as JSON: {shown[:40]}", location=name)
    return _from_value(value, full_name, Source(name, text, "yaml"), allow_unknown_fields, made)


def _from_value(
    value: Any, full_name: str, source: Source, allow_unknown_fields: bool, made: Any = None
) -> LoadedConfig:
    message = (made or schema.message_class(full_name))()
    try:
        unknown = fill(message, value)
    except FillError as error:
        raise ConfigError(
            f"Unable to parse JSON as proto ({error.problem})", error.path, source.locate(error.path)
        ) from None
    if not unknown:
        return LoadedConfig(message, source, [])
    if allow_unknown_fields:
        warnings = [_warning(item, full_name, source) for item in unknown[:MAX_LISTED]]
        if len(unknown) > MAX_LISTED:
            warnings.append(f"{len(unknown) - MAX_LISTED} more unknown fields")
        return LoadedConfig(message, source, warnings)
    raise _unknown_error(unknown, full_name, source)


def _warning(item: Unknown, full_name: str, source: Source) -> str:
    where = source.locate(item.path)
    text = f"Unknown field: type {full_name} reason {item.problem}"
    return f"{where}: {text}" if where else text


def _unknown_error(unknown: list[Unknown], full_name: str, source: Source) -> ConfigError:
    """Envoy's error for the first, and a line for every other one."""
    first, *others = unknown[:MAX_LISTED]
    problem = f"Protobuf message (type {full_name} reason {first.problem}) has unknown fields"
    remedy = _did_you_mean(first)
    lines = []
    for item in others:
        hint = _did_you_mean(item)
        where = ": ".join(part for part in (source.locate(item.path), item.path) if part)
        lines.append(f"\n{where}: {item.problem.rpartition(': ')[2]} is unknown" + (f" ({hint})" if hint else ""))
    if len(unknown) > MAX_LISTED:
        lines.append(f"\nand {len(unknown) - MAX_LISTED} more")
    return ConfigError(problem, first.path, source.locate(first.path), remedy + "".join(lines))


def _did_you_mean(item: Unknown) -> str:
    import difflib

    names = {name.lower(): name for name in item.known}
    close = difflib.get_close_matches(item.name.lower(), names, n=1, cutoff=0.6)
    return f"did you mean '{names[close[0]]}'?" if close else ""


def _from_binary(data: bytes, full_name: str, name: str, made: Any = None) -> LoadedConfig:
    from google.protobuf.message import DecodeError

    message = (made or schema.message_class(full_name))()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise ConfigError(
            f'Unable to parse file "{name}" as a binary protobuf (type {full_name})', location=name
        ) from None
    return LoadedConfig(message, Source(name), [])


def _from_text(text: str, full_name: str, name: str, made: Any = None) -> LoadedConfig:
    from google.protobuf import text_format

    message = (made or schema.message_class(full_name))()
    try:
        text_format.Parse(text, message, descriptor_pool=schema.whole_pool())
    except text_format.ParseError as error:
        line, column = error.GetLine() or 1, error.GetColumn() or 1
        problem = hide_keys(_TEXT_LINE.sub(lambda found: f"{found[1]}: ", str(error)), 20)
        raise ConfigError(
            f'Unable to parse file "{name}" as a text protobuf (type {full_name}): {problem}',
            location=f"{name}:{line}:{column}" if name else "",
        ) from None
    return LoadedConfig(message, Source(name), [])
