"""How long a request and each of its attempts may take, and what the upstream is told of it.

Envoy: `FilterUtility::finalTimeout`, `FilterUtility::setTimeoutHeaders`; docs "x-envoy-upstream-rq-timeout-ms",
"x-envoy-expected-rq-timeout-ms". What an internal request asks for replaces what the route says. A timeout per attempt
that is not shorter than the whole has no effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..http.ascii_number import unsigned
from ..http.grpc import is_grpc
from ..http.header_map import RequestHeaderMap
from .grpc_timeout import set_grpc_timeout

if TYPE_CHECKING:
    from .route_entry import RouteEntry
    from .router import Router

EXPECTED: Final = b"x-envoy-expected-rq-timeout-ms"
WHOLE: Final = b"x-envoy-upstream-rq-timeout-ms"
PER_TRY: Final = b"x-envoy-upstream-rq-per-try-timeout-ms"


def final_timeout(router: Router, headers: RequestHeaderMap) -> None:
    """Find the timeouts of `router`'s request; take the headers that ask for them away, and tell what remains."""
    route, attempts = router.route_entry, router.attempts
    if takes_grpc_timeout(headers, route):
        assert route.grpc_timeouts is not None
        router.timeout = route.grpc_timeouts.timeout(headers)
    source = WHOLE
    if router.config.respect_expected_rq_timeout and headers.has(EXPECTED):
        source = EXPECTED
    value = headers.get(source)
    if value is not None:
        milliseconds = unsigned(value)
        if milliseconds is not None:
            router.timeout = milliseconds / 1000
        if source is WHOLE:
            headers.remove(WHOLE)
    if attempts is not None:
        value = headers.get(PER_TRY)
        if value is not None:
            milliseconds = unsigned(value)
            if milliseconds is not None:
                attempts.per_try_timeout = milliseconds / 1000
        if router.timeout and attempts.per_try_timeout >= router.timeout:
            attempts.per_try_timeout = 0.0
    set_timeout_headers(router, headers, 0)


def set_timeout_headers(router: Router, headers: RequestHeaderMap, elapsed: int) -> None:
    """Tell the upstream how long it has; `elapsed` are the milliseconds that have passed since the request came."""
    attempts = router.attempts
    whole = round(router.timeout * 1000)
    # An attempt that is hedged goes on when its own time is over.
    expected = 0 if attempts is None or attempts.hedges else round(attempts.per_try_timeout * 1000)
    expected = expected or whole
    if not expected:
        return
    if whole:
        # No time at all would mean no timeout.
        expected = 1 if elapsed >= whole else min(expected, whole - elapsed)
    if not router.config.suppress_envoy_headers:
        headers.set(EXPECTED, b"%d" % expected)
    if takes_grpc_timeout(headers, router.route_entry):
        set_grpc_timeout(headers, expected / 1000)


def takes_grpc_timeout(headers: RequestHeaderMap, route: RouteEntry) -> bool:
    """Whether the deadline of a gRPC client takes the place of the route's timeout."""
    timeouts = route.grpc_timeouts
    return timeouts is not None and timeouts.max_timeout is not None and is_grpc(headers.get(b"content-type"))
