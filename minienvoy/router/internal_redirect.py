"""Redirects of an upstream that the proxy follows itself.

Envoy: `Router::InternalRedirectPolicyImpl`, `Router::Filter::setupRedirect`; docs "Internal redirects". A redirect that
can not be followed goes to the client as it came.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..config.extension import create_extensions
from ..config.fields import honours
from ..explain.explanation import NO_EXPLANATION
from ..http.header_map import RequestHeaderMap, ResponseHeaderMap
from ..http.http1.request_target import parse_url
from ..registry import Registry
from .request_buffer import RequestBuffer

if TYPE_CHECKING:
    from ..http.conn_manager_stats import RouterStats
    from ..http.filter_manager import FilterManager
    from .router import Router

honours(
    "envoy.config.route.v3.InternalRedirectPolicy",
    "max_internal_redirects",
    "redirect_response_codes",
    "predicates",
    "allow_cross_scheme_redirect",
    "response_headers_to_copy",
)

_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_HANDLE: Final = 1
"""`RouteAction.InternalRedirectAction.HANDLE_INTERNAL_REDIRECT`."""
_SEE_OTHER: Final = 303
_COUNT: Final = "num_internal_redirects"


class RedirectTarget(NamedTuple):
    """What a predicate may look at: where the redirect leads, and what the request has brought along."""

    route_name: str
    is_https: bool
    downstream_is_https: bool
    filter_state: dict[str, Any]


RedirectPredicate = Callable[[RedirectTarget], bool]
REDIRECT_PREDICATES: Registry[Callable[[Any, str], RedirectPredicate]] = Registry("envoy.internal_redirect_predicates")
"""(configuration message, name of the route with the policy) -> whether a redirect is followed"""


class InternalRedirectPolicy:
    """Which redirects are followed, compiled.

    Attributes:
        codes: status codes of the upstream.
    """

    __slots__ = ("_copied", "_cross_scheme", "_max", "_predicates", "codes")

    def __init__(
        self,
        codes: frozenset[int],
        max_redirects: int = 1,
        predicates: Sequence[RedirectPredicate] = (),
        cross_scheme: bool = False,
        copied: Sequence[bytes] = (),
    ) -> None:
        self.codes = codes
        self._max = max_redirects
        self._predicates = tuple(predicates)
        self._cross_scheme = cross_scheme
        self._copied = tuple(copied)

    def follow(self, router: Router, response: ResponseHeaderMap) -> bool:
        """Whether the request of `router` has been begun anew as `response`, a redirect, asks for."""
        stream, request = router.stream, router.request_headers
        traffic = router.cluster.stats.traffic
        location = response.joined(b"location")
        kept = next((each for each in router.shadows if isinstance(each, RequestBuffer)), None)
        if not router.request_complete:
            problem = "request_incomplete"
        elif kept is not None and kept.overflowed:
            problem = "request_body_overflow"
        elif location is None:
            problem = "missing_location"
        else:
            problem = self._convert(stream, request, response, location, router.config.stats)
        if stream.explain is not NO_EXPLANATION:
            stream.explain.decided("internal_redirect", None if problem else request.path.decode("latin-1"), problem)
        body = b"" if kept is None else b"".join(kept.chunks)
        if response.status == _SEE_OTHER and not problem and request.method not in (b"GET", b"HEAD"):
            request.method = b"GET"
            request.remove(b"content-length")
            body = b""
        if problem or not stream.recreate_stream(response, body):
            traffic.upstream_internal_redirect_failed_total += 1
            return False
        traffic.upstream_internal_redirect_succeeded_total += 1
        return True

    def _convert(
        self,
        stream: FilterManager,
        request: RequestHeaderMap,
        response: ResponseHeaderMap,
        location: bytes,
        stats: RouterStats,
    ) -> str:
        """Make `request` the one that is asked for; if it says why not, nothing has changed but the route."""
        url = parse_url(location)
        if url is None:
            stats.passthrough_internal_redirect_bad_location += 1
            return "bad_location"
        scheme, authority, path = url
        is_http = request.scheme == b"http" or stream.connection.ssl is None
        if not self._cross_scheme and is_http != (scheme == b"http"):
            stats.passthrough_internal_redirect_unsafe_scheme += 1
            return "unsafe_scheme"
        done = stream.filter_state.setdefault(_COUNT, 0)
        if done >= self._max:
            stats.passthrough_internal_redirect_too_many_redirects += 1
            return "too_many_redirects"
        before = request.copy()
        self._copy_headers(request, response)
        request.scheme, request.authority = scheme, authority
        # A path with a fragment is refused: the client would not have sent it either.
        request.path = path.partition(b"#")[0]
        stream.clear_route_cache()
        route = stream.route()
        problem = ""
        if route is None:
            stream.forget_route()
            stats.passthrough_internal_redirect_no_route += 1
            problem = "no_route"
        else:
            target = RedirectTarget(route.name, scheme != b"http", not is_http, stream.filter_state)
            if not all(accepts(target) for accepts in self._predicates):
                stats.passthrough_internal_redirect_predicate += 1
                problem = "predicate"
        if problem:
            _restore(request, before)
            return problem
        stream.filter_state[_COUNT] = done + 1
        original = b"%b://%b%b" % (b"http" if is_http else b"https", before.authority, before.path)
        request.set(b"x-envoy-original-url", original)
        return ""

    def _copy_headers(self, request: RequestHeaderMap, response: ResponseHeaderMap) -> None:
        for name in self._copied:
            request.remove(name)
            for value in response.get_all(name):
                request.add(name, value)


def _restore(request: RequestHeaderMap, before: RequestHeaderMap) -> None:
    request.scheme, request.authority, request.path = before.scheme, before.authority, before.path
    request.entries, request.seen = before.entries, before.seen


def internal_redirect_policy(action: Any, route_name: str, path: str) -> InternalRedirectPolicy | None:
    """Of a `RouteAction`; None if redirects are passed on.

    Raises:
        ConfigError: a predicate that is not known.
    """
    if not action.HasField("internal_redirect_policy"):
        if action.internal_redirect_action != _HANDLE:
            return None
        limit = action.max_internal_redirects
        return InternalRedirectPolicy(
            frozenset((302,)), limit.value if action.HasField("max_internal_redirects") else 1
        )
    policy = action.internal_redirect_policy
    return InternalRedirectPolicy(
        frozenset(policy.redirect_response_codes) & _REDIRECTS if policy.redirect_response_codes else frozenset((302,)),
        policy.max_internal_redirects.value if policy.HasField("max_internal_redirects") else 1,
        create_extensions(
            REDIRECT_PREDICATES, policy.predicates, f"{path}.internal_redirect_policy.predicates", route_name
        ),
        policy.allow_cross_scheme_redirect,
        tuple(name.lower().encode() for name in policy.response_headers_to_copy),
    )
