"""The attempts of a request that may have more than one.

Envoy: the part of `Router::Filter` that is about retries and hedging (`maybeRetryReset`, `doRetry`,
`onPerTryTimeout`, `onSoftPerTryTimeout`, `resetOtherUpstreams`); docs "Retry semantics", "Hedging".

Usually one attempt follows the other: it fails, the retry waits, the next one begins. With hedging an attempt that is
slow goes on while the next one runs, so that several are *live*; the first response that nobody would retry is the
response, and the others are given up. A failure is told to the client only when no live attempt and no retry that waits
may do better.

As long as there may be another attempt the body of the request is kept. When it is more than the buffer limit, retries
are given up instead; if just then no attempt is live, the request fails.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from ..explain.explanation import NO_EXPLANATION
from ..http.codec import StreamResetReason
from ..http.header_map import KIND, RequestHeaderMap, ResponseHeaderMap
from ..stream_info import ResponseFlag
from .attempt_timers import AttemptTimers
from .final_timeout import set_timeout_headers
from .retry_policy import AttemptSettings
from .retry_state import RetryState, RetryStatus

if TYPE_CHECKING:
    from ..upstream.cluster import Cluster
    from ..upstream.codec_client import CodecClient
    from ..upstream.host import Host
    from .router import Router
    from .upstream_request import UpstreamRequest

CONTROL: Final = (
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
"""Headers for the router alone: it obeys them, and the upstream is not told."""


IMMEDIATE_FAIL: Final = KIND[b"x-envoy-immediate-health-check-fail"]


class Attempts:
    """Attributes:
    count: attempts that have begun.
    hedges: an attempt that is slow goes on beside the next one.
    is_retry: the first attempt is over.
    live: attempts whose response may still be the response, the newest first.
    per_try_timeout, per_try_idle_timeout: seconds, 0 for none.
    state: decides about retries; None if there are none, or none any more.
    timeout_status: of the reply when time is over.
    waiting: a retry has been granted and has not begun.
    """

    __slots__ = (
        "_clients",
        "_retried",
        "_router",
        "_slow",
        "_started",
        "_tried_clusters",
        "count",
        "hedges",
        "is_retry",
        "live",
        "per_try_idle_timeout",
        "per_try_timeout",
        "settings",
        "state",
        "timeout_status",
        "waiting",
    )

    def __init__(self, router: Router, settings: AttemptSettings, headers: RequestHeaderMap) -> None:
        self._router = router
        self.settings = settings
        self.state: RetryState | None = None
        self.count = 1
        self.live: list[UpstreamRequest] = []
        self.waiting = 0
        self.is_retry = False
        self.per_try_timeout = settings.retry_policy.per_try_timeout
        self.per_try_idle_timeout = settings.retry_policy.per_try_idle_timeout
        self.hedges = settings.hedge_on_per_try_timeout
        self.timeout_status = 504
        if headers.seen & CONTROL:
            value = headers.get(b"x-envoy-hedge-on-per-try-timeout")
            if value in (b"true", b"false"):
                self.hedges = value == b"true"
            if headers.has(b"x-envoy-upstream-rq-timeout-alt-response"):
                self.timeout_status = 204
        self._retried: list[UpstreamRequest] = []
        self._slow: list[UpstreamRequest] = []
        self._clients: dict[UpstreamRequest, CodecClient] = {}
        self._started = False
        self._tried_clusters: set[int] = set()

    def take_policy(self, headers: RequestHeaderMap) -> None:
        """The headers are as the upstream gets them, but for those that are for the router alone."""
        router = self._router
        policy = self.settings.retry_policy
        asked = headers.seen & CONTROL
        if policy.retry_on or (asked and (headers.has(b"x-envoy-retry-on") or headers.has(b"x-envoy-retry-grpc-on"))):
            self.state = RetryState(router.config, policy, router.cluster, router.route_entry.priority, router.tally)
            if policy.refresh_cluster and router.route_entry.chosen_of is not None:
                self.state.refresh = self._refresh_cluster
            if asked or policy.retriable_request_headers:
                self.state.take_headers(headers)
        if asked:
            headers.remove_kinds(CONTROL)

    # -- the request

    @property
    def keeps_body(self) -> bool:
        """There may be another attempt, which needs it."""
        return self.state is not None and self.state.enabled

    def take_data(self, data: bytes) -> bool:
        """Whether `data` is to be passed on; it is kept too as long as there may be another attempt."""
        router = self._router
        if router.upstream is None and not self.waiting:
            return False
        if self.keeps_body:
            limit = self.settings.buffer_limit
            if router.buffered_size + len(data) > (router.stream.buffer_limit if limit is None else limit):
                return self._abandon()
        return True

    def on_request_complete(self) -> None:
        for upstream in self.live:
            self.start_timers(upstream)

    def _abandon(self) -> bool:
        """More of a body than is kept; False if that was the end of the request."""
        router = self._router
        router.cluster.stats.traffic.retry_or_shadow_abandoned += 1
        self.end_retries()
        for kept in router.shadows:
            kept.abandon()
        if router.explain is not NO_EXPLANATION:
            router.explain.decided("retry", None, "the body is larger than the buffer limit")
        if router.upstream is not None:
            if router.upstream.has_request:
                # It has all of it.
                router.forget_body()
            return True
        self.waiting = 0
        # Envoy's codec tells of data and of their end one after the other: so far the request is not complete.
        router.stream.remote_complete = False
        router.stream.send_local_reply(
            507,
            "exceeded request buffer limit while retrying upstream",
            "request_payload_exceeded_retry_buffer_limit",
            self.mark_response if self.settings.count_in_response else None,
        )
        return False

    # -- an attempt

    def on_pool_ready(self, upstream: UpstreamRequest, client: CodecClient) -> None:
        self._started = True
        self._clients[upstream] = client
        state = self.state
        if state is not None and state.heeds_hosts:
            state.on_host_attempted(upstream.host)
        if (self.per_try_timeout or self.per_try_idle_timeout) and self._router.request_complete:
            self.start_timers(upstream)

    def on_host_attempted(self, host: Host) -> None:
        """A connection to it could not be had."""
        state = self.state
        if state is not None and state.heeds_hosts:
            state.on_host_attempted(host)

    def start_timers(self, upstream: UpstreamRequest) -> None:
        """The time of an attempt counts from when it has a connection and the request is complete."""
        if not upstream.connected or upstream.done:
            return
        if self.per_try_timeout or self.per_try_idle_timeout:
            timers = upstream.timers
            if timers is None:
                timers = upstream.timers = AttemptTimers(self._router.stream.dispatcher)
            if self.per_try_timeout:
                timers.start(self.per_try_timeout, partial(self._on_per_try_timeout, upstream))
            if self.per_try_idle_timeout:
                timers.start_idle(self.per_try_idle_timeout, partial(self._on_per_try_idle_timeout, upstream))

    def _on_per_try_timeout(self, upstream: UpstreamRequest) -> None:
        router = self._router
        if router.response_started:
            return
        upstream.note(ResponseFlag.UPSTREAM_REQUEST_TIMEOUT)
        if router.explain is not NO_EXPLANATION:
            router.explain.decided("timeout", "per_try_timeout", f"{upstream.host}: {self.per_try_timeout:g} s")
        if self.hedges:
            self._hedge(upstream)
            return
        router.cluster.stats.traffic.upstream_rq_per_try_timeout += 1
        self._end_attempt(upstream, "upstream_per_try_timeout")

    def _on_per_try_idle_timeout(self, upstream: UpstreamRequest) -> None:
        router = self._router
        upstream.note(ResponseFlag.STREAM_IDLE_TIMEOUT)
        if router.explain is not NO_EXPLANATION:
            silence = f"{upstream.host}: silent for {self.per_try_idle_timeout:g} s"
            router.explain.decided("timeout", "per_try_idle_timeout", silence)
        if self.hedges:
            if not router.response_started:
                self._hedge(upstream)
            return
        router.cluster.stats.traffic.upstream_rq_per_try_idle_timeout += 1
        self._end_attempt(upstream, "upstream_per_try_idle_timeout")

    def _end_attempt(self, upstream: UpstreamRequest, details: str) -> None:
        router = self._router
        if upstream.met_host:
            upstream.host.stats.rq_timeout += 1
        upstream.reset()
        if upstream.met_host and upstream.host.outlier is not None:
            upstream.host.outlier.put_timeout()
        if self.retries_reset(upstream, StreamResetReason.LOCAL_RESET, timeout=True):
            return
        router.charge_abort(upstream, self.timeout_status)
        self.forget(upstream)
        router.time_out(details)

    def was_slow(self, upstream: UpstreamRequest) -> bool:
        """Its own time is over, and it goes on."""
        return upstream in self._slow

    def _hedge(self, upstream: UpstreamRequest) -> None:
        self._slow.append(upstream)
        if upstream.host.outlier is not None:
            # What it may still answer does not make up for that.
            upstream.host.outlier.put_timeout()
        if self.state is None:
            return
        status = self.state.should_hedge(partial(self._try_again, True))
        self._tell(status)
        if status is RetryStatus.YES:
            self.waiting += 1
            self._retried.append(upstream)

    # -- how it ends

    def takes_headers(self, upstream: UpstreamRequest, headers: ResponseHeaderMap) -> bool:
        """Whether this response is the one for the client."""
        router, state = self._router, self.state
        if upstream.host.outlier is not None or headers.seen & IMMEDIATE_FAIL:
            router.tell_detectors(upstream, headers)
        could_not_retry = False
        if state is not None:
            if upstream in self._retried:
                could_not_retry = bool(state.would_retry_headers(headers))
            else:
                if upstream.done:
                    status = self._decide_late(state, headers)
                else:
                    status = state.should_retry_headers(headers, self._try_again)
                if status is not RetryStatus.NO:
                    self._tell(status)
                if status is RetryStatus.YES:
                    self.waiting += 1
                    router.cluster.code_stats.charge_category("retry", headers.status)
                    self._drop(upstream)
                    return False
                could_not_retry = status is not RetryStatus.NO
        if could_not_retry and self.may_do_better():
            self._drop(upstream)
            return False
        self.settle_on(upstream)
        return True

    def settle_on(self, upstream: UpstreamRequest) -> None:
        """It is this one whose response the client gets."""
        router = self._router
        self.end_retries()
        router.forget_body()
        router.upstream = upstream
        stream = router.stream
        stream.upstream_host = upstream.host
        stream.upstream_client = self._clients.get(upstream)
        for other in self.live:
            if other is not upstream:
                other.reset()
        self.live = [upstream]

    def _decide_late(self, state: RetryState, headers: ResponseHeaderMap) -> RetryStatus:
        """A response without a body is over before it is heard of; Envoy still counts its request, for a budget."""
        if not state.resource.counts_active:
            return state.should_retry_headers(headers, self._try_again)
        requests = self._router.cluster.resource_managers[self._router.route_entry.priority].requests
        requests.current += 1
        try:
            return state.should_retry_headers(headers, self._try_again)
        finally:
            requests.current -= 1

    def retries_reset(self, upstream: UpstreamRequest, reason: StreamResetReason, timeout: bool = False) -> bool:
        """Whether the attempt, of which nothing is left, is followed by another."""
        state = self.state
        if self._router.response_started or state is None or upstream in self._retried:
            return False
        status = state.should_retry_reset(
            reason, self._started, partial(self._try_again, True) if timeout else self._try_again
        )
        self._tell(status)
        if status is not RetryStatus.YES:
            return False
        self.waiting += 1
        upstream.host.stats.rq_error += 1
        self.forget(upstream)
        return True

    def may_do_better(self) -> bool:
        """Another attempt, live or to come, may have a response."""
        return bool(self.waiting) or any(not each.headers_received for each in self.live)

    def forget(self, upstream: UpstreamRequest) -> None:
        """It is over."""
        if upstream in self.live:
            self.live.remove(upstream)
        self._router.upstream = self.live[0] if self.live else None

    def end_retries(self) -> None:
        """There will be no further attempt."""
        if self.state is not None:
            self.state.reset()
            self.state = None

    def on_destroy(self) -> None:
        if self.state is not None:
            self.end_retries()
        for upstream in self.live:
            if not upstream.done:
                upstream.reset()
        self.live = []
        self._clients = {}

    def mark_response(self, headers: ResponseHeaderMap) -> None:
        """Tell the client how many attempts it took."""
        headers.set(b"x-envoy-attempt-count", b"%d" % self.count)

    def mark_request(self, headers: RequestHeaderMap) -> None:
        """Tell the upstream which attempt it is."""
        headers.set(b"x-envoy-attempt-count", b"%d" % self.count)

    def _drop(self, upstream: UpstreamRequest) -> None:
        """It has a response that is not wanted."""
        upstream.host.stats.rq_error += 1
        if not upstream.done:
            upstream.reset()
        self.forget(upstream)

    def _tell(self, status: RetryStatus) -> None:
        router, state = self._router, self.state
        assert state is not None
        if status is not RetryStatus.YES and status is not RetryStatus.NO:
            flag = ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED
            if status is RetryStatus.NO_OVERFLOW:
                flag = ResponseFlag.UPSTREAM_OVERFLOW
            router.stream.set_response_flag(flag)
        if router.explain is NO_EXPLANATION or not state.rule:
            return
        if status is RetryStatus.YES:
            router.explain.decided("retry", f"attempt {self.count + 1} in {state.back_off * 1000:.0f} ms", state.rule)
        else:
            why = f" ({state.resource})" if status is RetryStatus.NO_OVERFLOW else ""
            router.explain.decided("retry", None, f"{state.rule}, but {status.value}{why}")

    # -- the next one

    def _refresh_cluster(self) -> Cluster:
        """Choose another of the weighted clusters, with all that the route says of it."""
        router = self._router
        old = router.route_entry
        if old.chosen_of is not None:
            specifier, index = old.chosen_of
            self._tried_clusters.add(index)
            chosen = specifier.another(
                self._tried_clusters, router.request_headers, router.config.random.getrandbits(64)
            )
            cluster = router.config.get_cluster(chosen.cluster_name)
            if cluster is not None:
                router.route_entry = router.stream._route = chosen
                router.cluster = cluster
                if cluster.upstream_filters is not None:
                    router.config = router.config.filtering()
                if cluster.route_policies is not None:
                    router.route_entry = cluster.route_policies.over(chosen)
                if router.explain is not NO_EXPLANATION:
                    router.explain.decided("cluster", cluster.name, "refresh_cluster_on_retry")
        return router.cluster

    def _try_again(self, because_of_timeout: bool = False) -> None:
        router = self._router
        stream = router.stream
        self.is_retry = True
        self.count += 1
        stream.attempt_count = self.count
        self.waiting -= 1
        config = router.config
        cluster = config.get_cluster(router.cluster.name)
        host = None if cluster is None else self._choose_host(cluster)
        if host is None:
            router.no_healthy_upstream()
            return
        headers = router.request_headers
        if self.settings.count_in_request:
            self.mark_request(headers)
        if self.settings.timeout_retry_in_request:
            headers.set(b"x-envoy-is-timeout-retry", b"true" if because_of_timeout else b"false")
        set_timeout_headers(router, headers, router.elapsed_milliseconds())
        stream.upstream_request_create_time = stream.dispatcher.monotonic_time()
        # What is known of the upstream is from now on about this attempt.
        stream.upstream_host = host
        stream.upstream_client = None
        stream.upstream_transport_failure_reason = ""
        stream.first_upstream_tx_byte_time = stream.last_upstream_tx_byte_time = None
        stream.first_upstream_rx_byte_time = stream.last_upstream_rx_byte_time = None
        upstream = config.make_upstream_request(router, host)
        self.live.insert(0, upstream)
        router.start_attempt(upstream)

    def _choose_host(self, cluster: Cluster) -> Host | None:
        """Of the cluster as it is now: it may have been replaced since the first attempt."""
        router, state = self._router, self.state
        if state is not None and state.heeds_hosts:
            router.host_selection_retries = state.policy.host_selection_max_attempts if state.host_predicates else 0
            router.retry_priority = state.retry_priority
        if router.stream.upstream_override_host is None:
            return cluster.load_balancer.choose_host(router)
        return cluster.choose_host(router)
