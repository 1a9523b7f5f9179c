"""Where in metadata a value stands.

Envoy: `Config::MetadataKey`, `Config::Metadata::metadataValue`; `envoy.type.metadata.v3.MetadataKey`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..config.fields import honours

honours("envoy.type.metadata.v3.MetadataKey", "key", "path")
honours("envoy.type.metadata.v3.MetadataKey.PathSegment", "key", "index")


def metadata_key(proto: Any) -> Callable[[Mapping[str, Any] | None], Any]:
    """Looks up what a `MetadataKey` points to; None if it is not there."""
    path = (
        proto.key,
        *(each.index if each.WhichOneof("segment") == "index" else each.key for each in proto.path),
    )

    def find(metadata: Mapping[str, Any] | None) -> Any:
        value: Any = metadata
        for step in path:
            if isinstance(step, int):
                value = value[step] if isinstance(value, list) and step < len(value) else None
            elif isinstance(value, Mapping):
                value = value.get(step)
            else:
                return None
        return value

    return find
