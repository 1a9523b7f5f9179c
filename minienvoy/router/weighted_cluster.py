"""Routes whose cluster is known only when the request is: by a header, or by weight.

Envoy: `Router::WeightedClusterSpecifierPlugin`, `HeaderClusterSpecifierPlugin`, `DynamicRouteEntry`; docs "Traffic
splitting". Each cluster of a weighted route is a route of its own, made when the configuration is compiled; a request
only chooses among them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..config.fields import honours
from ..errors import ConfigError
from ..http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ..upstream.load_assignment import plain_metadata
from .filter_config import FilterConfigs
from .header_parser import HeaderParser

if TYPE_CHECKING:
    from ..stream_info import StreamInfo
    from .common_virtual_host import CommonVirtualHost
    from .route_entry import RouteEntry

honours(
    "envoy.config.route.v3.WeightedCluster",
    "clusters",
    "runtime_key_prefix",
    "header_name",
    "use_hash_policy",
    ignored={"total_weight": "deprecated; Envoy goes by the sum of the weights as well"},
)
honours(
    "envoy.config.route.v3.WeightedCluster.ClusterWeight",
    "name",
    "cluster_header",
    "weight",
    "request_headers_to_add",
    "request_headers_to_remove",
    "response_headers_to_add",
    "response_headers_to_remove",
    "host_rewrite_literal",
    "typed_per_filter_config",
    whole=("metadata_match",),
)

MAX_TOTAL: Final = 2**32 - 1


class ClusterSpecifier(Protocol):
    """Chooses what a route is for one request."""

    @property
    def cluster_names(self) -> tuple[str, ...]:
        """Those that the configuration names."""

    def route(
        self, parent: RouteEntry, headers: RequestHeaderMap, stream: StreamInfo, random: Callable[[], int]
    ) -> RouteEntry: ...


class HeaderClusterSpecifier:
    """`cluster_header`: the cluster is the value of a header, and none if there is no such header."""

    cluster_names = ()

    def __init__(self, name: str) -> None:
        self._name = name.lower().encode()

    def route(
        self, parent: RouteEntry, headers: RequestHeaderMap, stream: StreamInfo, random: Callable[[], int]
    ) -> RouteEntry:
        return with_cluster(parent, headers.get(self._name) or b"")


def with_cluster(parent: RouteEntry, name: bytes) -> RouteEntry:
    """A copy of the route that goes to that cluster."""
    made = parent.copied()
    made.cluster_name = name.decode("latin-1")
    return made


class WeightedClusterSpecifier:
    """`weighted_clusters`. Make it when the route is complete: its entries are copies of the route."""

    def __init__(self, proto: Any, parent: RouteEntry, common: CommonVirtualHost, path: str) -> None:
        """Raises ConfigError if weights are too large, or a cluster has no name."""
        self._weights = tuple(each.weight.value for each in proto.clusters)
        total = sum(self._weights)
        if total > MAX_TOTAL:
            raise ConfigError(f"The sum of weights of all weighted clusters of route exceeds {MAX_TOTAL}", path)
        self._total = total
        self._use_hash_policy = proto.use_hash_policy.value
        self._header = proto.header_name.lower().encode()
        self._runtime = common.runtime if proto.runtime_key_prefix else None
        self._keys = tuple(f"{proto.runtime_key_prefix}.{each.name}" for each in proto.clusters)
        self._cluster_headers = tuple(each.cluster_header.lower().encode() for each in proto.clusters)
        self.cluster_names = tuple(each.name for each in proto.clusters if each.name)
        self._routes = tuple(
            _entry(each, parent, common, f"{path}.clusters[{index}]", total)
            for index, each in enumerate(proto.clusters)
        )
        for index, entry in enumerate(self._routes):
            entry.chosen_of = (self, index)

    def route(
        self, parent: RouteEntry, headers: RequestHeaderMap, stream: StreamInfo, random: Callable[[], int]
    ) -> RouteEntry:
        weights, total = self._weights, self._total
        if self._runtime is not None:
            weights = self._current_weights()
            total = sum(weights)
        told = headers.get(self._header) if self._header else None
        hashed = parent.hash_policy if self._use_hash_policy else None
        value = hashed.generate_hash(headers, stream, None) if hashed is not None else None
        if value is None:
            value = int(told) if told is not None and told.isdigit() and len(told) <= 20 else random()
        return self._entry(_pick(weights, total, value), headers)

    def another(self, tried: set[int], headers: RequestHeaderMap, value: int) -> RouteEntry:
        """For a retry: one that was not tried, by weight; when all were, they are all there again."""
        weights = self._current_weights()
        left = tuple(0 if index in tried else weight for index, weight in enumerate(weights))
        if not any(left):
            tried.clear()
            left = weights
        return self._entry(_pick(left, sum(left), value), headers)

    def _current_weights(self) -> tuple[int, ...]:
        if self._runtime is None:
            return self._weights
        snapshot = self._runtime.snapshot
        return tuple(snapshot.get_integer(*pair) for pair in zip(self._keys, self._weights, strict=True))

    def _entry(self, chosen: int, headers: RequestHeaderMap) -> RouteEntry:
        name = self._cluster_headers[chosen]
        if name:
            return with_cluster(self._routes[chosen], headers.get(name) or b"")
        return self._routes[chosen]


def _pick(weights: tuple[int, ...], total: int, value: int) -> int:
    """The index that any number falls on."""
    # Weights that are all 0 in the runtime leave the last cluster.
    value = value % total if total else 0
    for index, weight in enumerate(weights):
        if value < weight:
            return index
        value -= weight
    return len(weights) - 1


class _HostRewrite(HeaderParser):
    """The host that a weighted cluster puts in place of the request's, before its route looks at it."""

    __slots__ = ("_host",)

    def __init__(self, host: bytes) -> None:
        super().__init__((), ())
        self._host = host

    def evaluate(
        self,
        headers: HeaderMap,
        stream: StreamInfo,
        request_headers: RequestHeaderMap | None,
        response_headers: ResponseHeaderMap | None,
    ) -> None:
        assert request_headers is not None
        request_headers.authority = self._host


def _entry(proto: Any, parent: RouteEntry, common: CommonVirtualHost, path: str, total: int) -> RouteEntry:
    if bool(proto.name) == bool(proto.cluster_header):
        raise ConfigError(
            "At least one of name or cluster_header need to be specified"
            if not proto.name
            else "Only one of name or cluster_header can be specified",
            path,
        )
    made = parent.copied()
    made.cluster_name = proto.name
    made.share = f", weight {proto.weight.value} of {total}"
    made.specifier = None
    sources = common.sources
    request = HeaderParser.from_proto(
        proto.request_headers_to_add, proto.request_headers_to_remove, f"{path}.request_headers", sources
    )
    response = HeaderParser.from_proto(
        proto.response_headers_to_add, proto.response_headers_to_remove, f"{path}.response_headers", sources
    )
    # The cluster comes first, whichever of the others has the last word.
    host = _HostRewrite(proto.host_rewrite_literal.encode()) if proto.host_rewrite_literal else None
    made.request_parsers = (*filter(None, (request, host)), *parent.request_parsers)
    if response is not None:
        made.response_parsers = (response, *parent.response_parsers)
        made.changes_response = True
    if proto.HasField("metadata_match"):
        made.metadata_match = {**parent.metadata_match, **plain_metadata(proto.metadata_match).get("envoy.lb", {})}
    if proto.typed_per_filter_config:
        made.filter_configs = FilterConfigs(
            proto.typed_per_filter_config, f"{path}.typed_per_filter_config", parent.filter_configs, sources
        )
    return made
