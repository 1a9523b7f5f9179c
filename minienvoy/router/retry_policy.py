"""When a failed attempt may be repeated: compiled from the configuration.

Envoy: `Router::RetryPolicyImpl`, `RetryStateImpl::parseRetryOn`, `HedgePolicyImpl`; docs "Retry semantics", "Hedging".
What a virtual host says is for the routes that say nothing themselves; a policy of the route replaces it as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..config.api import unpack
from ..config.extension import create_extensions, find_extension
from ..config.fields import honours
from ..errors import ConfigError
from ..matchers.header import HeaderMatcher, compile_header_matchers
from ..record import record, replace
from ..registry import Registry
from ..upstream.duration import duration_of
from ..upstream.load_balancer import RetryPriority

if TYPE_CHECKING:
    from ..upstream.host import Host
    from .reset_header import ResetHeader

honours(
    "envoy.config.route.v3.RetryPolicy",
    "retry_on",
    "num_retries",
    "per_try_timeout",
    "per_try_idle_timeout",
    "retry_priority",
    "retry_host_predicate",
    "retry_options_predicates",
    "host_selection_retry_max_attempts",
    "retriable_status_codes",
    "retry_back_off",
    "rate_limited_retry_back_off",
    "retriable_headers",
    "retriable_request_headers",
    "refresh_cluster_on_retry",
)
honours("envoy.config.route.v3.RetryPolicy.RetryBackOff", "base_interval", "max_interval")
honours("envoy.config.route.v3.RetryPolicy.RateLimitedRetryBackOff", "reset_headers", "max_interval")
honours("envoy.config.route.v3.RetryPolicy.ResetHeader", "name", "format")
honours("envoy.config.route.v3.RetryPolicy.RetryHostPredicate", "name", "typed_config")
honours("envoy.config.route.v3.RetryPolicy.RetryPriority", "name", "typed_config")
honours(
    "envoy.config.route.v3.HedgePolicy",
    "hedge_on_per_try_timeout",
    ignored={
        "initial_requests": "Envoy does not implement it either",
        "additional_request_chance": "Envoy does not implement it either",
    },
)


class RetryOn:
    """Bits of `RetryPolicy.retry_on`."""

    SERVER_ERROR: Final = 1
    GATEWAY_ERROR: Final = 2
    CONNECT_FAILURE: Final = 4
    RETRIABLE_4XX: Final = 8
    REFUSED_STREAM: Final = 16
    RETRIABLE_STATUS_CODES: Final = 32
    RETRIABLE_HEADERS: Final = 64
    RESET: Final = 128
    RESET_BEFORE_REQUEST: Final = 256
    ENVOY_RATELIMITED: Final = 512
    HTTP3_POST_CONNECT_FAILURE: Final = 1024
    """Accepted; there is no HTTP/3 upstream that it could be about."""
    GRPC_CANCELLED: Final = 1 << 11
    GRPC_DEADLINE_EXCEEDED: Final = 1 << 12
    GRPC_INTERNAL: Final = 1 << 13
    GRPC_RESOURCE_EXHAUSTED: Final = 1 << 14
    GRPC_UNAVAILABLE: Final = 1 << 15


RETRY_ON: Final = {
    b"5xx": RetryOn.SERVER_ERROR,
    b"gateway-error": RetryOn.GATEWAY_ERROR,
    b"connect-failure": RetryOn.CONNECT_FAILURE,
    b"retriable-4xx": RetryOn.RETRIABLE_4XX,
    b"refused-stream": RetryOn.REFUSED_STREAM,
    b"retriable-status-codes": RetryOn.RETRIABLE_STATUS_CODES,
    b"retriable-headers": RetryOn.RETRIABLE_HEADERS,
    b"reset": RetryOn.RESET,
    b"reset-before-request": RetryOn.RESET_BEFORE_REQUEST,
    b"envoy-ratelimited": RetryOn.ENVOY_RATELIMITED,
    b"http3-post-connect-failure": RetryOn.HTTP3_POST_CONNECT_FAILURE,
}
"""The words of `retry_on` and of `x-envoy-retry-on`."""
RETRY_GRPC_ON: Final = {
    b"cancelled": RetryOn.GRPC_CANCELLED,
    b"deadline-exceeded": RetryOn.GRPC_DEADLINE_EXCEEDED,
    b"internal": RetryOn.GRPC_INTERNAL,
    b"resource-exhausted": RetryOn.GRPC_RESOURCE_EXHAUSTED,
    b"unavailable": RetryOn.GRPC_UNAVAILABLE,
}
"""The words of `retry_on` that are about `grpc-status`, and those of `x-envoy-retry-grpc-on`."""
_ALL: Final = RETRY_ON | RETRY_GRPC_ON
NAMES: Final = {bit: word.decode() for word, bit in _ALL.items()}


def parse_retry_on(value: bytes, words: dict[bytes, int]) -> tuple[int, bool]:
    """(the bits of the words that are known, whether all are)."""
    bits, known = 0, True
    for word in filter(None, (part.strip() for part in value.split(b","))):
        bit = words.get(word)
        if bit is None:
            known = False
        else:
            bits |= bit
    return bits, known


class RetryHostPredicate(Protocol):
    """Refuses hosts that a retry should not go to (`Upstream::RetryHostPredicate`); one for each request."""

    def should_select_another_host(self, host: Host) -> bool: ...
    def on_host_attempted(self, host: Host) -> None: ...


class AttemptedRetryPriority(RetryPriority, Protocol):
    """Spreads retries over priorities in its own way; one for each request."""

    def on_host_attempted(self, host: Host) -> None: ...


RETRY_HOST_PREDICATES: Registry[Callable[[Any], Callable[[], RetryHostPredicate]]] = Registry(
    "envoy.retry_host_predicates"
)
"""configuration message -> what makes the predicate of a request"""
RETRY_PRIORITIES: Registry[Callable[[Any], Callable[[], AttemptedRetryPriority]]] = Registry("envoy.retry_priorities")
"""configuration message -> what makes the `AttemptedRetryPriority` of a request"""
RETRY_OPTIONS_PREDICATES: Registry[Callable[[Any], object]] = Registry("envoy.retry_options_predicates")
"""Envoy comes with none, and so do we: whatever is named is refused."""


@record
class RetryPolicy:
    """Compiled; intervals are seconds, None where the runtime or a multiple of another decides.

    Attributes:
        retry_on: bits of `RetryOn`.
        per_try_timeout, per_try_idle_timeout: 0 for none.
        retriable_request_headers: one of them has to match, or the request is not retried at all.
        refresh_cluster: a retry goes to another cluster of a weighted route.
        reset_headers: what responses may say about when to come again, up to `reset_max_interval` from now.
    """

    retry_on: int = 0
    num_retries: int = 1
    per_try_timeout: float = 0.0
    per_try_idle_timeout: float = 0.0
    retriable_status_codes: tuple[int, ...] = ()
    retriable_headers: tuple[HeaderMatcher, ...] = ()
    retriable_request_headers: tuple[HeaderMatcher, ...] = ()
    base_interval: float | None = None
    max_interval: float | None = None
    reset_headers: tuple[ResetHeader, ...] = ()
    reset_max_interval: float = 300.0
    host_predicates: tuple[Callable[[], RetryHostPredicate], ...] = ()
    host_selection_max_attempts: int = 1
    retry_priority: Callable[[], AttemptedRetryPriority] | None = None
    refresh_cluster: bool = False

    @classmethod
    def from_proto(cls, proto: Any, path: str) -> RetryPolicy:
        """From `envoy.config.route.v3.RetryPolicy`; raises ConfigError below `path`."""
        base = maximum = None
        if proto.HasField("retry_back_off"):
            base, maximum = _intervals(proto.retry_back_off, f"{path}.retry_back_off")
        limited = proto.rate_limited_retry_back_off
        priority = None
        if proto.HasField("retry_priority"):
            where = f"{path}.retry_priority"
            # Envoy does not look at the constraints of this one.
            config = unpack(proto.retry_priority.typed_config, f"{where}.typed_config")
            priority = find_extension(RETRY_PRIORITIES, proto.retry_priority, where).factory(config)
        create_extensions(RETRY_OPTIONS_PREDICATES, proto.retry_options_predicates, f"{path}.retry_options_predicates")
        return cls(
            retry_on=parse_retry_on(proto.retry_on.encode(), _ALL)[0],
            num_retries=proto.num_retries.value if proto.HasField("num_retries") else 1,
            per_try_timeout=_whole_milliseconds(duration_of(proto, "per_try_timeout", 0.0)),
            per_try_idle_timeout=_whole_milliseconds(duration_of(proto, "per_try_idle_timeout", 0.0)),
            retriable_status_codes=tuple(proto.retriable_status_codes),
            retriable_headers=compile_header_matchers(proto.retriable_headers, f"{path}.retriable_headers"),
            retriable_request_headers=compile_header_matchers(
                proto.retriable_request_headers, f"{path}.retriable_request_headers"
            ),
            base_interval=base,
            max_interval=maximum,
            reset_headers=_reset_headers(limited.reset_headers),
            reset_max_interval=duration_of(limited, "max_interval", 300.0),
            host_predicates=tuple(
                create_extensions(RETRY_HOST_PREDICATES, proto.retry_host_predicate, f"{path}.retry_host_predicate")
            ),
            host_selection_max_attempts=proto.host_selection_retry_max_attempts or 1,
            retry_priority=priority,
            refresh_cluster=proto.refresh_cluster_on_retry,
        )


NO_RETRIES: Final = RetryPolicy()


@record
class AttemptSettings:
    """What a route says about the attempts of its requests, beside what they are tried for.

    Attributes:
        count_in_request, count_in_response: `x-envoy-attempt-count` is told to the upstream, to the client.
        timeout_retry_in_request: `x-envoy-is-timeout-retry` is told to the upstream of a retry.
        body_buffer_limit: bytes of a body that are kept for another attempt; None if it is not said.
        old_buffer_limit: what counts then (`per_request_buffer_limit_bytes`).
    """

    retry_policy: RetryPolicy = NO_RETRIES
    hedge_on_per_try_timeout: bool = False
    count_in_request: bool = False
    count_in_response: bool = False
    timeout_retry_in_request: bool = False
    body_buffer_limit: int | None = None
    old_buffer_limit: int | None = None

    @classmethod
    def of_virtual_host(cls, proto: Any, path: str) -> AttemptSettings:
        """From `envoy.config.route.v3.VirtualHost`; raises ConfigError below `path`."""
        return replace(
            cls(
                count_in_request=proto.include_request_attempt_count,
                count_in_response=proto.include_attempt_count_in_response,
                timeout_retry_in_request=proto.include_is_timeout_retry_header,
            ),
            **_own(proto, path),
            **_buffer_limits(proto),
        )

    def of_route(self, proto: Any, path: str) -> AttemptSettings:
        """Of a route of this virtual host."""
        return replace(self, **_own(proto.route, f"{path}.route"), **_buffer_limits(proto))

    @property
    def buffer_limit(self) -> int | None:
        """None for the connection's limit."""
        return self.old_buffer_limit if self.body_buffer_limit is None else self.body_buffer_limit

    @property
    def plain(self) -> bool:
        """Nothing but what a request has by itself: one attempt, of which nobody is told."""
        return replace(self, body_buffer_limit=None, old_buffer_limit=None) == PLAIN


