"""The terminal HTTP filter: route, balance, forward, answer.

Envoy: `Router::Filter`; docs "Router". What goes right passes through with as little ado as possible. What goes wrong
is in `router_replies.py`, what is tried again in `attempts.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..explain.explanation import NO_EXPLANATION
from ..http.filter import FilterDataStatus, FilterHeadersStatus, FilterTrailersStatus
from ..http.grpc import grpc_to_http_status, is_grpc
from ..http.header_map import KIND, ORDINARY, Entry, HeaderMap, RequestHeaderMap, ResponseHeaderMap, entry
from ..stream_info import ResponseFlag
from ..upstream.http_conn_pool import http_conn_pool
from .attempts import CONTROL, IMMEDIATE_FAIL, Attempts
from .final_timeout import final_timeout
from .held_tunnel import BodySink
from .request_buffer import RequestBuffer
from .router_replies import GRPC_STATUS, RouterReplies
from .upstream_request import UpstreamRequest

if TYPE_CHECKING:
    from ..http.codec import Metadata
    from ..http.filter_manager import FilterManager
    from .route_entry import RouteEntry
    from .shadow_writer import ShadowRequest
    from .tcp_upstream import ConnectConfig
    from .upstream_request import Cancellable

_SCHEMES: Final = frozenset((b"http", b"https"))
"""Others are not sent on (`FilterUtility::setUpstreamScheme`)."""
_STOP: Final = FilterHeadersStatus.STOP_ITERATION
_NO_BUFFER: Final = FilterDataStatus.STOP_ITERATION_NO_BUFFER

_INTERNAL: Final = KIND[b"x-envoy-internal"]
_TIMEOUT_HEADER: Final = KIND[b"x-envoy-upstream-rq-timeout-ms"] | KIND[b"x-envoy-upstream-rq-per-try-timeout-ms"]
_EXPECTED_TIMEOUT: Final = KIND[b"x-envoy-expected-rq-timeout-ms"]
_ALT_STAT_NAME: Final = KIND[b"x-envoy-upstream-alt-stat-name"]
_CANARY: Final = KIND[b"x-envoy-upstream-canary"]
_SERVICE_TIME: Final = KIND[b"x-envoy-upstream-service-time"]


_SERVICE_TIMES: Final[list[Entry]] = [
    entry(b"x-envoy-upstream-service-time", b"%d" % milliseconds) for milliseconds in range(64)
]


class Router(RouterReplies):
    """One request."""

    __slots__ = ()

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
            stream.set_response_flag(ResponseFlag.NO_ROUTE_FOUND)
            stream.send_local_reply(404, "", "route_not_found")
            return _STOP
        self.route_entry = route
        if route.direct_response is not None:
            route.direct_response.answer(route, stream, headers, stats)
            return _STOP
        cluster_name = route.cluster_name
        get_cluster = config.get_cluster
        cluster = get_cluster(cluster_name)
        if cluster is None:
            stats.no_cluster += 1
            if explain is not NO_EXPLANATION:
                explain.decided("cluster", None, "cluster_not_found")
            stream.set_response_flag(ResponseFlag.NO_CLUSTER_FOUND)
            stream.send_local_reply(route.cluster_not_found_status, "", "cluster_not_found")
            return _STOP
        self.cluster = cluster
        if explain is not NO_EXPLANATION:
            explain.decided("cluster", cluster_name, f"route {route}{route.share}")
            cluster.explain_endpoints(explain)
        seen = headers.seen
        if route.counts or (seen > ORDINARY and seen & _ALT_STAT_NAME):
            self.take_tally(headers)
        self.timeout = route.timeout
        if seen > ORDINARY and seen & _INTERNAL:
            self.internal = headers.has(b"x-envoy-internal")
        if config.strict_check_headers and self.fails_strict_check(headers):
            return _STOP
        if cluster.has_say:
            if cluster.observability_name != cluster.name:
                stream.upstream_cluster_alt_stat_name = cluster.observability_name
            if self.drops_overload(cluster):
                return _STOP
            if cluster.upstream_filters is not None:
                self.config = config = config.filtering()
            route = self.take_policies(cluster, route)
        attempts = self.attempts
        if not self.finalized:
            if not route.tries_once or (seen > ORDINARY and seen & CONTROL):
                attempts = self.attempts = Attempts(self, route.attempts, headers)
            seen = headers.seen
            if (
                seen & _EXPECTED_TIMEOUT
                or (seen > ORDINARY and seen & _TIMEOUT_HEADER)
                or not route.plain_timeout
                or config.suppress_envoy_headers
            ):
                final_timeout(self, headers)
            else:
                headers.entries.append(route.timeout_header)
                headers.seen = seen | _EXPECTED_TIMEOUT
            if attempts is not None and attempts.settings.count_in_request:
                attempts.mark_request(headers)
            if route.rewrites or route.request_parsers:
                stream.describe()
                stream.cluster_metadata = cluster.metadata
                stream.attempt_count = stream.attempt_count or 1
                route.finalize_request_headers(headers, stream, not config.suppress_envoy_headers)
        if stream.upstream_override_host is None:
            host = cluster.load_balancer.choose_host(self)
        else:
            host = cluster.choose_host(self)
        if host is None:
            if cluster.await_host is None or not self._wait_for_host():
                self.no_healthy_upstream()
            return _STOP
        if config.overload is not None and self.sheds(config.overload):
            return _STOP
        if route.takes_scheme_of_upstream:
            socket = (host.cluster or cluster).transport_socket_of(host)
            headers.scheme = b"https" if socket is not None and socket.secure else b"http"
        elif headers.scheme not in _SCHEMES:
            told = (headers.get(b"x-forwarded-proto") or b"").lower()
            secure = stream.connection.ssl is not None
            headers.scheme = told if told in _SCHEMES else b"https" if secure else b"http"
        stream.upstream_host = host
        if host.cluster is not cluster:
            stream.cluster_metadata = cluster.metadata  # an aggregate: it is what was asked for
        stream.watermark_callbacks = self._on_downstream_watermark
        make_upstream_request = config.make_upstream_request
        upstream = self.upstream = make_upstream_request(self, host)
        if self.metadata is not None:
            upstream.metadata, self.metadata = self.metadata, None
        if attempts is not None:
            attempts.take_policy(headers)
            attempts.live.append(upstream)
        original = headers.copy() if route.copies_request else None
        if route.connect_config is not None and headers.method in route.connect_config.methods:
            pending = self._new_tunnel(route.connect_config, upstream)
        else:
            try:
                pool = host.http_pools[route.priority]
            except KeyError:
                connection = stream.downstream_connection
                pool = http_conn_pool(
                    cluster, host, config.make_codec, route.priority, connection, stream.protocol, headers
                )
            if pool is None:
                self.no_pool()
                return _STOP
            pending = pool.new_stream(upstream)
        if pending is not None:
            upstream.pending = pending
            stream.upstream_request_create_time = stream.dispatcher.monotonic_time()
            if upstream.filtered:
                upstream.run_filters()
        if original is not None and not stream.is_local_reply:
            self._copy_request(route, original, end_stream)
        if end_stream:
            if self.upstream is not None:
                # The time that the upstream may take counts from here; if it has its request, that was sent just now.
                now = stream.first_upstream_tx_byte_time if pending is None else stream.upstream_request_create_time
                self._complete_time = now = now or stream.dispatcher.monotonic_time()
                if self.timeout:
                    stream.start_response_timeout(now, self.timeout, self.on_response_timeout)
            elif attempts is not None:
                self._complete_time = stream.dispatcher.monotonic_time()
        return _STOP

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        upstream, attempts = self.upstream, self.attempts
        if upstream is None if attempts is None else not attempts.take_data(data):
            return _NO_BUFFER
        self.request_complete = end_stream
        for shadow in self.shadows:
            shadow.encode_data(data, end_stream)
        sent = upstream is not None and upstream.encode_data(data, end_stream)
        kept = attempts is not None and attempts.keeps_body
        if kept or not sent:
            if self.buffered is None:
                self.buffered = []
            self.buffered.append(data)
            self.buffered_size += len(data)
            if not kept and not self._reading_stopped and self._buffers_too_much():
                # Nobody to give it to yet: make the client wait.
                self._reading_stopped = True
                self.cluster.stats.traffic.upstream_flow_control_backed_up_total += 1
                self.stream.pause_request(True)
        if end_stream:
            self._on_request_complete()
        return _NO_BUFFER

    def decode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        upstream, attempts = self.upstream, self.attempts
        if upstream is not None or (attempts is not None and attempts.waiting):
            self.request_complete = True
            for shadow in self.shadows:
                shadow.encode_trailers(trailers)
            sent = upstream is not None and upstream.encode_trailers(trailers)
            if not sent or (attempts is not None and attempts.keeps_body):
                self.request_trailers = trailers
            self._on_request_complete()
        return FilterTrailersStatus.STOP_ITERATION

    def decode_metadata(self, metadata: Metadata) -> None:
        """The attempt that is under way tells the upstream, no later one and no shadow."""
        if self.upstream is not None:
            self.upstream.encode_metadata(metadata)
        elif not hasattr(self, "stream"):
            # A filter holds the headers back.
            self.keep_metadata(metadata)

    def keep_metadata(self, metadata: Metadata) -> None:
        """It goes with the first attempt."""
        if self.metadata is None:
            self.metadata = []
        self.metadata.append(metadata)

    def start_attempt(self, upstream: UpstreamRequest) -> None:
        """Not the first one; that is part of `decode_headers`."""
        self.upstream = upstream
        route, connection = self.route_entry, self.stream.downstream_connection
        headers, host, make_codec = self.request_headers, upstream.host, self.config.make_codec
        if route.connect_config is not None and headers.method in route.connect_config.methods:
            pending = self._new_tunnel(route.connect_config, upstream)
        else:
            pool = host.http_pools.get(route.priority) or http_conn_pool(
                self.cluster, host, make_codec, route.priority, connection, self.stream.protocol, headers
            )
            if pool is None:
                self.no_pool()
                return
            pending = pool.new_stream(upstream)
        if pending is not None:
            upstream.pending = pending
            if upstream.filtered:
                upstream.run_filters()

    def send_buffered(self, encoder: BodySink) -> None:
        """There is a connection now: send what had to wait."""
        waiting = self.buffered
        if self.attempts is None or not self.attempts.keeps_body:
            self.forget_body()
        trailers = self.request_trailers
        if waiting:
            encoder.encode_data(b"".join(waiting), self.request_complete and trailers is None)
        if trailers is not None:
            encoder.encode_trailers(trailers)
        if self.request_complete:
            self.stream.last_upstream_tx_byte_time = self.stream.dispatcher.monotonic_time()
        if self._reading_stopped:
            self._reading_stopped = False
            self.cluster.stats.traffic.upstream_flow_control_drained_total += 1
            self.stream.pause_request(False)

    def forget_body(self) -> None:
        """Nobody needs what was kept of the request."""
        self.buffered = None
        self.buffered_size = 0

    def on_destroy(self) -> None:
        upstream = self.upstream
        if upstream is not None:
            self.upstream = None
            if not upstream.done:
                upstream.reset()
        if self.attempts is not None:
            self.attempts.on_destroy()
            self.attempts = None
        if not self.request_complete:
            for shadow in self.shadows:
                shadow.reset()
        if self._reading_stopped:
            self._reading_stopped = False
            self.stream.pause_request(False)

    # -- the response, from the upstream request

    def follow_redirect(self, response: ResponseHeaderMap) -> bool:
        """Whether the response was a redirect that the route has followed: then this filter is done."""
        policy = self.route_entry.internal_redirect
        if policy is None or response.status not in policy.codes:
            return False
        # The upstream request sees to its connection when the redirect has been followed.
        upstream, self.upstream = self.upstream, None
        if self.attempts is not None:
            self.attempts.live = []
        if policy.follow(self, response):
            if upstream is not None and upstream.host.outlier is not None:
                upstream.host.outlier.put_http_response_code(response.status)
            return True
        self.upstream = upstream
        if self.attempts is not None and upstream is not None:
            self.attempts.live = [upstream]
        return False

    def on_upstream_1xx_headers(self, upstream: UpstreamRequest, headers: ResponseHeaderMap) -> None:
        """With them the response has begun: no other attempt will have one."""
        if self.config.dynamic_stats:
            self.cluster.code_stats.charge_response(headers.status, self.internal)
            self.canary = upstream.host.canary or headers.get(b"x-envoy-upstream-canary") == b"true"
            self.charge_others(headers.status, upstream.host)
        self.response_started = True
        if self.attempts is not None:
            self.attempts.settle_on(upstream)
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
        attempts = self.attempts
        cluster = self.cluster
        stream.first_upstream_rx_byte_time = stream.last_upstream_rx_byte_time = now
        self.response_started = True
        status = headers.status
        seen = headers.seen
        notable = seen > ORDINARY
        outcome = self.outcome_of(headers) if notable and seen & GRPC_STATUS else status
        if not stream.is_health_check:
            dynamic, host = self.config.dynamic_stats, upstream.host
            if dynamic:
                cluster.code_stats.charge_response(status, self.internal)
                if self.tally or (notable and seen & _CANARY) or host.canary or self.config.zone:
                    self.canary = host.canary or headers.get(b"x-envoy-upstream-canary") == b"true"
                    self.charge_others(status, host)
            if status >= 500:
                # Envoy counts these in passing, when it counts the response.
                if dynamic:
                    host.stats.rq_error += 1
            elif outcome >= 500:
                host.stats.rq_error += 1
            else:
                host.stats.rq_success += 1
        if attempts is None and (upstream.host.outlier is not None or (notable and seen & IMMEDIATE_FAIL)):
            self.tell_detectors(upstream, headers)
        if cluster.orca_load_report is not None:
            self.take_orca_load_report(headers)
        if self._complete_time is not None and not self.config.suppress_envoy_headers:
            elapsed = int((now - self._complete_time) * 1000.0)
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
        if attempts is not None and attempts.settings.count_in_response:
            attempts.mark_response(headers)
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
            if not stream.is_health_check and self.config.dynamic_stats:
                elapsed = int((now - self._complete_time) * 1000.0)
                self.cluster.code_stats.charge_timing(elapsed, self.internal)
                if self.tally or self.canary or self.config.zone:
                    self.charge_time_of_others(elapsed)

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

    # -- inside

    def elapsed_milliseconds(self) -> int:
        """Since the request was complete."""
        complete = self._complete_time
        return 0 if complete is None else int((self.stream.dispatcher.monotonic_time() - complete) * 1000)

    def _new_tunnel(self, settings: ConnectConfig, upstream: UpstreamRequest) -> Cancellable | None:
        """This attempt is not HTTP."""
        from .tcp_upstream import TcpConnPool

        pool = TcpConnPool(settings, self.cluster, upstream.host, self.stream.downstream_connection)
        return pool.new_stream(self.route_entry.priority, upstream)

    def _copy_request(self, route: RouteEntry, headers: RequestHeaderMap, end_stream: bool) -> None:
        """For other clusters, and to have it when the route follows a redirect."""
        stream = self.stream
        copies: list[ShadowRequest | RequestBuffer] = []
        limit = stream.buffer_limit if route.attempts.buffer_limit is None else route.attempts.buffer_limit
        if route.shadow_policies:
            from .shadow_writer import start_shadows

            copies += start_shadows(
                route.shadow_policies, self.config, headers, stream, self.timeout, end_stream, limit
            )
        if route.internal_redirect is not None and not end_stream:
            copies.append(RequestBuffer(self.cluster, limit))
        self.shadows = copies

    def _buffers_too_much(self) -> bool:
        """A route may ask for a larger buffer than the connection's; a smaller one is for repeated requests only."""
        limit = self.stream.buffer_limit
        return self.buffered_size > max(limit, self.route_entry.attempts.buffer_limit or 0)

    def _wait_for_host(self) -> bool:
        """Whether the cluster looks for a host; if it knows already that there is none, that has been answered."""
        from .host_wait import HostWait

        assert self.cluster.await_host is not None
        wait = HostWait(self)
        found = self.cluster.await_host(self, wait.on_host)
        if found is None:
            return False
        if isinstance(found, str):
            self.no_healthy_upstream(found)
            return True
        wait.cancel = found
        wait.attempts, self.attempts = self.attempts, None
        self.finalized = True
        self.upstream = wait  # type: ignore[assignment]
        return True

    def take_orca_load_report(self, headers: HeaderMap) -> None:
        """What the host tells of its load, with the headers or the trailers of a response."""
        from ..upstream.orca import orca_load_report

        upstream, take = self.upstream, self.cluster.orca_load_report
        report = orca_load_report(headers)
        if upstream is not None and take is not None and report is not None:
            take(upstream.host, report)

    def _on_request_complete(self) -> None:
        stream, attempts = self.stream, self.attempts
        if self.upstream is None and attempts is None:
            return
        self._complete_time = stream.dispatcher.monotonic_time()
        if self.upstream is None:
            return
        if self.timeout:
            stream.start_response_timeout(self._complete_time, self.timeout, self.on_response_timeout)
        if attempts is not None:
            attempts.on_request_complete()

    def _on_downstream_watermark(self, high: bool) -> None:
        if self.upstream is not None:
            self.upstream.on_downstream_watermark(high)
