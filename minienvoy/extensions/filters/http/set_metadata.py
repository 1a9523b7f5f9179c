"""`envoy.filters.http.set_metadata`: gives a stream dynamic metadata that the configuration knows.

Envoy: `Extensions::HttpFilters::SetMetadataFilter::SetMetadataFilter`; docs "Set Metadata". What a name has already is
kept, unless it may be overwritten; then the two are put into one: lists one behind the other, objects key by key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ....config.api import struct_to_dict
from ....config.fields import honours
from ....http.filter import HTTP_FILTERS, FilterHeadersStatus, HttpFilterFactory, StreamDecoderFilter
from ....http.header_map import RequestHeaderMap
from ....server.factory_context import FactoryContext
from ....stats.store import CounterValue, StatsStruct

TYPE: Final = "envoy.extensions.filters.http.set_metadata.v3.Config"

honours(TYPE, "metadata_namespace", "value", "metadata")
honours("envoy.extensions.filters.http.set_metadata.v3.Metadata", "metadata_namespace", "allow_overwrite", "value")


class SetMetadataStats(StatsStruct):
    """`http.<stat_prefix>.set_metadata.`"""

    overwrite_denied: CounterValue


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`StructUtil::update`, without changing either."""
    found = dict(old)
    for key, value in new.items():
        before = found.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            found[key] = merged(before, value)
        elif isinstance(before, list) and isinstance(value, list):
            found[key] = before + value
        else:
            found[key] = value
    return found


class SetMetadataFilter(StreamDecoderFilter):
    """One stream; `entries` are names, values, and whether they may change what is there."""

    def __init__(self, entries: tuple[tuple[str, dict[str, Any], bool], ...], stats: SetMetadataStats) -> None:
        self._entries = entries
        self._stats = stats

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        metadata = self.decoder_callbacks.stream_info.dynamic_metadata
        for name, value, overwrites in self._entries:
            if name not in metadata:
                metadata[name] = dict(value)
            elif overwrites:
                metadata[name] = merged(metadata[name], value)
            else:
                self._stats.overwrite_denied += 1
        return FilterHeadersStatus.CONTINUE


@HTTP_FILTERS.register("envoy.filters.http.set_metadata", TYPE)
def create_set_metadata_filter(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    entries = [
        (each.metadata_namespace, struct_to_dict(each.value), each.allow_overwrite)
        for each in proto.metadata
        if each.HasField("value")
    ]
    if proto.metadata_namespace and proto.HasField("value"):
        # The older form comes first, and always overwrites.
        entries.insert(0, (proto.metadata_namespace, struct_to_dict(proto.value), True))
    stats = context.http_scope.scope("set_metadata").struct(SetMetadataStats)
    all_entries = tuple(entries)
    return lambda: SetMetadataFilter(all_entries, stats)