PLAIN: Final = AttemptSettings()


def _own(proto: Any, path: str) -> dict[str, Any]:
    """The policies of a `VirtualHost` or a `RouteAction`."""
    found: dict[str, Any] = {}
    if proto.HasField("retry_policy"):
        found["retry_policy"] = RetryPolicy.from_proto(proto.retry_policy, f"{path}.retry_policy")
    if proto.HasField("hedge_policy"):
        found["hedge_on_per_try_timeout"] = proto.hedge_policy.hedge_on_per_try_timeout
    return found


def _buffer_limits(proto: Any) -> dict[str, Any]:
    """Of a `VirtualHost` or a `Route`."""
    fields = {"body_buffer_limit": "request_body_buffer_limit", "old_buffer_limit": "per_request_buffer_limit_bytes"}
    return {mine: getattr(proto, field).value for mine, field in fields.items() if proto.HasField(field)}


def _reset_headers(protos: Any) -> tuple[ResetHeader, ...]:
    if not protos:
        return ()
    from .reset_header import ResetHeader

    return tuple(map(ResetHeader.from_proto, protos))


def _intervals(proto: Any, path: str) -> tuple[float, float | None]:
    """Both are at least a millisecond."""
    base = max(0.001, duration_of(proto, "base_interval", 0.0))
    if not proto.HasField("max_interval"):
        return base, None
    maximum = max(0.001, duration_of(proto, "max_interval", 0.0))
    if maximum < base:
        raise ConfigError("retry_policy.max_interval must greater than or equal to the base_interval", path)
    return base, maximum


def _whole_milliseconds(seconds: float) -> float:
    return int(seconds * 1000 + 1e-6) / 1000
