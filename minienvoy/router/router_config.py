"""What the routers of one filter chain share.

Envoy: `Router::FilterConfig`; docs "Router".
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from ..http.ascii_number import unsigned
from ..upstream.http_conn_pool import MakeCodec
from .retry_policy import RETRY_GRPC_ON, RETRY_ON, RetryPolicy, parse_retry_on
from .upstream_request import UpstreamRequest

if TYPE_CHECKING:
    from ..config.runtime import Loader
    from ..event.random import RandomStream
    from ..http.conn_manager_stats import RouterStats
    from ..http.filter_manager import FilterChain
    from ..http.header_map import RequestHeaderMap
    from ..network.overload_state import OverloadState
    from ..upstream.cluster_manager import ClusterManager
    from .upstream_log import UpstreamLogs

BASE_INTERVAL: Final = 25
"""Milliseconds."""
ALWAYS: Final = 100
"""Percent."""


def _is_unsigned(value: bytes) -> bool:
    return unsigned(value, 2**32) is not None


STRICT_CHECKS: Final[dict[bytes, Callable[[bytes], bool]]] = {
    b"x-envoy-upstream-rq-timeout-ms": _is_unsigned,
    b"x-envoy-upstream-rq-per-try-timeout-ms": _is_unsigned,
    b"x-envoy-max-retries": _is_unsigned,
    b"x-envoy-retry-on": lambda value: parse_retry_on(value, RETRY_ON)[1],
    b"x-envoy-retry-grpc-on": lambda value: parse_retry_on(value, RETRY_GRPC_ON)[1],
}
"""What a header has to look like if `strict_check_headers` names it (`Router::FilterUtility::StrictHeaderChecker`)."""


class RouterConfig:
    """Attributes:
    dynamic_stats: responses are counted by their codes, and times recorded.
    make_codec: makes the upstream codec of a new connection.
    overload: what the overload manager has decided; None: nobody decides anything.
    random: the sequence of back-offs, `router.retry`.
    respect_expected_rq_timeout: what an Envoy before has told of the timeout is obeyed.
    start_child_span: every attempt of a traced request has a span of its own.
    strict_check_headers: headers that are looked at before anything else.
    suppress_envoy_headers: neither read nor add `x-envoy-*`.
    upstream_filters: between the router and its upstreams, unless a cluster has some; None if there are none.
    upstream_logs: that hear of every attempt; None if there are none.
    zone: where this proxy is, or empty.
    """

    __slots__ = (
        "_base_interval",
        "_filtering",
        "_looked_at",
        "_runtime",
        "_use_retry",
        "dynamic_stats",
        "get_cluster",
        "make_codec",
        "make_upstream_request",
        "overload",
        "random",
        "respect_expected_rq_timeout",
        "start_child_span",
        "stats",
        "strict_check_headers",
        "suppress_envoy_headers",
        "upstream_filters",
        "upstream_logs",
        "zone",
    )

    def __init__(
        self,
        cluster_manager: ClusterManager,
        stats: RouterStats,
        make_codec: MakeCodec,
        random: RandomStream,
        runtime: Loader,
        *,
        suppress_envoy_headers: bool = False,
        respect_expected_rq_timeout: bool = False,
        strict_check_headers: Sequence[str] = (),
        upstream_logs: UpstreamLogs | None = None,
        dynamic_stats: bool = True,
        zone: str = "",
        overload: OverloadState | None = None,
        start_child_span: bool = False,
        upstream_filters: FilterChain | None = None,
    ) -> None:
        self._filtering: RouterConfig | None = None
        self.upstream_filters = upstream_filters
        self.start_child_span = start_child_span
        self.dynamic_stats = dynamic_stats
        self.zone = zone
        self.overload = overload
        self.upstream_logs = upstream_logs
        self.make_upstream_request: type[UpstreamRequest] = UpstreamRequest
        if upstream_logs is not None:
            from .upstream_log import LoggedUpstreamRequest

            self.make_upstream_request = LoggedUpstreamRequest
        self.get_cluster = cluster_manager.get
        self.stats = stats
        self.make_codec = make_codec
        self.random = random
        self._runtime = runtime
        self._look_at_runtime()
        self.suppress_envoy_headers = suppress_envoy_headers
        self.respect_expected_rq_timeout = respect_expected_rq_timeout
        self.strict_check_headers = tuple(
            (name, check) for name, check in STRICT_CHECKS.items() if name.decode() in strict_check_headers
        )

    def trace_attempts(self) -> None:
        """Requests are traced."""
        from .traced_upstream_request import LoggedTracedUpstreamRequest, TracedUpstreamRequest

        logged = self.upstream_logs is not None
        self.make_upstream_request = LoggedTracedUpstreamRequest if logged else TracedUpstreamRequest

    def filtering(self) -> RouterConfig:
        """This, for attempts that go through filters of their own."""
        if self._filtering is None:
            from .filtered_upstream_request import FILTERED

            made = self._filtering = copy.copy(self)
            made.make_upstream_request = FILTERED[self.make_upstream_request]
            made._filtering = made
        return self._filtering

    def failed_check(self, headers: RequestHeaderMap) -> tuple[bytes, bytes] | None:
        """The first header, with its value, that is not as `strict_check_headers` wants it."""
        for name, check in self.strict_check_headers:
            value = headers.get(name)
            if value is not None and not check(value):
                return name, value
        return None

    def use_retry(self) -> bool:
        """Whether the runtime lets anything be retried."""
        if self._runtime.snapshot is not self._looked_at:
            self._look_at_runtime()
        return self._use_retry >= ALWAYS or self.random.getrandbits(32) % ALWAYS < self._use_retry

    def _look_at_runtime(self) -> None:
        snapshot = self._looked_at = self._runtime.snapshot
        self._use_retry = snapshot.get_integer("upstream.use_retry", ALWAYS)
        self._base_interval = snapshot.get_integer("upstream.base_retry_backoff_ms", BASE_INTERVAL) / 1000

    def back_off(self, policy: RetryPolicy) -> tuple[float, float]:
        """After `use_retry`: seconds that the first retry waits at most, and that any retry waits at most."""
        base = policy.base_interval
        if base is None:
            base = self._base_interval
        return base, base * 10 if policy.max_interval is None else policy.max_interval
