"""Whether one request is tried again, and when.

Envoy: `Router::RetryStateImpl`; docs "Retry semantics", "x-envoy-retry-on".

A request has one of these if its route or one of its headers asks for retries. The router tells it how each attempt
ended. It decides in this order: is this kind of failure retried at all; are there retries left; do the circuit breakers
let one more retry be under way. From the moment that a retry is granted until the attempt has ended it counts as under
way, also while it waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Final

from ..http.ascii_number import unsigned
from ..http.codec import StreamResetReason
from ..http.header_map import KIND, RequestHeaderMap, ResponseHeaderMap
from ..upstream.backoff_strategy import JitteredExponentialBackOffStrategy, JitteredLowerBoundBackOffStrategy
from .retry_policy import NAMES, RETRY_GRPC_ON, RETRY_ON, RetryOn, RetryPolicy, parse_retry_on

if TYPE_CHECKING:
    from ..event.dispatcher import Timer
    from ..upstream.cluster import Cluster
    from ..upstream.host import Host
    from .retry_policy import AttemptedRetryPriority, RetryHostPredicate
    from .router_config import RouterConfig
    from .virtual_cluster import RequestTally

_CONNECT_FAILURES: Final = (
    StreamResetReason.LOCAL_CONNECTION_FAILURE,
    StreamResetReason.REMOTE_CONNECTION_FAILURE,
    StreamResetReason.CONNECTION_TIMEOUT,
)
_GRPC_STATUSES: Final = {
    1: RetryOn.GRPC_CANCELLED,
    4: RetryOn.GRPC_DEADLINE_EXCEEDED,
    8: RetryOn.GRPC_RESOURCE_EXHAUSTED,
    13: RetryOn.GRPC_INTERNAL,
    14: RetryOn.GRPC_UNAVAILABLE,
}
_ANY_GRPC: Final = sum(_GRPC_STATUSES.values())
_RATELIMITED: Final = KIND[b"x-envoy-ratelimited"]
CONFLICT: Final = 409


class RetryStatus(Enum):
    NO = "not retried"
    YES = "retried"
    NO_OVERFLOW = "too many retries under way"
    NO_RETRY_LIMIT_EXCEEDED = "no retries left"


class RetryState:
    """Attributes:
    enabled: something may be retried, so a body has to be kept.
    rule: why the last attempt was retried, or would have been; empty if nothing asks for it.
    back_off: seconds that the retry waits.
    refresh: called before a retry that is no hedge; answers which cluster it goes to. None: to the same.
    heeds_hosts: which hosts were tried makes a difference.
    remaining: retries left.
    """

    __slots__ = (
        "_armed",
        "_back_off",
        "_callback",
        "_config",
        "_hedging",
        "_limited",
        "_retriable_header_names",
        "_status_codes",
        "_tally",
        "_timer",
        "_tried",
        "back_off",
        "cluster",
        "heeds_hosts",
        "host_predicates",
        "policy",
        "priority",
        "refresh",
        "remaining",
        "resource",
        "retry_on",
        "retry_priority",
        "rule",
    )

    def __init__(
        self,
        config: RouterConfig,
        policy: RetryPolicy,
        cluster: Cluster,
        priority: int,
        tally: Sequence[RequestTally] = (),
    ) -> None:
        """`tally` counts what the cluster counts."""
        self._tally = tally
        self.policy = policy
        self.cluster = cluster
        self.remaining = policy.num_retries
        self.resource = cluster.resource_managers[priority].retries
        self.host_predicates: Sequence[RetryHostPredicate] = ()
        self.retry_priority: AttemptedRetryPriority | None = None
        self.heeds_hosts = bool(policy.host_predicates) or policy.retry_priority is not None
        if self.heeds_hosts:
            self.host_predicates = [make() for make in policy.host_predicates]
            self.retry_priority = None if policy.retry_priority is None else policy.retry_priority()
        self.back_off = 0.0
        self.rule = ""
        self.refresh: Callable[[], Cluster] | None = None
        self._hedging = False
        self._config = config
        self._armed = self._tried = False
        self._callback: Callable[[], None] | None = None
        self._timer: Timer | None = None
        self._back_off: JitteredExponentialBackOffStrategy | None = None
        self._limited: JitteredLowerBoundBackOffStrategy | None = None
        self._status_codes = policy.retriable_status_codes
        self._retriable_header_names: tuple[bytes, ...] = ()
        self.retry_on = policy.retry_on

    @property
    def enabled(self) -> bool:
        return bool(self.retry_on)

    # -- how an attempt ended

    def should_retry_headers(self, headers: ResponseHeaderMap, callback: Callable[[], None]) -> RetryStatus:
        """A response has begun. With YES, `callback` is called when the next attempt may start."""
        rule = self.would_retry_headers(headers)
        if rule and self.policy.reset_headers:
            interval = self._reset_interval(headers)
            if interval is not None and interval > 0.001:
                self._limited = JitteredLowerBoundBackOffStrategy(interval, self._config.random)
        return self._should_retry(rule, callback)

    def should_retry_reset(self, reason: StreamResetReason, started: bool, callback: Callable[[], None]) -> RetryStatus:
        """There is no response; `started` tells whether any attempt has got as far as to an upstream."""
        return self._should_retry(self._would_retry_reset(reason, started), callback)

    def should_hedge(self, callback: Callable[[], None]) -> RetryStatus:
        """An attempt is slow, but goes on: whatever is retried, this is."""
        status = self._should_retry("hedge_on_per_try_timeout", callback)
        self._hedging = status is RetryStatus.YES
        return status

    def would_retry_headers(self, headers: ResponseHeaderMap) -> str:
        """The rule that retries such a response; empty if there is none."""
        retry_on, status = self.retry_on, headers.status
        if headers.seen & _RATELIMITED and headers.has(b"x-envoy-ratelimited"):
            return "envoy-ratelimited" if retry_on & RetryOn.ENVOY_RATELIMITED else ""
        if status >= 500:
            if retry_on & RetryOn.SERVER_ERROR and status < 600:
                return f"5xx: {status}"
            if retry_on & RetryOn.GATEWAY_ERROR and 502 <= status <= 504:
                return f"gateway-error: {status}"
        if status == CONFLICT and retry_on & RetryOn.RETRIABLE_4XX:
            return f"retriable-4xx: {status}"
        if retry_on & RetryOn.RETRIABLE_STATUS_CODES and status in self._status_codes:
            return f"retriable-status-codes: {status}"
        if retry_on & RetryOn.RETRIABLE_HEADERS:
            for matcher in self.policy.retriable_headers:
                if matcher.matches(headers):
                    return f"retriable-headers: {matcher.description}"
            for name in self._retriable_header_names:
                if headers.has(name):
                    return f"retriable-headers: {name.decode('latin-1')}"
        if retry_on & _ANY_GRPC:
            code = unsigned(headers.get(b"grpc-status") or b"")
            bit = 0 if code is None else _GRPC_STATUSES.get(code, 0)
            if bit & retry_on:
                return f"{NAMES[bit]}: grpc-status {code}"
        return ""

    def _would_retry_reset(self, reason: StreamResetReason, started: bool) -> str:
        retry_on = self.retry_on
        if reason is StreamResetReason.OVERFLOW:
            # One more attempt would only add to it.
            return ""
        for bit in (RetryOn.RESET, RetryOn.SERVER_ERROR, RetryOn.GATEWAY_ERROR):
            # What is reset would become a 503.
            if retry_on & bit:
                return f"{NAMES[bit]}: {reason.value}"
        if retry_on & RetryOn.RESET_BEFORE_REQUEST and not started:
            return f"reset-before-request: {reason.value}"
        if retry_on & RetryOn.REFUSED_STREAM and reason is StreamResetReason.REMOTE_REFUSED_STREAM_RESET:
            return f"refused-stream: {reason.value}"
        if retry_on & RetryOn.CONNECT_FAILURE and reason in _CONNECT_FAILURES:
            return f"connect-failure: {reason.value}"
        return ""

    def _should_retry(self, rule: str, callback: Callable[[], None]) -> RetryStatus:
        stats = self.cluster.stats.traffic
        if self._tried and not rule:
            # There was a retry, and nothing is wrong with this response.
            stats.upstream_rq_retry_success += 1
            for each in self._tally:
                each.stats.upstream_rq_retry_success += 1
        if self._armed:
            self.reset()
        self.rule = rule
        if not rule:
            return RetryStatus.NO
        if self.remaining == 0:
            stats.upstream_rq_retry_limit_exceeded += 1
            for each in self._tally:
                each.stats.upstream_rq_retry_limit_exceeded += 1
            return RetryStatus.NO_RETRY_LIMIT_EXCEEDED
        self.remaining -= 1
        if not self.resource.can_create:
            stats.upstream_rq_retry_overflow += 1
            for each in self._tally:
                each.stats.upstream_rq_retry_overflow += 1
            return RetryStatus.NO_OVERFLOW
        if not self._config.use_retry():
            return RetryStatus.NO
        self._armed = True
        self._hedging = False
        self._callback = callback
        self.resource.current += 1
        self.resource.touched = True
        self._wait()
        return RetryStatus.YES

    def reset(self) -> None:
        """Nothing is under way any more; a retry that waits does not happen."""
        if self._armed:
            self._armed = False
            self.resource.current -= 1
        if self._callback is not None and self._timer is not None:
            # It has not fired yet.
            self._callback = None
            self._timer.disable()

    # -- the back-off

    def _wait(self) -> None:
        if self._limited is not None:
            self.back_off = self._limited.next_back_off()
        else:
            if self._back_off is None:
                base, maximum = self._config.back_off(self.policy)
                self._back_off = JitteredExponentialBackOffStrategy(base, maximum, self._config.random)
            self.back_off = self._back_off.next_back_off()
        if self._timer is None:
            self._timer = self.cluster.dispatcher.create_timer(self._on_timer)
        self._timer.enable(self.back_off)

    def _on_timer(self) -> None:
        self._tried = True
        if self.refresh is not None and not self._hedging:
            self.cluster = self.refresh()
        stats = self.cluster.stats.traffic
        stats.upstream_rq_retry += 1
        for each in self._tally:
            each.stats.upstream_rq_retry += 1
        if self._limited is not None:
            self._limited = None
            stats.upstream_rq_retry_backoff_ratelimited += 1
        else:
            stats.upstream_rq_retry_backoff_exponential += 1
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()

    def _reset_interval(self, headers: ResponseHeaderMap) -> float | None:
        now = self.cluster.dispatcher.wall_time()
        for header in self.policy.reset_headers:
            interval = header.interval(headers, now)
            if interval is not None and interval <= self.policy.reset_max_interval:
                return interval
        return None

    # -- which host comes next

    def should_select_another_host(self, host: Host) -> bool:
        return any(predicate.should_select_another_host(host) for predicate in self.host_predicates)

    def on_host_attempted(self, host: Host) -> None:
        for predicate in self.host_predicates:
            predicate.on_host_attempted(host)
        if self.retry_priority is not None:
            self.retry_priority.on_host_attempted(host)

    def take_headers(self, headers: RequestHeaderMap) -> None:
        """What an internal request says adds to the policy; its number of retries replaces the policy's."""
        value = headers.get(b"x-envoy-retry-on")
        if value is not None:
            self.retry_on |= parse_retry_on(value, RETRY_ON)[0]
        value = headers.get(b"x-envoy-retry-grpc-on")
        if value is not None:
            self.retry_on |= parse_retry_on(value, RETRY_GRPC_ON)[0]
        wanted = self.policy.retriable_request_headers
        if wanted and not any(matcher.matches(headers) for matcher in wanted):
            self.retry_on = 0
        value = headers.get(b"x-envoy-max-retries")
        if value is not None and self.retry_on:
            number = unsigned(value)
            if number is not None:
                self.remaining = number
        value = headers.get(b"x-envoy-retriable-status-codes")
        if value is not None:
            codes = (unsigned(part, 2**32) for part in value.split(b","))
            self._status_codes = (*self._status_codes, *(code for code in codes if code is not None))
        value = headers.get(b"x-envoy-retriable-header-names")
        if value is not None:
            names = (part.strip().lower() for part in value.split(b","))
            self._retriable_header_names = tuple(name for name in names if name)
