"""Metadata of listeners, routes, clusters and hosts as plain values.

Envoy: `Config::Metadata` (`source/common/config/metadata.h`), `envoy.config.core.v3.Metadata`.
"""

from __future__ import annotations

from typing import Any


def plain_metadata(metadata: Any) -> dict[str, dict[str, Any]]:
    """`envoy.config.core.v3.Metadata.filter_metadata` as plain values."""
    return {name: _plain_struct(struct) for name, struct in metadata.filter_metadata.items()}


def _plain_struct(struct: Any) -> dict[str, Any]:
    return {name: _plain_value(value) for name, value in struct.fields.items()}


def _plain_value(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _plain_struct(value.struct_value)
    if kind == "list_value":
        return [_plain_value(each) for each in value.list_value.values]
    return None if kind in (None, "null_value") else getattr(value, kind)
