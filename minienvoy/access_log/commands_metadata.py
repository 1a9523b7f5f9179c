"""Commands about metadata and filter state, and `COALESCE`, which chooses among other commands.

Envoy: `MetadataFormatter`, `FilterStateFormatter`, `CoalesceFormatter`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ..errors import ConfigError
from ..network.address import Address
from ..stream_info import FieldsState, MessageState, OpaqueState, StreamInfo, StructuredState, TextState
from .command import (
    LENGTH_ALLOWED,
    PARAMS_OPTIONAL,
    PARAMS_REQUIRED,
    Arguments,
    Command,
    CommandTable,
    Maker,
    command,
    wire,
)
from .context import FormatterContext
from .json_text import json_string, json_value

COMMANDS: Final[CommandTable] = {}

MetadataOf = Callable[[StreamInfo], "Mapping[str, Any] | None"]


def _host_metadata(info: StreamInfo) -> Mapping[str, Any] | None:
    return None if info.upstream_host is None else info.upstream_host.metadata


def _dynamic_metadata(info: StreamInfo) -> Mapping[str, Any] | None:
    return info._dynamic_metadata


def _cluster_metadata(info: StreamInfo) -> Mapping[str, Any] | None:
    return info.cluster_metadata


_METADATA_TYPES: Final[dict[str, MetadataOf]] = {
    "DYNAMIC": _dynamic_metadata,
    "CLUSTER": _cluster_metadata,
    "ROUTE": lambda info: info.route_metadata,
    "VIRTUAL_HOST": lambda info: info.virtual_host_metadata,
    "UPSTREAM_HOST": _host_metadata,
    "LISTENER": lambda info: info.connection.listener_metadata,
    "LISTENER_FILTER_CHAIN": lambda info: info.connection.filter_chain_metadata,
}


def _value_command(value_of: Callable[[FormatterContext], Any], max_length: int | None) -> Command:
    """Prints strings as they are and everything else as JSON; None is what does not exist."""

    def text(context: FormatterContext) -> str | None:
        value = value_of(context)
        if value is None:
            return None
        return (wire(value) if isinstance(value, str) else json_value(value))[:max_length]

    def json(context: FormatterContext) -> str:
        value = value_of(context)
        if max_length is not None and isinstance(value, str):
            value = wire(value)[:max_length]
            return json_string(value)
        return json_value(value)

    return Command(text, json)


def _metadata_command(metadata_of: MetadataOf, argument: str, max_length: int | None) -> Command:
    path = argument.split(":")

    def value_of(context: FormatterContext) -> Any:
        value: Any = metadata_of(context.stream_info)
        for key in path:
            if not isinstance(value, Mapping):
                return None
            value = value.get(key)
        return value

    return _value_command(value_of, max_length)


def _metadata_maker(metadata_of: MetadataOf) -> Maker:
    return lambda arguments: _metadata_command(metadata_of, arguments.argument, arguments.max_length)


COMMANDS["DYNAMIC_METADATA"] = (PARAMS_REQUIRED | LENGTH_ALLOWED, _metadata_maker(_dynamic_metadata))
COMMANDS["CLUSTER_METADATA"] = (PARAMS_REQUIRED, _metadata_maker(_cluster_metadata))
COMMANDS["UPSTREAM_METADATA"] = (PARAMS_REQUIRED, _metadata_maker(_host_metadata))


@command(COMMANDS, "METADATA", PARAMS_OPTIONAL | LENGTH_ALLOWED)
def _metadata(arguments: Arguments) -> Command:
    kind, _, rest = arguments.argument.partition(":")
    if kind not in _METADATA_TYPES:
        raise ConfigError(f"{kind} is not supported type of metadata")
    return _metadata_command(_METADATA_TYPES[kind], rest, arguments.max_length)


def state_text(value: Any) -> str | None:
    """An object of the filter state as text (`serializeAsString`); None if it has none."""
    if isinstance(value, (StructuredState, FieldsState)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.text if isinstance(value, Address) else str(value)


def state_field(value: Any, field: str) -> str | None:
    """What an object of the filter state has under that name (`getField`); None if there is nothing."""
    if isinstance(value, (StructuredState, Address)):
        return None
    found = value.get(field) if isinstance(value, Mapping) else getattr(value, field, None)
    return None if found is None else str(found)


def _filter_state_maker(state_of: Callable[[StreamInfo], dict[str, Any] | None]) -> Maker:
    def make(arguments: Arguments) -> Command:
        key, *words = arguments.argument.split(":")
        how = (words[0] if words else "") or "TYPED"
        field = words[1] if len(words) > 1 else ""
        if not key:
            raise ConfigError("Invalid filter state configuration, key cannot be empty.")
        if how not in ("PLAIN", "TYPED", "FIELD"):
            raise ConfigError("Invalid filter state serialize type, only support PLAIN/TYPED/FIELD.")
        if (how == "FIELD") != bool(field):
            raise ConfigError("Invalid filter state serialize type, FIELD should be used with the field name.")
        max_length = arguments.max_length

        def value_of(context: FormatterContext) -> Any:
            state = state_of(context.stream_info)
            value = None if state is None else state.get(key)
            if value is None or isinstance(value, OpaqueState) or (isinstance(value, FieldsState) and how != "FIELD"):
                return None
            if how == "TYPED":
                if isinstance(value, (TextState, Address)):
                    return None
                return value.message if isinstance(value, MessageState) else value
            return state_text(value) if how == "PLAIN" else state_field(value, field)

        made = _value_command(value_of, max_length)
        if how != "TYPED":
            return made

        def text(context: FormatterContext) -> str | None:
            value = value_of(context)
            if value is None:
                return None
            state = state_of(context.stream_info)
            in_order = state is not None and isinstance(state.get(key), MessageState)
            # As protobuf prints messages, which may stand in a page.
            printed = json_value(value, in_order=in_order).replace("<", "\\u003c").replace(">", "\\u003e")
            return printed[:max_length]

        return Command(text, made.json)

    return make


def _filter_state(info: StreamInfo) -> dict[str, Any] | None:
    """The stream's own, and behind it that of its connection."""
    own, shared = info._filter_state, info.connection.filter_state
    return own if shared is None else {**shared, **(own or {})}


