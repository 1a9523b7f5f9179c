"""Tags that the configuration adds to spans.

Envoy: `Tracing::CustomTag` and its kinds (`source/common/tracing/custom_tag_impl.cc`). A tag without a value
is left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from ..access_log.command import CommandTable
from ..access_log.context import FormatterContext, Sources
from ..access_log.formatter import NO_COMMANDS, compile_format
from ..config.fields import honours
from ..errors import ConfigError
from ..matchers.metadata_key import metadata_key
from ..stream_info import StreamInfo
from .span import readable

_TYPE = "envoy.type.tracing.v3.CustomTag"
_KIND = "envoy.type.metadata.v3.MetadataKind"

honours(
    _TYPE,
    "tag",
    "literal",
    "environment",
    "request_header",
    "metadata",
    "value",
    values={"value_type": ("UNSPECIFIED", "STRING")},
)
honours(f"{_TYPE}.Literal", "value")
honours(f"{_TYPE}.Environment", "name", "default_value")
honours(f"{_TYPE}.Header", "name", "default_value")
honours(f"{_TYPE}.Metadata", "kind", "metadata_key", "default_value")
honours(_KIND, "request", "route", "cluster", "host")
for _name in ("Request", "Route", "Cluster", "Host"):
    honours(f"{_KIND}.{_name}")

CustomTag = Callable[[FormatterContext], "str | None"]
"""Its value for what is known of a stream; None if there is none."""


def compile_custom_tags(protos: Iterable[Any], path: str, sources: Sources | None = None) -> dict[str, CustomTag]:
    """By name; of two of the same name the first counts.

    Raises:
        ConfigError: a format that is none, or metadata of no kind.
    """
    compiled: dict[str, CustomTag] = {}
    for at, proto in enumerate(protos):
        compiled.setdefault(proto.tag, _compile(proto, f"{path}[{at}]", sources))
    return compiled


def compile_text(
    text: str, path: str, sources: Sources | None = None, added: CommandTable = NO_COMMANDS
) -> Callable[[FormatterContext], str]:
    """A format in which what is missing is left out."""
    format_wire = compile_format(text, sources, omit_empty_values=True, path=path, added=added).format

    def format_text(context: FormatterContext) -> str:
        wire = format_wire(context)
        return wire if wire.isascii() else readable(wire.encode("latin-1", "replace"))

    return format_text


def _compile(proto: Any, path: str, sources: Sources | None) -> CustomTag:
    kind = proto.WhichOneof("type")
    if kind == "literal":
        literal = proto.literal.value
        return lambda context: literal
    if kind == "environment":
        value = os.environ.get(proto.environment.name, proto.environment.default_value) or None
        return lambda context: value
    if kind == "request_header":
        return _header(proto.request_header.name.lower().encode(), proto.request_header.default_value or None)
    if kind == "metadata":
        return _metadata(proto.metadata)
    if kind == "value":
        text = compile_text(proto.value, f"{path}.value", sources)
        return lambda context: text(context) or None
    raise ConfigError("Custom tag does not have a valid type", path)


def _header(name: bytes, default: str | None) -> CustomTag:
    def value(context: FormatterContext) -> str | None:
        found = context.request_headers.get(name)
        return default if found is None else readable(found)

    return value


_METADATA: dict[str, Callable[[StreamInfo], Any]] = {
    "request": lambda info: info.dynamic_metadata,
    "route": lambda info: info.route_metadata,
    "cluster": lambda info: info.cluster_metadata,
    "host": lambda info: None if info.upstream_host is None else info.upstream_host.metadata,
}


def _no_metadata(info: StreamInfo) -> None:
    """Where nobody says whose metadata: Envoy takes that, and finds nothing."""


def _metadata(proto: Any) -> CustomTag:
    kind = proto.kind.WhichOneof("kind")
    metadata, find = _METADATA.get(kind, _no_metadata), metadata_key(proto.metadata_key)
    default = proto.default_value or None

    def value(context: FormatterContext) -> str | None:
        found = find(metadata(context.stream_info))
        return default if found is None else plain_text(found)

    return value


def plain_text(value: Any) -> str:
    """A value of metadata, as a tag shows it: texts as they are, everything else as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(_whole(value), sort_keys=True, separators=(",", ":"))


def _whole(value: Any) -> Any:
    """Numbers without a fraction have no point."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list) else value
