"""What one router knows of its request, and tells load balancers.

Envoy: the members of `Router::Filter`, and `Upstream::LoadBalancerContextBase`, from which it is derived.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..explain.explanation import NO_EXPLANATION
from ..http.filter import StreamDecoderFilter
from ..http.header_map import HeaderMap, RequestHeaderMap
from .request_buffer import RequestBuffer
from .router_config import RouterConfig

if TYPE_CHECKING:
    from ..http.codec import Metadata
    from ..http.filter_manager import FilterManager
    from ..stream_info import StreamInfo
    from ..upstream.cluster import Cluster
    from ..upstream.host import Host
    from ..upstream.load_balancer import OverrideHost, RetryPriority
    from .attempts import Attempts
    from .route_entry import RouteEntry
    from .shadow_writer import ShadowRequest
    from .upstream_request import UpstreamRequest
    from .virtual_cluster import RequestTally


class RouterContext(StreamDecoderFilter):
    """Attributes:
    attempts: if there may be more than one, or one that somebody is told of; else None.
    buffered: what has come of the body and has to be kept; `buffered_size` bytes.
    canary: the response is a canary's.
    finalized: the request is as its upstream will see it, and waits for a host.
    internal: the request comes from inside, so it says itself.
    metadata: of the request, that came before there was an attempt; None if there was none.
    response_started: headers of the response have been handed on, be it those of an interim one.
    tally: who, besides the cluster, counts this request.
    timeout: seconds for the whole response, 0 for none.
    upstream: the newest attempt that may still have the response; None if there is none.
    """

    __slots__ = (
        "_complete_time",
        "_reading_stopped",
        "attempts",
        "buffered",
        "buffered_size",
        "canary",
        "cluster",
        "config",
        "explain",
        "finalized",
        "host_selection_retries",
        "internal",
        "metadata",
        "request_complete",
        "request_headers",
        "request_trailers",
        "response_started",
        "retry_priority",
        "route_entry",
        "set_cookies",
        "shadows",
        "stream",
        "tally",
        "timeout",
        "upstream",
    )

    def __init__(self, config: RouterConfig) -> None:
        self.config = config
        self.request_complete = self.response_started = self.internal = self._reading_stopped = False
        self.canary = self.finalized = False
        self.request_trailers: HeaderMap | None = None
        self.upstream: UpstreamRequest | None = None
        self.metadata: list[Metadata] | None = None
        self.attempts: Attempts | None = None
        self.buffered: list[bytes] | None = None
        self.shadows: Sequence[ShadowRequest | RequestBuffer] = ()
        self.set_cookies: Sequence[bytes] = ()
        self.tally: Sequence[RequestTally] = ()
        self.buffered_size = self.host_selection_retries = 0
        self.retry_priority: RetryPriority | None = None
        self.timeout = 0.0
        self._complete_time: float | None = None
        self.explain = NO_EXPLANATION

    cluster: Cluster
    request_headers: RequestHeaderMap
    route_entry: RouteEntry
    stream: FilterManager

    # -- LoadBalancerContext

    def compute_hash_key(self) -> int | None:
        """By the `hash_policy` of the route; a client may get a cookie with the response."""
        policy = self.route_entry.hash_policy
        if policy is None:
            return None
        return policy.generate_hash(self.request_headers, self.stream, self.add_set_cookie)

    def should_select_another_host(self, host: Host) -> bool:
        """A retry may refuse hosts."""
        state = None if self.attempts is None else self.attempts.state
        return state is not None and state.should_select_another_host(host)

    def metadata_match_criteria(self) -> Any:
        """What the route asks for, and over it what dynamic metadata's `envoy.lb` does."""
        criteria = self.route_entry.metadata_match
        dynamic = self.stream._dynamic_metadata
        if dynamic and dynamic.get("envoy.lb"):
            return {**criteria, **dynamic["envoy.lb"]}
        return criteria

    def override_host(self) -> OverrideHost | None:
        wanted: OverrideHost | None = self.stream.upstream_override_host
        return wanted

    def downstream_headers(self) -> RequestHeaderMap | None:
        return self.request_headers

    def request_stream_info(self) -> StreamInfo | None:
        return self.stream

    def add_set_cookie(self, value: bytes) -> None:
        self.set_cookies = (*self.set_cookies, value)
