"""Tests of routes, in the format of Envoy's `router_check_tool`.

Envoy: `RouterCheckTool` (`test/tools/router_check/router.cc`); docs "Route table check tool". Each test is asked of the
compiled `RouteConfig`, as a request asks it; where the configuration has a connection manager, path and host are
normalised before that as it says. What differs from the data plane is what the format itself says: `random_value` is
the random number, and a fraction of the runtime holds only for the one key that the test names in `runtime`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..config.api import struct_to_dict
from ..config.runtime import FractionalPercent, Loader, RuntimeFractionalPercent, Snapshot
from ..explain.explanation import Explanation
from ..http.conn_manager_utility import PATH_OK, normalize_path, strip_host
from ..http.header_map import RequestHeaderMap, ResponseHeaderMap
from ..matchers.header import HeaderMatcher
from ..network.address import Address
from ..router.config import RouteConfig
from ..stream_info import ConnectionInfo, StreamInfo
from .coverage import Coverage

if TYPE_CHECKING:
    from ..router.route_entry import RouteEntry


class CheckStream(StreamInfo):
    """The stream of a test: what routes and formats ask of one."""

    def __init__(self) -> None:
        self.explain = Explanation()
        self.connection = ConnectionInfo(Address("127.0.0.1"), Address("127.0.0.1"))
        self.protocol = "HTTP/1.1"


class _CheckSnapshot(Snapshot):
    active = ""

    def fraction_enabled(self, fraction: RuntimeFractionalPercent, random_value: int) -> bool:
        if not self.active or fraction.runtime_key != self.active:
            return False
        default = fraction.default
        # A fraction of 0 could not be tested: it counts as the smallest there is.
        return FractionalPercent(default.numerator or 1, default.denominator).enabled(random_value)


class CheckRuntime(Loader):
    """The runtime of tests."""

    snapshot: _CheckSnapshot

    def __init__(self) -> None:
        super().__init__()
        self.snapshot = _CheckSnapshot()


@dataclass(slots=True)
class Result:
    """What came of a test; `failures` are in the words of the tool, and empty if it passed.

    Attributes:
        path: of the test in its file.
        route: that matched, or None.
        rejected: near misses.
    """

    name: str
    path: str
    failures: list[str] = field(default_factory=list)
    route: RouteEntry | None = None
    because: str = ""
    rejected: tuple[object, ...] = ()


class RouteCheck:
    """Asks one route configuration.

    `manager` is the `ConnectionManagerConfig` around it, or None where routes are tested alone.
    """

    def __init__(self, proto: Any, path: str, sources: Any, manager: Any = None) -> None:
        """Raises ConfigError for routes that can not be used."""
        self._runtime = CheckRuntime()
        self._routes = RouteConfig(proto, path, runtime=self._runtime, sources=sources)
        self._manager = manager
        self.coverage = Coverage(proto, path)

    def run(self, tests: Iterable[Any]) -> list[Result]:
        """`tests` are `ValidationItem`s."""
        return [self._one(test, f"tests[{index}]") for index, test in enumerate(tests)]

    def _one(self, test: Any, path: str) -> Result:
        result = Result(test.test_name, path)
        given = test.input
        self._runtime.snapshot.active = given.runtime
        stream = CheckStream()
        stream.route_random = given.random_value
        for each in given.dynamic_metadata:
            plain = struct_to_dict(each.value)
            before = stream.dynamic_metadata.get(each.metadata_namespace)
            if before is None or each.allow_overwrite:
                stream.dynamic_metadata[each.metadata_namespace] = {**(before or {}), **plain}
        request, response = _request(given), _response(given)
        if self._manager is not None and not self._normalize(request, stream):
            result.because = "path_normalization_failed"
            entry = None
        else:
            entry = self._routes.route(request, stream)
            if "route" in stream.explain:
                decision = stream.explain["route"]
                result.because, result.rejected = decision.because, decision.rejected
        result.route = entry
        location = _finalize(entry, request, response, stream)
        self._compare(test.validate, _Facts(entry, request, response, stream, location), result)
        return result

    def _normalize(self, request: RequestHeaderMap, stream: CheckStream) -> bool:
        """As `ActiveStream` does before it asks for the route."""
        manager = self._manager
        if manager.rewrites_target:
            if request.path and normalize_path(request, manager) != PATH_OK:
                return False
            strip_host(request, manager)
            for mutate in manager.early_header_mutations:
                mutate(request, stream)
        return True

    def _compare(self, wanted: Any, facts: _Facts, result: Result) -> None:
        for name, actual_of, answers in _COMPARISONS:
            if not wanted.HasField(name):
                continue
            expected = getattr(wanted, name).value
            entry = facts.entry
            concerns = entry is not None and (entry.direct_response is not None) == answers
            actual: Any = 0 if name == "code_redirect" else ""
            if concerns:
                actual = actual_of(facts)
            if actual != expected:
                result.failures.append(f"expected: [{expected}], actual: [{actual}], test type: {name}")
            elif concerns:
                self.coverage.mark(entry, name)
        for side, headers in (("request", facts.request), ("response", facts.response)):
            for matcher in getattr(wanted, f"{side}_header_matches"):
                _match(matcher, headers, f"{side}_header_matches", result)
            fields = list(getattr(wanted, f"{side}_header_fields"))
            if side == "request":
                fields += [*wanted.header_fields, *wanted.custom_header_fields]
            for header in fields:
                found = headers.get(header.key.lower().encode()) or b""
                _expect(found.decode("utf-8", "replace"), header.value, f"{side}_header_fields", result)


@dataclass(slots=True)
class _Facts:
    entry: RouteEntry | None
    request: RequestHeaderMap
    response: ResponseHeaderMap
    stream: CheckStream
    location: str


_Actual = Callable[[_Facts], Any]


def _entry_of(facts: _Facts) -> RouteEntry:
    assert facts.entry is not None
    return facts.entry


_COMPARISONS: tuple[tuple[str, _Actual, bool], ...] = (
    ("cluster_name", lambda facts: _entry_of(facts).cluster_name, False),
    ("virtual_cluster_name", lambda facts: facts.stream.virtual_cluster_name or "", False),
    ("virtual_host_name", lambda facts: _entry_of(facts).virtual_host_name, False),
    ("path_rewrite", lambda facts: facts.request.path.decode("utf-8", "replace"), False),
    ("host_rewrite", lambda facts: facts.request.authority.decode("utf-8", "replace"), False),
    ("path_redirect", lambda facts: facts.location, True),
    ("code_redirect", lambda facts: getattr(_entry_of(facts).direct_response, "status", 0), True),
)
"""(field, what it is in fact, whether it is about routes that answer themselves)"""


def _request(given: Any) -> RequestHeaderMap:
    scheme = b"https" if given.ssl else b"http"
    request = RequestHeaderMap(given.method.encode(), given.path.encode(), given.authority.encode(), [], 0, scheme)
    request.add(b"x-forwarded-proto", scheme)
    if given.internal:
        request.add(b"x-envoy-internal", b"true")
    for header in (*given.additional_headers, *given.additional_request_headers):
        request.add(header.key.lower().encode(), header.value.encode())
    return request


def _response(given: Any) -> ResponseHeaderMap:
    response = ResponseHeaderMap(200)
    for header in given.additional_response_headers:
        response.add(header.key.lower().encode(), header.value.encode())
    return response


def _finalize(
    entry: RouteEntry | None, request: RequestHeaderMap, response: ResponseHeaderMap, stream: CheckStream
) -> str:
    """What the router does to both sides' headers; the location of a redirect."""
    if entry is None:
        return ""
    if entry.counts:
        entry.tally(request, stream)
    stream.route_name, stream.virtual_host_name = entry.name, entry.virtual_host_name
    stream.route_metadata, stream.virtual_host_metadata = entry.metadata, entry.virtual_host_metadata
    stream.upstream_cluster_name = entry.cluster_name or None
    answer = entry.direct_response
    location = b""
    if answer is None:
        entry.finalize_request_headers(request, stream)
    else:
        location = answer.location(request, stream) or b""
        response.status = answer.status
        if answer.body:
            response.set(b"content-length", b"%d" % len(answer.body))
            response.set(b"content-type", b"text/plain")
        if location:
            response.add(b"location", location)
    stream.response_code = response.status
    entry.finalize_response_headers(response, stream, request)
    return location.decode("utf-8", "replace")


def _match(proto: Any, headers: Any, what: str, result: Result) -> None:
    matcher = HeaderMatcher.from_proto(proto)
    if matcher.matches(headers):
        return
    found = headers.get(matcher.name)
    actual = "NULL" if found is None else found.decode("utf-8", "replace")
    result.failures.append(f"actual: [{proto.name}: {actual}], test type: {what}, needs {matcher.description}")


def _expect(actual: str, expected: str, what: str, result: Result) -> None:
    if actual != expected:
        result.failures.append(f"expected: [{expected}], actual: [{actual}], test type: {what}")
