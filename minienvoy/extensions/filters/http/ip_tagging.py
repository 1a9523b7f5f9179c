"""`envoy.filters.http.ip_tagging`: tells the upstream what is known of the client's address.

Envoy: `Extensions::HttpFilters::IpTagging::IpTaggingFilter`; docs "IP Tagging". The narrowest range comes first.
"""

from __future__ import annotations

from typing import Any, Final

from ....config.fields import honours
from ....config.loader import check, load_file
from ....config.runtime import Loader
from ....errors import ConfigError
from ....http.filter import HTTP_FILTERS, FilterHeadersStatus, HttpFilterFactory, StreamDecoderFilter
from ....http.header_map import RequestHeaderMap, entry
from ....network.address import Address
from ....network.cidr import CidrRange
from ....server.factory_context import FactoryContext
from ....stats.store import Counter, Scope

TYPE: Final = "envoy.extensions.filters.http.ip_tagging.v3.IPTagging"

honours(TYPE, "request_type", "ip_tags", "ip_tag_header", "ip_tags_datasource")
honours(f"{TYPE}.IPTags", "ip_tags")
honours(f"{TYPE}.IPTag", "ip_tag_name", "ip_list")
honours(f"{TYPE}.IpTagHeader", "header", "action")

BOTH, INTERNAL, EXTERNAL = range(3)
SANITIZE: Final = 0
_TAGS: Final = b"x-envoy-ip-tags"
_WHOLE: Final = 128
"""A prefix of any address."""
_RUNTIME_KEY: Final = "ip_tagging.http_filter_enabled"


class IpTags:
    """Which tags an address has: every range is asked, the narrowest first."""

    __slots__ = ("_ranges",)

    def __init__(self, protos: Any, path: str) -> None:
        """Raises ConfigError: what is no address."""
        ranges: list[tuple[CidrRange, str]] = []
        for at, proto in enumerate(protos):
            for number, each in enumerate(proto.ip_list):
                where = f"{path}[{at}].ip_list[{number}]"
                length = each.prefix_len.value
                try:
                    # Without a length it is the whole address.
                    length = length if each.HasField("prefix_len") else _WHOLE
                    cidr = CidrRange.parse(each.address_prefix, length, where)
                except ConfigError:
                    raise ConfigError(
                        f"invalid ip/mask combo '{each.address_prefix}/{each.prefix_len.value}' "
                        "(format is <ip>/<# mask bits>)",
                        where,
                    ) from None
                ranges.append((cidr, proto.ip_tag_name))
        ranges.sort(key=lambda pair: -pair[0].length)
        self._ranges = tuple(ranges)

    def of(self, address: Address) -> list[str]:
        return list(dict.fromkeys(tag for cidr, tag in self._ranges if address in cidr))


def _read_tags(proto: Any) -> IpTags:
    if proto.ip_tags and proto.HasField("ip_tags_datasource"):
        raise ConfigError("Only one of ip_tags or ip_tags_datasource can be configured.")
    if not proto.HasField("ip_tags_datasource"):
        if not proto.ip_tags:
            raise ConfigError("HTTP IP Tagging Filter requires either ip_tags or ip_tags_datasource to be specified.")
        return IpTags(proto.ip_tags, "ip_tags")
    name = proto.ip_tags_datasource.filename
    if not name.endswith((".yaml", ".json")):
        raise ConfigError(
            f"Unsupported file format, unable to parse ip tags from file {name}",
            "ip_tags_datasource",
            remedy="a file whose name ends in .yaml or .json",
        )
    loaded = load_file(name, f"{TYPE}.IPTags")
    check(loaded)
    return IpTags(loaded.message.ip_tags, "ip_tags_datasource.filename: ip_tags")


class IpTaggingConfig:
    __slots__ = ("_action", "_counters", "_header", "_request_type", "_runtime", "_scope", "_tags")

    def __init__(self, proto: Any, runtime: Loader, scope: Scope) -> None:
        """Raises ConfigError: no tags, or tags that can not be read."""
        self._tags = _read_tags(proto)
        self._request_type: int = proto.request_type
        self._header = proto.ip_tag_header.header.lower().encode() if proto.HasField("ip_tag_header") else b""
        self._action: int = proto.ip_tag_header.action
        self._runtime = runtime
        self._scope = scope
        self._counters: dict[str, Counter] = {}

    def applies(self, headers: RequestHeaderMap) -> bool:
        if self._request_type != BOTH:
            is_internal = headers.get(b"x-envoy-internal") == b"true"
            if is_internal is (self._request_type == EXTERNAL):
                return False
        return self._runtime.snapshot.feature_enabled(_RUNTIME_KEY, 100, 0)

    def tag(self, headers: RequestHeaderMap, address: Address | None) -> bool:
        """Tell what is known of `address`; whether headers have changed."""
        tags = [] if address is None else self._tags.of(address)
        for tag in tags:
            self._count(f"{tag}.hit")
        if not tags:
            self._count("no_hit")
        self._count("total")
        value = ",".join(tags).encode()
        if not tags:
            return bool(self._header) and self._action == SANITIZE and headers.remove(self._header)
        if self._header and self._action == SANITIZE:
            headers.remove(self._header)
            headers.add(self._header, value)
        else:
            _append(headers, self._header or _TAGS, value)
        return True

    def _count(self, name: str) -> None:
        counter = self._counters.get(name)
        if counter is None:
            counter = self._counters[name] = self._scope.counter(name)
        counter.inc()


def _append(headers: RequestHeaderMap, name: bytes, value: bytes) -> None:
    """Behind the first value that there is."""
    for at, item in enumerate(headers.entries):
        if item[0] == name:
            headers.entries[at] = entry(name, item[1] + b"," + value)
            return
    headers.add(name, value)


class IpTaggingFilter(StreamDecoderFilter):
    """One stream."""

    def __init__(self, config: IpTaggingConfig) -> None:
        self._config = config

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        if self._config.applies(headers):
            connection = self.decoder_callbacks.stream_info.connection
            if self._config.tag(headers, connection.remote_address):
                # Routes may ask for the tags.
                self.decoder_callbacks.clear_route_cache()
        return FilterHeadersStatus.CONTINUE


@HTTP_FILTERS.register("envoy.filters.http.ip_tagging", TYPE)
def create_ip_tagging(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    config = IpTaggingConfig(proto, context.server.runtime, context.http_scope.scope("ip_tagging"))
    return lambda: IpTaggingFilter(config)
