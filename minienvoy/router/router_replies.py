"""What the router answers when no upstream does.

Envoy: `Router::Filter::onUpstreamReset`, `onUpstreamAbort`, `onResponseTimeout`, `sendNoHealthyUpstreamResponse`. Each
reply has Envoy's status, words, flag and details. A response that has begun can only be broken off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..explain.explanation import NO_EXPLANATION
from ..http.codec import StreamResetReason
from ..http.grpc import grpc_to_http_status, is_grpc
from ..http.header_map import KIND, RequestHeaderMap, ResponseHeaderMap, entry
from ..network.overload_state import FILTER_CHECK
from ..stream_info import ResponseFlag
from .attempts import IMMEDIATE_FAIL
from .router_context import RouterContext

if TYPE_CHECKING:
    from ..network.overload_state import OverloadState
    from ..upstream.cluster import Cluster
    from ..upstream.host import Host
    from .route_entry import RouteEntry
    from .upstream_request import UpstreamRequest
    from .virtual_cluster import RequestTally

GRPC_STATUS: Final = KIND[b"grpc-status"]
_DEGRADED: Final = KIND[b"x-envoy-degraded"]
_OVERFLOW: Final = StreamResetReason.OVERFLOW
RESET_FLAGS: Final = {
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


class RouterReplies(RouterContext):
    """Failures, in the order in which they may happen to a request."""

    __slots__ = ()

    def fails_strict_check(self, headers: RequestHeaderMap) -> bool:
        failed = self.config.failed_check(headers)
        if failed is None:
            return False
        name, value = (part.decode("latin-1") for part in failed)
        self.stream.set_response_flag(ResponseFlag.INVALID_ENVOY_REQUEST_HEADERS)
        words = f"invalid header '{name}' with value '{value}'"
        self.stream.send_local_reply(400, words, f"request_headers_failed_strict_check{{{name}}}")
        return True

    def take_policies(self, cluster: Cluster, route: RouteEntry) -> RouteEntry:
        """What `cluster` says over the route."""
        policies = cluster.route_policies
        if policies is None:
            return route
        if self.explain is not NO_EXPLANATION:
            self.explain.decided("policies", cluster.name, f"{', '.join(policies.names)}: in place of the route's")
        self.route_entry = policies.over(route)
        return self.route_entry

    def drops_overload(self, cluster: Cluster) -> bool:
        drop = cluster.drop_overload
        if drop is None or not drop.drops():
            return False
        stream = self.stream
        if self.explain is not NO_EXPLANATION:
            self.explain.decided("local_reply", 503, f"drop_overload {drop.category}")
        stream.set_response_flag(
            ResponseFlag.UNCONDITIONAL_DROP_OVERLOAD if drop.always else ResponseFlag.DROP_OVERLOAD
        )
        self.charge(503, None)
        words = "unconditional drop overload" if drop.always else "drop overload"
        mark = entry(b"x-envoy-" + words.replace(" ", "-").encode(), b"true")

        def modify(headers: ResponseHeaderMap) -> None:
            headers.add_entry(mark)

        tells = not self.config.suppress_envoy_headers
        stream.send_local_reply(503, words, words.replace(" ", "_"), modify if tells else None)
        return True

    def no_healthy_upstream(self, details: str = "no_healthy_upstream", waited: bool = False) -> None:
        """No host may be used, for the first attempt or for another one; Envoy does not count it if it has `waited`."""
        self.cluster.stats.traffic.upstream_cx_none_healthy += not waited
        if self.explain is not NO_EXPLANATION:
            self.explain.decided("host", None, details)
        self._reply_no_healthy_upstream(details)

    def sheds(self, overload: OverloadState) -> bool:
        """Whether the overload manager lets nothing more be asked of upstreams."""
        if not overload.sheds(FILTER_CHECK):
            return False
        if self.explain is not NO_EXPLANATION:
            percent = overload.values[FILTER_CHECK] * 100
            self.explain.decided("overload", "refused", f"{FILTER_CHECK} at {percent:.0f} %")
        self.config.stats.rq_overload_local_reply += 1
        self.stream.cluster_metadata = self.cluster.metadata
        self.stream.attempt_count = self.stream.attempt_count or 1
        self.stream.send_local_reply(503, "envoy overloaded", "overload")
        return True

    def no_pool(self) -> None:
        """The host may be used, but there are too many connection pools."""
        self.upstream = None
        self.stream.upstream_host = None
        if self.explain is not NO_EXPLANATION:
            pools = self.cluster.resource_managers[self.route_entry.priority].connection_pools
            self.explain.decided("connection", None, f"connection pools: {pools}")
        self._reply_no_healthy_upstream()

    def _reply_no_healthy_upstream(self, details: str = "no_healthy_upstream") -> None:
        stream, cluster = self.stream, self.cluster
        stream.cluster_metadata = cluster.metadata
        stream.attempt_count = stream.attempt_count or 1
        stream.set_response_flag(ResponseFlag.NO_HEALTHY_UPSTREAM)
        override = stream.upstream_override_host
        status = override.status if override is not None and override.strict else 503
        if not stream.is_health_check:
            self.charge(status, None)
        self._reply(status, "no healthy upstream", details)

    def on_upstream_reset(self, upstream: UpstreamRequest, reason: StreamResetReason, details: str) -> None:
        """The attempt has failed."""
        stream, attempts = self.stream, self.attempts
        stream.cluster_metadata = self.cluster.metadata
        if reason is StreamResetReason.REMOTE_RESET:
            self.cluster.stats.traffic.upstream_rq_rx_reset += 1
        transport_failure = ""
        if reason in (StreamResetReason.LOCAL_CONNECTION_FAILURE, StreamResetReason.REMOTE_CONNECTION_FAILURE):
            transport_failure = details
            stream.upstream_transport_failure_reason = details
        outlier = upstream.host.outlier
        if outlier is not None and reason is not _OVERFLOW:
            outlier.put_connect_failure()
        words = reason.value.replace(" ", "_")
        if transport_failure:
            words = f"{words}|{transport_failure.replace(' ', '_')}"
        if self.explain is not NO_EXPLANATION:
            overflow = f" ({self.cluster.resource_managers[self.route_entry.priority]})" if reason is _OVERFLOW else ""
            self.explain.decided("connection", None, f"{upstream.host}: {words}{overflow}")
        if attempts is not None and attempts.retries_reset(upstream, reason):
            return
        status = 502 if reason is StreamResetReason.PROTOCOL_ERROR else 503
        self.charge_abort(upstream, status)
        if attempts is None:
            self.upstream = None
        else:
            attempts.forget(upstream)
            if attempts.may_do_better():
                return
        stream.response_timeout_callback = None
        stream.set_response_flag(RESET_FLAGS[reason])
        when = "after" if self.response_started else "before"
        overloaded = reason is _OVERFLOW and not self.config.suppress_envoy_headers
        again = "retried and the latest " if attempts is not None and attempts.is_retry else ""
        self._reply(
            status,
            f"upstream connect error or disconnect/reset before headers. {again}reset reason: {reason.value}",
            # A filter may hold back what has begun: then the client can still be told, otherwise it sees a reset.
            f"upstream_reset_{when}_response_started{{{words}}}",
            overloaded,
        )

    def start_timeout_of_handshake(self) -> None:
        """A request that asks for a WebSocket is never complete: its time counts from when it has been sent."""
        stream = self.stream
        if self.timeout and stream.response_timeout_callback is None:
            stream.start_response_timeout(stream.dispatcher.monotonic_time(), self.timeout, self.on_response_timeout)

    def end_timeout_of_handshake(self) -> None:
        self.stream.response_timeout_callback = None

    def on_response_timeout(self) -> None:
        attempts = self.attempts
        self.stream.cluster_metadata = self.cluster.metadata
        # The oldest first: the room that its connection leaves is for who waits.
        live = [self.upstream] if attempts is None else attempts.live[::-1]
        for upstream in live:
            self.cluster.stats.traffic.upstream_rq_timeout += 1
            for each in self.tally:
                each.stats.upstream_rq_timeout += 1
            if upstream is not None:
                outlier = None
                if upstream.met_host:
                    upstream.host.stats.rq_timeout += 1
                    outlier = upstream.host.outlier
                if not upstream.headers_received:
                    if outlier is not None and (attempts is None or not attempts.was_slow(upstream)):
                        outlier.put_timeout()
                    self.charge_abort(upstream, 504 if attempts is None else attempts.timeout_status)
                upstream.reset()
        self.upstream = None
        if self.explain is not NO_EXPLANATION:
            self.explain.decided("timeout", "route timeout", f"no complete response within {self.timeout:g} s")
        self.time_out("response_timeout")

    def on_request_refused(self, problem: str) -> None:
        """A format, or the configuration, has made something of a header that is none."""
        self.upstream = None
        self.stream.set_response_flag(ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR)
        self._reply(
            503, problem.encode("latin-1"), f"filter_removed_required_request_headers{{{problem.replace(' ', '_')}}}"
        )

    def on_handshake_refused(self, upstream: UpstreamRequest, headers: ResponseHeaderMap) -> None:
        """No WebSocket: the client is told in a reply made here, with the upstream's status and headers."""
        self.upstream = None

        def modify(response: ResponseHeaderMap) -> None:
            for item in headers.entries:
                response.add_entry(item)

        self.stream.send_local_reply(headers.status, "", "websocket_handshake_unsuccessful", modify)

    def on_max_stream_duration(self, upstream: UpstreamRequest) -> None:
        """The cluster's `max_stream_duration` has passed."""
        stream, cluster = self.stream, self.cluster
        cluster.stats.traffic.upstream_rq_max_duration_reached += 1
        self.upstream = None
        if self.explain is not NO_EXPLANATION:
            self.explain.decided("timeout", "upstream max_stream_duration", "upstream_max_stream_duration_reached")
        stream.set_response_flag(ResponseFlag.UPSTREAM_MAX_STREAM_DURATION_REACHED)
        self._reply(504, "upstream max stream duration reached", "upstream_max_stream_duration_reached")

    def time_out(self, details: str) -> None:
        """Tell the client that it takes too long."""
        stream, attempts = self.stream, self.attempts
        stream.set_response_flag(ResponseFlag.UPSTREAM_REQUEST_TIMEOUT)
        status = 504 if attempts is None else attempts.timeout_status
        self._reply(status, "upstream request timeout" if status == 504 else "", details)

    def take_tally(self, headers: RequestHeaderMap) -> None:
        """Who counts this request besides its cluster."""
        tally: list[RequestTally] = list(self.route_entry.tally(headers, self.stream))
        alt_stat_name = headers.get(b"x-envoy-upstream-alt-stat-name")
        if alt_stat_name is not None:
            from .virtual_cluster import AltStatName

            tally.append(AltStatName(self.cluster.stats.alternative_codes(alt_stat_name.decode("latin-1"))))
        self.tally = tally

    def charge(self, status: int, host: Host | None) -> None:
        """Count a response that is made here, or is not for the client; `host` has failed to make it."""
        if not self.config.dynamic_stats:
            return
        self.cluster.code_stats.charge_response(status, self.internal)
        if host is not None:
            host.stats.rq_error += 1
        self.canary = host is not None and host.canary
        self.charge_others(status, host)

    def charge_others(self, status: int, host: Host | None) -> None:
        """Count it also for virtual clusters and the like, for canaries and between zones."""
        for each in self.tally:
            each.charge_response(status, self.internal)
            if self.canary:
                each.charge_canary(status)
        if self.canary:
            self.cluster.code_stats.charge_category("canary", status)
        if self.config.zone and host is not None and host.locality.zone:
            self.cluster.code_stats.charge_category(f"zone.{self.config.zone}.{host.locality.zone}", status)

    def charge_time_of_others(self, milliseconds: int) -> None:
        """What the response took, for them."""
        for each in self.tally:
            each.charge_timing(milliseconds, self.internal)
        codes, zone = self.cluster.code_stats, self.config.zone
        host = None if self.upstream is None else self.upstream.host
        if self.canary:
            codes.charge_category_timing("canary", milliseconds)
        if zone and host is not None and host.locality.zone:
            codes.charge_category_timing(f"zone.{zone}.{host.locality.zone}", milliseconds)

    def charge_abort(self, upstream: UpstreamRequest, status: int) -> None:
        """An attempt ends before its response does; `status` is what the client is told, if that is still possible."""
        if self.stream.is_health_check:
            return
        if not self.response_started:
            self.charge(status, upstream.host if upstream.met_host else None)
        elif (self.stream.response_code or 0) < 500 and is_grpc(self.request_headers.get(b"content-type")):
            # Whether it is a success was to be in its trailers.
            upstream.host.stats.rq_error += 1
            self.config.stats.rq_reset_after_downstream_response_started += 1

    def outcome_of(self, headers: ResponseHeaderMap) -> int:
        """The status that the response counts as: a gRPC call that fails in its headers is a failure."""
        if headers.seen & GRPC_STATUS and is_grpc(self.request_headers.get(b"content-type")):
            return grpc_to_http_status(headers.get(b"grpc-status")) or headers.status
        return headers.status

    def tell_detectors(self, upstream: UpstreamRequest, headers: ResponseHeaderMap) -> None:
        """A response says something of its host, whether it becomes the answer or not."""
        outlier = upstream.host.outlier
        if outlier is not None:
            error_matcher = self.cluster.http_options.error_matcher
            if error_matcher is None:
                outlier.put_http_response_code(self.outcome_of(headers))
            else:
                outlier.put_matched(error_matcher(headers))
            if headers.seen & _DEGRADED and outlier.detects_degraded:
                outlier.put_degraded(headers.status, headers.has(b"x-envoy-degraded"))
        if headers.seen & IMMEDIATE_FAIL and headers.has(b"x-envoy-immediate-health-check-fail"):
            self.cluster.health.on_immediate_failure(upstream.host)

    def _reply(self, status: int, body: str | bytes, details: str, overloaded: bool = False) -> None:
        attempts = self.attempts
        if attempts is not None:
            # Nothing may come of what is still under way.
            attempts.on_destroy()
        tells_count = self.route_entry.attempts.count_in_response
        if not overloaded and not tells_count:
            self.stream.send_local_reply(status, body, details)
            return

        def modify(headers: ResponseHeaderMap) -> None:
            if overloaded:
                headers.add(b"x-envoy-overloaded", b"true")
            if tells_count:
                headers.set(b"x-envoy-attempt-count", b"%d" % (1 if attempts is None else attempts.count))

        self.stream.send_local_reply(status, body, details, modify)