COMMANDS["FILTER_STATE"] = (
    PARAMS_OPTIONAL | LENGTH_ALLOWED,
    _filter_state_maker(lambda info: _filter_state(info)),
)
# Filters on the upstream side keep their state apart; there are none yet.
COMMANDS["UPSTREAM_FILTER_STATE"] = (PARAMS_OPTIONAL | LENGTH_ALLOWED, _filter_state_maker(lambda info: None))


@command(COMMANDS, "COALESCE", PARAMS_REQUIRED | LENGTH_ALLOWED)
def _coalesce(arguments: Arguments) -> Command:
    """The first of several commands that has something to print."""
    operators = _coalesce_operators(arguments.argument)
    commands = []
    for index, operator in enumerate(operators):
        try:
            commands.append(arguments.compile(*_coalesce_operator(operator)))
        except ConfigError as error:
            problem = error.problem
            if problem.startswith("Not supported field in StreamInfo: "):
                problem = f"unknown command: '{problem.rpartition(' ')[2]}'"
            raise ConfigError(f"COALESCE: failed to parse operator at index {index}: {problem}") from None
    max_length = arguments.max_length

    def text(context: FormatterContext) -> str | None:
        for made in commands:
            value = made.text(context)
            if value is not None and value != "":
                return str(value)[:max_length]
        return None

    def json(context: FormatterContext) -> str:
        for made in commands:
            value = made.text(context)
            if value is not None and value != "":
                if isinstance(value, int):
                    return json_value(value)
                return json_string(value[:max_length])
        return "null"

    return Command(text, json)


def _coalesce_operators(argument: str) -> list[Any]:
    import json

    try:
        settings = json.loads(argument)
    except ValueError as error:
        raise ConfigError(
            f"COALESCE: failed to parse JSON configuration: JSON supplied is not valid. {error}"
        ) from None
    if not isinstance(settings, dict) or "operators" not in settings:
        raise ConfigError("COALESCE: JSON configuration must contain 'operators' array")
    operators = settings["operators"]
    if not isinstance(operators, list):
        raise ConfigError("COALESCE: 'operators' must be an array: key 'operators' missing or not an array")
    if not operators:
        raise ConfigError("COALESCE: 'operators' array must not be empty")
    return operators


def _coalesce_operator(operator: Any) -> tuple[str, str, int | None]:
    if isinstance(operator, str):
        return operator, "", None
    if not isinstance(operator, dict):
        raise ConfigError("operator entry must be either a string (command name) or an object with 'command' field")
    name, argument, length = operator.get("command"), operator.get("param", ""), operator.get("max_length")
    if not isinstance(name, str):
        raise ConfigError("operator object must have 'command' field: key 'command' missing or not a string")
    if not isinstance(argument, str):
        raise ConfigError("'param' field must be a string: key 'param' missing or not a string")
    if length is not None and (not isinstance(length, int) or isinstance(length, bool)):
        raise ConfigError("'max_length' field must be an integer: key 'max_length' missing or not an integer")
    if length is not None and length <= 0:
        raise ConfigError("'max_length' must be a positive integer")
    return name, argument, length
