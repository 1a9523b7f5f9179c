"""The bootstrap's say in what the process log looks like.

Envoy: `Utility::assertExclusiveLogFormatMethod`, `maybeSetApplicationLogFormat` (`source/server/utils.cc`); docs
"Application logging". A JSON format becomes a pattern like any other, with the flags inside its strings.
"""

from __future__ import annotations

from typing import Any

from ..config.fields import honours
from ..errors import ConfigError
from ..logger import SINK
from .options import Options

honours("envoy.config.bootstrap.v3.Bootstrap.ApplicationLogConfig", "log_format")
honours("envoy.config.bootstrap.v3.Bootstrap.ApplicationLogConfig.LogFormat", "text_format", whole=("json_format",))

_PATH = "application_log_config.log_format"


def set_log_format(bootstrap: Any, options: Options) -> None:
    """Write the log as `application_log_config` wants it, if it wants something.

    Raises:
        ConfigError: the command line wants something too, or a JSON format has a flag that would break it.
    """
    log_format = bootstrap.application_log_config.log_format
    kind = log_format.WhichOneof("log_format")
    if kind is None:
        return
    if options.log_format_set:
        raise ConfigError(
            "Only one of ApplicationLogConfig.log_format or CLI option --log-format can be specified.", _PATH
        )
    pattern = log_format.text_format if kind == "text_format" else json_pattern(log_format.json_format)
    SINK.set_format(pattern, options.log_format_escaped)


def json_pattern(fields: Any) -> str:
    """The pattern that a `google.protobuf.Struct` of flags stands for; keys come out sorted.

    Raises:
        ConfigError: a flag writes a message that is not escaped for JSON.
    """
    import json

    pattern = json.dumps(_plain(fields), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    for flag in ("%v", "%_"):
        if flag in pattern:
            raise ConfigError(
                f"setJsonLogFormat error: INVALID_ARGUMENT: Usage of {flag} is unavailable for JSON log formats",
                f"{_PATH}.json_format",
                remedy="%j is the message, escaped",
            )
    return pattern


def _plain(value: Any) -> Any:
    kind = value.DESCRIPTOR.name
    if kind == "Struct":
        return {key: _plain(field) for key, field in value.fields.items()}
    if kind == "ListValue":
        return [_plain(item) for item in value.values]
    which = value.WhichOneof("kind")
    if which in ("struct_value", "list_value"):
        return _plain(getattr(value, which))
    if which == "number_value":
        number = value.number_value
        return int(number) if number == int(number) else number
    return None if which in (None, "null_value") else getattr(value, which)
