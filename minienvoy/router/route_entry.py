"""One route: what is done with a request that matches.

Envoy: `Router::RouteEntryImplBase`, `DirectResponseEntry`; docs "Route action", "Direct responses", "Redirects".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ..config.fields import forbids, honours
from ..errors import ConfigError
from ..http.header_map import Entry, RequestHeaderMap, ResponseHeaderMap, entry
from ..upstream.load_assignment import plain_metadata
from .header_parser import HeaderParser
from .redirect import DirectResponse, Redirect
from .route_matcher import RouteMatch

if TYPE_CHECKING:
    from ..config.runtime import Loader
    from ..stream_info import StreamInfo

honours(
    "envoy.config.route.v3.Route",
    "name",
    "match",
    "route",
    "redirect",
    "direct_response",
    "request_headers_to_add",
    "request_headers_to_remove",
    "response_headers_to_add",
    "response_headers_to_remove",
    whole=("metadata",),
)
honours(
    "envoy.config.route.v3.RouteAction",
    "cluster",
    "cluster_not_found_response_code",
    "timeout",
    "idle_timeout",
    "max_stream_duration",
    "prefix_rewrite",
    "host_rewrite_literal",
    "auto_host_rewrite",
    "append_x_forwarded_host",
)
honours("envoy.config.route.v3.RouteAction.MaxStreamDuration", "max_stream_duration")


@forbids("envoy.config.route.v3.RouteAction")
def check_route_action(action: Any, path: str) -> None:
    """Rewrites that exclude each other, weights that choose nobody."""
    rewrites = [bool(action.prefix_rewrite), bool(action.path_rewrite)]
    rewrites += [action.HasField(name) for name in ("regex_rewrite", "path_rewrite_policy")]
    if rewrites.count(True) > 1:
        raise ConfigError("Specify only one of prefix_rewrite, regex_rewrite or path_rewrite_policy", path)
    weights = [each.weight.value for each in action.weighted_clusters.clusters]
    if weights and not any(weights):
        problem = "Sum of weights in the weighted_cluster must be greater than 0."
        raise ConfigError(problem, f"{path}.weighted_clusters")


DEFAULT_TIMEOUT: Final = 15.0
_NOT_FOUND_STATUS: Final = {0: 503, 1: 404, 2: 500}
_ORIGINAL_PATH: Final = b"x-envoy-original-path"


def seconds(message: Any, field: str) -> float | None:
    """A `Duration` field, or None if it is not set."""
    if not message.HasField(field):
        return None
    duration = getattr(message, field)
    return float(duration.seconds + duration.nanos / 1e9)


class RouteEntry:
    """Compiled once; a request only reads it.

    Attributes:
        cluster_name: where requests go; empty for a direct response or a redirect.
        timeout: seconds for the whole response, 0 for none.
        timeout_header: `x-envoy-expected-rq-timeout-ms` for that timeout.
        direct_response: answers in place of an upstream, or None.
    """

    __slots__ = (
        "append_x_forwarded_host",
        "auto_host_rewrite",
        "cluster_name",
        "cluster_not_found_status",
        "direct_response",
        "host_rewrite",
        "idle_timeout",
        "match",
        "max_stream_duration",
        "metadata",
        "name",
        "prefix_rewrite",
        "request_parsers",
        "response_parsers",
        "rewrites",
        "timeout",
        "timeout_header",
        "virtual_host_metadata",
        "virtual_host_name",
    )

    def __init__(
        self,
        proto: Any,
        path: str,
        virtual_host_name: str,
        virtual_host_metadata: Mapping[str, Any],
        request_parsers: tuple[HeaderParser | None, HeaderParser | None],
        response_parsers: tuple[HeaderParser | None, HeaderParser | None],
        most_specific_wins: bool,
        runtime: Loader | None,
        sources: Any,
    ) -> None:
        self.name: str = proto.name
        self.virtual_host_name = virtual_host_name
        self.match = RouteMatch(proto.match, f"{path}.match", runtime)
        self.metadata = plain_metadata(proto.metadata)
        self.virtual_host_metadata = virtual_host_metadata
        self.cluster_name = ""
        self.cluster_not_found_status = 503
        self.timeout = DEFAULT_TIMEOUT
        self.idle_timeout: float | None = None
        self.max_stream_duration: float | None = None
        self.prefix_rewrite: bytes | None = None
        self.host_rewrite: bytes | None = None
        self.auto_host_rewrite = False
        self.append_x_forwarded_host = False
        self.direct_response: DirectResponse | Redirect | None = None
        action = proto.WhichOneof("action")
        if action == "route":
            self._take_action(proto.route, f"{path}.route")
        elif action == "direct_response":
            self.direct_response = DirectResponse(proto.direct_response, f"{path}.direct_response")
        elif action == "redirect":
            self.direct_response = Redirect(proto.redirect, self.match)
        else:
            raise ConfigError(f"{action} is not supported", path)
        mine = HeaderParser.from_proto(
            proto.request_headers_to_add, proto.request_headers_to_remove, f"{path}.request_headers", sources
        )
        self.request_parsers = _in_order((mine, *request_parsers), most_specific_wins)
        mine = HeaderParser.from_proto(
            proto.response_headers_to_add, proto.response_headers_to_remove, f"{path}.response_headers", sources
        )
        self.response_parsers = _in_order((mine, *response_parsers), most_specific_wins)
        self.timeout_header: Entry = entry(b"x-envoy-expected-rq-timeout-ms", b"%d" % int(self.timeout * 1000))
        self.rewrites = self.prefix_rewrite is not None or self.host_rewrite is not None

    def _take_action(self, action: Any, path: str) -> None:
        specifier = action.WhichOneof("cluster_specifier")
        if specifier != "cluster":
            raise ConfigError(f"{specifier} is not supported", path)
        self.cluster_name = action.cluster
        self.cluster_not_found_status = _NOT_FOUND_STATUS[action.cluster_not_found_response_code]
        timeout = seconds(action, "timeout")
        if timeout is not None:
            self.timeout = timeout
        self.idle_timeout = seconds(action, "idle_timeout")
        if action.HasField("max_stream_duration"):
            self.max_stream_duration = seconds(action.max_stream_duration, "max_stream_duration")
            if timeout is None:
                self.timeout = 0.0
        if action.prefix_rewrite:
            self.prefix_rewrite = action.prefix_rewrite.encode()
        rewrite = action.WhichOneof("host_rewrite_specifier")
        if rewrite == "host_rewrite_literal":
            self.host_rewrite = action.host_rewrite_literal.encode()
        elif rewrite == "auto_host_rewrite":
            self.auto_host_rewrite = action.auto_host_rewrite.value
        self.append_x_forwarded_host = action.append_x_forwarded_host

    def per_filter_config(self, filter_name: str) -> Any:
        return None

    def finalize_request_headers(self, headers: RequestHeaderMap, stream: StreamInfo) -> None:
        """Rewrite and add what the upstream is to see."""
        for parser in self.request_parsers:
            parser.evaluate(headers, stream, headers, None)
        if self.rewrites:
            if self.host_rewrite is not None:
                self.rewrite_host(headers, self.host_rewrite)
            if self.prefix_rewrite is not None:
                headers.set(_ORIGINAL_PATH, headers.path)
                headers.path = self.rewritten_path(headers.path)

    def rewrite_host(self, headers: RequestHeaderMap, host: bytes) -> None:
        headers.set(b"x-envoy-original-host", headers.authority)
        if self.append_x_forwarded_host:
            before = headers.get(b"x-forwarded-host")
            headers.set(b"x-forwarded-host", b"%b,%b" % (before, headers.authority) if before else headers.authority)
        headers.authority = host

    def rewritten_path(self, path: bytes) -> bytes:
        assert self.prefix_rewrite is not None
        return rewrite_prefix(path, self.match, self.prefix_rewrite)

    def finalize_response_headers(
        self, headers: ResponseHeaderMap, stream: StreamInfo, request: RequestHeaderMap | None
    ) -> None:
        for parser in self.response_parsers:
            parser.evaluate(headers, stream, request, headers)

    def __str__(self) -> str:
        return self.name or self.match.description


def rewrite_prefix(path: bytes, match: RouteMatch, rewrite: bytes) -> bytes:
    """Put `rewrite` in the place of what was matched: a prefix, or the whole path; the query stays."""
    if match.rewrites_whole_path or match.prefix is None:
        query = path.find(b"?")
        return rewrite + (b"" if query < 0 else path[query:])
    return rewrite + path[len(match.prefix) :]


def _in_order(parsers: tuple[HeaderParser | None, ...], most_specific_wins: bool) -> tuple[HeaderParser, ...]:
    """The level that comes last has the last word."""
    present = tuple(parser for parser in parsers if parser is not None)
    return present[::-1] if most_specific_wins else present
