"""The terminal HTTP filter: route, balance, forward, answer.

Envoy: `Router::Filter`; docs "Router". What goes wrong upstream becomes a local reply here, with Envoy's status,
words and flags; what goes right passes through with as little ado as possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ..explain.explanation import NO_EXPLANATION
from ..http.codec import RequestEncoder, StreamResetReason
from ..http.filter import FilterDataStatus, FilterHeadersStatus, FilterTrailersStatus, StreamDecoderFilter
from ..http.grpc import grpc_to_http_status, is_grpc
from ..http.header_map import KIND, Entry, HeaderMap, RequestHeaderMap, ResponseHeaderMap, entry
from ..stream_info import ResponseFlag
from ..upstream.http_conn_pool import MakeCodec, http_conn_pool
from .grpc_timeout import set_grpc_timeout
from .redirect import DirectResponse
from .request_buffer import RequestBuffer
from .shadow_writer import ShadowRequest, start_shadows
from .upstream_log import LoggedUpstreamRequest, UpstreamLogs
from .upstream_request import UpstreamRequest

if TYPE_CHECKING:
    from ..http.conn_manager_stats import RouterStats
    from ..http.filter_manager import FilterManager
    from ..stream_info import StreamInfo
    from ..upstream.cluster import Cluster
    from ..upstream.cluster_manager import ClusterManager
    from ..upstream.host import Host
    from ..upstream.load_balancer import OverrideHost, RetryPriority
    from .route_entry import RouteEntry

_STOP: Final = FilterHeadersStatus.STOP_ITERATION
_NO_BUFFER: Final = FilterDataStatus.STOP_ITERATION_NO_BUFFER

_INTERNAL: Final = KIND[b"x-envoy-internal"]
_TIMEOUT_HEADER: Final = KIND[b"x-envoy-upstream-rq-timeout-ms"]
_EXPECTED_TIMEOUT: Final = KIND[b"x-envoy-expected-rq-timeout-ms"]
_CONTROL: Final = (
    KIND[b"x-envoy-retry-on"]
    | KIND[b"x-envoy-retry-grpc-on"]
    | KIND[b"x-envoy-max-retries"]
    | KIND[b"x-envoy-retriable-status-codes"]
    | KIND[b"x-envoy-retriable-header-names"]
    | KIND[b"x-envoy-hedge-on-per-try-timeout"]
    | KIND[b"x-envoy-upstream-alt-stat-name"]
    | KIND[b"x-envoy-upstream-rq-per-try-timeout-ms"]
    | KIND[b"x-envoy-upstream-rq-timeout-alt-response"]
)
_TIMEOUTS: Final = _TIMEOUT_HEADER | _EXPECTED_TIMEOUT
_SERVICE_TIME: Final = KIND[b"x-envoy-upstream-service-time"]
_IMMEDIATE_FAIL: Final = KIND[b"x-envoy-immediate-health-check-fail"]
_DEGRADED: Final = KIND[b"x-envoy-degraded"]
_GRPC_STATUS: Final = KIND[b"grpc-status"]

_FLAGS: Final = {
    StreamResetReason.LOCAL_CONNECTION_FAILURE: ResponseFlag.UPSTREAM_CONNECTION_FAILURE,
    StreamResetReason.REMOTE_CONNECTION_FAILURE: ResponseFlag.UPSTREAM_CONNECTION_FAILURE,
    StreamResetReason.CONNECTION_TIMEOUT: ResponseFlag.UPSTREAM_CONNECTION_FAILURE,
    StreamResetReason.CONNECTION_TERMINATION: ResponseFlag.UPSTREAM_CONNECTION_TERMINATION,
    StreamResetReason.LOCAL_RESET: ResponseFlag.LOCAL_RESET,
    StreamResetReason.LOCAL_REFUSED_STREAM_RESET: ResponseFlag.LOCAL_RESET,
    StreamResetReason.REMOTE_RESET: ResponseFlag.UPSTREAM_REMOTE_RESET,
    StreamResetReason.REMOTE_REFUSED_STREAM_RESET: ResponseFlag.UPSTREAM_REMOTE_RESET,
    StreamResetReason.CONNECT_ERROR: ResponseFlag.UPSTREAM_REMOTE_RESET,
    StreamResetReason.OVERFLOW: ResponseFlag.UPSTREAM_OVERFLOW,
    StreamResetReason.PROTOCOL_ERROR: ResponseFlag.UPSTREAM_PROTOCOL_ERROR,
    StreamResetReason.HTTP1_PREMATURE_UPSTREAM_HALF_CLOSE: ResponseFlag.UPSTREAM_CONNECTION_TERMINATION,
    StreamResetReason.OVERLOAD_MANAGER: ResponseFlag.OVERLOAD_MANAGER_TERMINATED,
}


class RouterConfig:
    """Shared by the routers of one filter chain.

    Attributes:
        suppress_envoy_headers: neither read nor add `x-envoy-*`.
        upstream_logs: that hear of every attempt; None if there are none.
        make_codec: makes the upstream codec of a new connection.
    """

    __slots__ = (
        "get_cluster",
        "make_codec",
        "make_upstream_request",
        "stats",
        "suppress_envoy_headers",
        "upstream_logs",
    )

    def __init__(
        self,
        cluster_manager: ClusterManager,
        stats: RouterStats,
        make_codec: MakeCodec,
        suppress_envoy_headers: bool = False,
        upstream_logs: UpstreamLogs | None = None,
    ) -> None:
        self.upstream_logs = upstream_logs
        self.make_upstream_request = UpstreamRequest if upstream_logs is None else LoggedUpstreamRequest
        self.get_cluster = cluster_manager.get
        self.stats = stats
        self.make_codec = make_codec
        self.suppress_envoy_headers = suppress_envoy_headers


_SERVICE_TIMES: Final[list[Entry]] = [
    entry(b"x-envoy-upstream-service-time", b"%d" % milliseconds) for milliseconds in range(64)
]


class Router(StreamDecoderFilter):
    """One request. Also the `LoadBalancerContext` of that request."""

    __slots__ = (
        "_complete_time",
        "_reading_stopped",
        "buffered",
        "buffered_size",
        "cluster",
        "config",
        "explain",
        "internal",
        "request_complete",
        "request_headers",
        "request_trailers",
        "response_started",
        "route_entry",
        "set_cookies",
        "shadows",
        "stream",
        "timeout",
        "upstream",
    )

    def __init__(self, config: RouterConfig) -> None:
        self.config = config
        self.request_complete = self.response_started = self.internal = self._reading_stopped = False
        self.request_trailers: HeaderMap | None = None
        self.upstream: UpstreamRequest | None = None
        self.buffered: list[bytes] | None = None
        self.shadows: Sequence[ShadowRequest | RequestBuffer] = ()
        self.set_cookies: Sequence[bytes] = ()
        self.buffered_size = 0
        self.timeout = 0.0
        self._complete_time: float | None = None
        self.explain = NO_EXPLANATION

    # -- the request

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        stream: FilterManager = self.decoder_callbacks  # type: ignore[assignment]
        self.stream = stream
        config = self.config
        self.explain = explain = stream.explain
        self.request_headers = headers
        self.request_complete = end_stream
        stats = config.stats
        stats.rq_total += 1
        route: RouteEntry | None = stream._route if stream._route_known else stream.route()  # type: ignore[assignment]
        if route is None:
            stats.no_route += 1
            stream.response_flags |= ResponseFlag.NO_ROUTE_FOUND
            stream.send_local_reply(404, "", "route_not_found")
            return _STOP
        self.route_entry = route
        if route.direct_response is not None:
            self._answer_directly(route)
            return _STOP
        cluster_name = route.cluster_name
        cluster = config.get_cluster(cluster_name)
        if cluster is None:
            stats.no_cluster += 1
            if explain is not NO_EXPLANATION:
                explain.decided("cluster", None, "cluster_not_found")
            stream.response_flags |= ResponseFlag.NO_CLUSTER_FOUND
            stream.send_local_reply(route.cluster_not_found_status, "", "cluster_not_found")
            return _STOP
        self.cluster = cluster
        if explain is not NO_EXPLANATION:
            explain.decided("cluster", cluster_name, f"route {route}")
        self.timeout = route.timeout
        if headers.seen & _INTERNAL:
            self.internal = headers.has(b"x-envoy-internal")
        if cluster.drop_overload is not None and self._drops_overload(cluster):
            return _STOP
        if stream.upstream_override_host is None:
            host = cluster.load_balancer.choose_host(self)
        else:
            host = cluster.choose_host(self)
        if host is None:
            self._no_healthy_upstream(cluster)
            return _STOP
        if not config.suppress_envoy_headers:
            if headers.seen & _TIMEOUTS or not route.plain_timeout:
                self._tell_timeout(headers, route)
            else:
                headers.entries.append(route.timeout_header)
                headers.seen |= _EXPECTED_TIMEOUT
        elif self._take_grpc_timeout(headers, route) and self.timeout:
            set_grpc_timeout(headers, self.timeout)
        if self.internal and headers.seen & _CONTROL:
            # They have been obeyed here; the next hop is not told.
            headers.remove_kinds(_CONTROL)
        if route.rewrites or route.request_parsers:
            stream.describe()
            stream.cluster_metadata = cluster.metadata
            stream.attempt_count = stream.attempt_count or 1
            route.finalize_request_headers(headers, stream, not config.suppress_envoy_headers)
        if route.copies_request:
            self._copy_request(route, headers, end_stream)
        stream.upstream_host = host
        stream.watermark_callbacks = self._on_downstream_watermark
        upstream = self.upstream = config.make_upstream_request(self, host)
        pool = host.http_pools.get(route.priority) or http_conn_pool(cluster, host, config.make_codec, route.priority)
        pending = pool.new_stream(upstream)
        if pending is not None:
            upstream.pending = pending
            stream.upstream_request_create_time = stream.dispatcher.monotonic_time()
        if end_stream and self.upstream is not None:
            # The time that the upstream may take counts from here.
            self._complete_time = stream.dispatcher.monotonic_time()
            if self.timeout:
                stream.start_response_timeout(self.timeout, self._on_response_timeout)
        return _STOP

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        upstream = self.upstream
        if upstream is None:
            return _NO_BUFFER
        self.request_complete = end_stream
        for shadow in self.shadows:
            shadow.encode_data(data, end_stream)
        if not upstream.encode_data(data, end_stream):
            if self.buffered is None:
                self.buffered = []
            self.buffered.append(data)
            self.buffered_size += len(data)
            if self.buffered_size > self.stream.buffer_limit and not self._reading_stopped:
                # Nobody to give it to yet: make the client wait.
                self._reading_stopped = True
                self.stream.encoder.read_disable(True)
        if end_stream:
            self._on_request_complete()
        return _NO_BUFFER

    def decode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        upstream = self.upstream
        if upstream is not None:
            self.request_complete = True
            for shadow in self.shadows:
                shadow.encode_trailers(trailers)
            if not upstream.encode_trailers(trailers):
                self.request_trailers = trailers
            self._on_request_complete()
        return FilterTrailersStatus.STOP_ITERATION

    def send_buffered(self, encoder: RequestEncoder) -> None:
        """There is a connection now: send what had to wait."""
        waiting, self.buffered = self.buffered, None
        self.buffered_size = 0
        trailers = self.request_trailers
        if waiting:
            encoder.encode_data(b"".join(waiting), self.request_complete and trailers is None)
        if trailers is not None:
            encoder.encode_trailers(trailers)
        if self.request_complete:
            self.stream.last_upstream_tx_byte_time = self.stream.dispatcher.monotonic_time()
        if self._reading_stopped:
            self._reading_stopped = False
            self.stream.encoder.read_disable(False)

    def on_destroy(self) -> None:
        upstream = self.upstream
        if upstream is not None:
            self.upstream = None
            if not upstream.done:
                upstream.reset()
        if not self.request_complete:
            for shadow in self.shadows:
                shadow.reset()
        if self._reading_stopped:
            self._reading_stopped = False
            self.stream.encoder.read_disable(False)

    # -- the response, from the upstream request

    def follow_redirect(self, response: ResponseHeaderMap) -> bool:
        """Whether the response was a redirect that the route has followed: then this filter is done."""
        policy = self.route_entry.internal_redirect
        if policy is None or response.status not in policy.codes:
            return False
        # The upstream request sees to its connection when the redirect has been followed.
        upstream, self.upstream = self.upstream, None
        if policy.follow(self, response):
            if upstream is not None and upstream.host.outlier is not None:
                upstream.host.outlier.put_http_response_code(response.status)
            return True
        self.upstream = upstream
        return False

    def on_upstream_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        if self.cluster is not None:
            self.cluster.code_stats.charge_response(headers.status, self.internal)
        self.stream.encode_1xx_headers(headers)

    def on_upstream_headers(
        self,
        upstream: UpstreamRequest,
        headers: ResponseHeaderMap,
        end_stream: bool,
        now: float,
        details: str = "via_upstream",
    ) -> None:
        stream = self.stream
        cluster = self.cluster
        stream.first_upstream_rx_byte_time = stream.last_upstream_rx_byte_time = now
        self.response_started = True
        status = headers.status
        outcome = status
        if headers.seen & _GRPC_STATUS and is_grpc(self.request_headers.get(b"content-type")):
            outcome = grpc_to_http_status(headers.get(b"grpc-status")) or status
        if not stream.is_health_check:
            cluster.code_stats.charge_response(status, self.internal)
            host_stats = upstream.host.stats
            if status >= 500 or outcome >= 500:
                host_stats.rq_error += 1
            else:
                host_stats.rq_success += 1
        outlier = upstream.host.outlier
        if outlier is not None:
            error_matcher = cluster.http_options.error_matcher
            if error_matcher is None:
                outlier.put_http_response_code(outcome)
            else:
                outlier.put_matched(error_matcher(headers))
            if headers.seen & _DEGRADED and outlier.detects_degraded:
                outlier.put_degraded(status, headers.has(b"x-envoy-degraded"))
        if headers.seen & _IMMEDIATE_FAIL and headers.has(b"x-envoy-immediate-health-check-fail"):
            cluster.health.on_immediate_failure(upstream.host)
        if cluster.orca_load_report is not None:
            self._take_orca_load_report(headers)
        if self._complete_time is not None and not self.config.suppress_envoy_headers:
            elapsed = int((now - self._complete_time) * 1000)
            item = _SERVICE_TIMES[elapsed] if elapsed < 64 else entry(b"x-envoy-upstream-service-time", b"%d" % elapsed)
            if headers.seen & _SERVICE_TIME:
                headers.set(item[0], item[1])
            else:
                headers.entries.append(item)
                headers.seen |= _SERVICE_TIME
        if self.route_entry.changes_response:
            # What the formats of added headers may ask for.
            stream.response_code = status
            stream.response_code_details = details
            stream.describe()
            self.route_entry.finalize_response_headers(headers, stream, self.request_headers)
        for cookie in self.set_cookies:
            headers.add(b"set-cookie", cookie)
        if end_stream:
            self.on_upstream_complete(now)
        stream.encode_headers(headers, end_stream, details)

    def on_upstream_complete(self, now: float) -> None:
        """The whole response has come."""
        stream = self.stream
        stream.last_upstream_rx_byte_time = now
        if self._complete_time is not None:
            stream.response_timeout_callback = None
            if not stream.is_health_check:
                self.cluster.code_stats.charge_timing(int((now - self._complete_time) * 1000), self.internal)

    def on_grpc_trailers(self, upstream: UpstreamRequest, trailers: HeaderMap) -> None:
        """How a gRPC call has ended is known only now; until then it counted as a success."""
        stream = self.stream
        started = stream.response_code is not None and stream.response_code < 500
        if not started or stream.is_health_check or not is_grpc(self.request_headers.get(b"content-type")):
            return
        outcome = grpc_to_http_status(trailers.get(b"grpc-status"))
        if outcome is not None and outcome >= 500:
            upstream.host.stats.rq_success -= 1
            upstream.host.stats.rq_error += 1

    def on_upstream_reset(self, upstream: UpstreamRequest, reason: StreamResetReason, details: str) -> None:
        """The attempt has failed."""
        stream = self.stream
        self.upstream = None
        stream.response_timeout_callback = None
        stream.cluster_metadata = self.cluster.metadata
        transport_failure = ""
        if reason in (StreamResetReason.LOCAL_CONNECTION_FAILURE, StreamResetReason.REMOTE_CONNECTION_FAILURE):
            transport_failure = details
            stream.upstream_transport_failure_reason = details
        stream.response_flags |= _FLAGS[reason]
        if reason is StreamResetReason.REMOTE_RESET:
            self.cluster.stats.traffic.upstream_rq_rx_reset += 1
        if not stream.is_health_check:
            upstream.host.stats.rq_error += 1
        outlier = upstream.host.outlier
        if outlier is not None and reason is not StreamResetReason.OVERFLOW:
            outlier.put_connect_failure()
        words = reason.value.replace(" ", "_")
        if transport_failure:
            words = f"{words}|{transport_failure.replace(' ', '_')}"
        if self.explain is not NO_EXPLANATION:
            self.explain.decided("connection", None, f"{upstream.host}: {words}")
        if self.response_started:
            stream.response_code_details = f"upstream_reset_after_response_started{{{words}}}"
            stream.reset_stream()
            return
        status = 502 if reason is StreamResetReason.PROTOCOL_ERROR else 503
        overflow = reason is StreamResetReason.OVERFLOW
        if not stream.is_health_check:
            self.cluster.code_stats.charge_response(status, self.internal)
        stream.send_local_reply(
            status,
            f"upstream connect error or disconnect/reset before headers. reset reason: {reason.value}",
            f"upstream_reset_before_response_started{{{words}}}",
            _mark_overloaded if overflow and not self.config.suppress_envoy_headers else None,
        )

    def on_max_stream_duration(self, upstream: UpstreamRequest) -> None:
        """The cluster's `max_stream_duration` has passed."""
        stream, cluster = self.stream, self.cluster
        cluster.stats.traffic.upstream_rq_max_duration_reached += 1
        self.upstream = None
        if self.explain is not NO_EXPLANATION:
            self.explain.decided("timeout", "upstream max_stream_duration", "upstream_max_stream_duration_reached")
        stream.response_flags |= ResponseFlag.UPSTREAM_MAX_STREAM_DURATION_REACHED
        if self.response_started:
            stream.response_code_details = "upstream_max_stream_duration_reached"
            stream.reset_stream()
            return
        stream.send_local_reply(504, "upstream max stream duration reached", "upstream_max_stream_duration_reached")

    # -- LoadBalancerContext

    host_selection_retries: int = 0
    retry_priority: RetryPriority | None = None

    def compute_hash_key(self) -> int | None:
        """By the `hash_policy` of the route; a client may get a cookie with the response."""
        policy = self.route_entry.hash_policy
        if policy is None:
            return None
        return policy.generate_hash(self.request_headers, self.stream, self.add_set_cookie)

    def should_select_another_host(self, host: Host) -> bool:
        return False

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

    # -- inside

    def _answer_directly(self, route: RouteEntry) -> None:
        stream, answer = self.stream, route.direct_response
        assert answer is not None
        headers = self.request_headers
        stats = self.config.stats
        stats.rq_direct_response += 1
        location = answer.location(headers, stream)

        body, content_type = answer.body, b""
        if isinstance(answer, DirectResponse) and answer.body_format is not None:
            stream.describe()
            body, content_type = answer.format_body(headers, stream), answer.content_type

        def modify(response: ResponseHeaderMap) -> None:
            if location is not None:
                response.add(b"location", location)
            if content_type:
                response.add(b"content-type", content_type)
            route.finalize_response_headers(response, stream, headers)

        stream.send_local_reply(answer.status, body, "direct_response", modify)

    def _copy_request(self, route: RouteEntry, headers: RequestHeaderMap, end_stream: bool) -> None:
        """For other clusters, and to have it when the route follows a redirect."""
        stream = self.stream
        copies: list[ShadowRequest | RequestBuffer] = []
        if route.shadow_policies:
            copies += start_shadows(route.shadow_policies, self.config, headers, stream, self.timeout, end_stream)
        if route.internal_redirect is not None and not end_stream:
            copies.append(RequestBuffer(self.cluster, stream.buffer_limit))
        self.shadows = copies

    def _no_healthy_upstream(self, cluster: Cluster) -> None:
        stream = self.stream
        stream.cluster_metadata = cluster.metadata
        cluster.stats.traffic.upstream_cx_none_healthy += 1
        if self.explain is not NO_EXPLANATION:
            self.explain.decided("host", None, "no_healthy_upstream")
        stream.attempt_count = 1
        stream.response_flags |= ResponseFlag.NO_HEALTHY_UPSTREAM
        override = stream.upstream_override_host
        status = override.status if override is not None and override.strict else 503
        if not stream.is_health_check:
            cluster.code_stats.charge_response(status, self.internal)
        stream.send_local_reply(status, "no healthy upstream", "no_healthy_upstream")

    def _take_orca_load_report(self, headers: HeaderMap) -> None:
        """What the host tells of its load, with the headers or the trailers of a response."""
        from ..upstream.orca import orca_load_report

        upstream, take = self.upstream, self.cluster.orca_load_report
        report = orca_load_report(headers)
        if upstream is not None and take is not None and report is not None:
            take(upstream.host, report)

    def _drops_overload(self, cluster: Cluster) -> bool:
        drop = cluster.drop_overload
        assert drop is not None
        if not drop.drops():
            return False
        stream = self.stream
        if self.explain is not NO_EXPLANATION:
            self.explain.decided("local_reply", 503, f"drop_overload {drop.category}")
        stream.response_flags |= ResponseFlag.UNCONDITIONAL_DROP_OVERLOAD if drop.always else ResponseFlag.DROP_OVERLOAD
        cluster.code_stats.charge_response(503, self.internal)
        words = "unconditional drop overload" if drop.always else "drop overload"
        stream.send_local_reply(503, words, words.replace(" ", "_"))
        return True

    def _tell_timeout(self, headers: RequestHeaderMap, route: RouteEntry) -> None:
        """`x-envoy-upstream-rq-timeout-ms` from inside is obeyed; `x-envoy-expected-rq-timeout-ms` is passed on."""
        seen = headers.seen
        grpc = self._take_grpc_timeout(headers, route)
        if seen & _TIMEOUT_HEADER:
            value = headers.get(b"x-envoy-upstream-rq-timeout-ms") or b""
            if value.isdigit() and len(value) < 12:
                self.timeout = int(value) / 1000
            headers.remove(b"x-envoy-upstream-rq-timeout-ms")
        if not self.timeout:
            return
        if self.timeout == route.timeout and not seen & _EXPECTED_TIMEOUT:
            headers.entries.append(route.timeout_header)
            headers.seen |= _EXPECTED_TIMEOUT
        else:
            headers.set(b"x-envoy-expected-rq-timeout-ms", b"%d" % round(self.timeout * 1000))
        if grpc:
            # The upstream is told what is left of the client's deadline.
            set_grpc_timeout(headers, self.timeout)

    def _take_grpc_timeout(self, headers: RequestHeaderMap, route: RouteEntry) -> bool:
        """Whether the deadline of a gRPC client takes the place of the route's timeout."""
        timeouts = route.grpc_timeouts
        if timeouts is None or timeouts.max_timeout is None or not is_grpc(headers.get(b"content-type")):
            return False
        self.timeout = timeouts.timeout(headers)
        return True

    def _on_request_complete(self) -> None:
        if self.upstream is None:
            return
        stream = self.stream
        self._complete_time = stream.dispatcher.monotonic_time()
        if self.timeout:
            stream.start_response_timeout(self.timeout, self._on_response_timeout)

    def _on_response_timeout(self) -> None:
        stream, cluster = self.stream, self.cluster
        stream.cluster_metadata = cluster.metadata
        cluster.stats.traffic.upstream_rq_timeout += 1
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.host.stats.rq_timeout += 1
            upstream.host.stats.rq_error += 1
            if upstream.host.outlier is not None:
                upstream.host.outlier.put_timeout()
            upstream.reset()
        if self.explain is not NO_EXPLANATION:
            self.explain.decided("timeout", "route timeout", f"no complete response within {self.timeout:g} s")
        stream.response_flags |= ResponseFlag.UPSTREAM_REQUEST_TIMEOUT
        if self.response_started:
            stream.response_code_details = "response_timeout"
            stream.reset_stream()
            return
        if not stream.is_health_check:
            cluster.code_stats.charge_response(504, self.internal)
        stream.send_local_reply(504, "upstream request timeout", "response_timeout")

    def _on_downstream_watermark(self, high: bool) -> None:
        if self.upstream is not None:
            self.upstream.on_downstream_watermark(high)


def _mark_overloaded(headers: ResponseHeaderMap) -> None:
    item = entry(b"x-envoy-overloaded", b"true")
    headers.entries.insert(0, item)
    headers.seen |= item[3]
