from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minienvoy.config.loader import load_dict
from minienvoy.explain.explanation import NO_EXPLANATION, Explanation
from minienvoy.http.header_map import RequestHeaderMap, entry
from minienvoy.router.config import SCANNED, RouteConfig
from minienvoy.router.route_index import RouteIndex
from minienvoy.stream_info import StreamInfo

# Few letters: literals are often the beginning of one another, and of the path.
paths = st.text("ab/AB;", max_size=6).map(lambda text: "/" + text)
literals = paths | st.just("")


def match(kind: str, literal: str) -> dict[str, Any]:
    if kind == "safe_regex":
        return {kind: {"regex": f"{literal}.*"}}
    if kind == "connect_matcher":
        return {kind: {}}
    if kind == "path_separated_prefix":
        # The API allows no slash at its end, and nothing shorter than a segment.
        return {kind: literal.rstrip("/") or "/a"}
    return {kind: literal or ("/" if kind == "path" else "")}


matches = st.builds(
    lambda kind, literal, more: {**match(kind, literal), **more},
    st.sampled_from(["prefix", "prefix", "prefix", "path", "path_separated_prefix", "safe_regex", "connect_matcher"]),
    literals,
    st.sampled_from(
        [
            {},
            {},
            {"case_sensitive": False},
            {"headers": [{"name": "x", "present_match": True}]},
            {"query_parameters": [{"name": "q", "present_match": True}]},
            {"runtime_fraction": {"default_value": {"numerator": 50}}},
        ]
    ),
)


class Stream(StreamInfo):
    def __init__(self, explain: Explanation = NO_EXPLANATION) -> None:
        self.explain: Explanation = explain

    def describe(self) -> None: ...


def compiled(routes: list[dict[str, Any]]) -> RouteConfig:
    fields = {
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "routes": [
                    {"name": str(number), "match": each, "direct_response": {"status": 200}}
                    for number, each in enumerate(routes)
                ],
            }
        ]
    }
    return RouteConfig(load_dict(fields, "envoy.config.route.v3.RouteConfiguration").message, "route_config")


def answer_of(config: RouteConfig, path: str, method: str, headers: dict[str, str], explain: Any = None) -> str | None:
    entries = [entry(name.encode(), value.encode()) for name, value in headers.items()]
    request = RequestHeaderMap(method.encode(), path.encode(), b"a.com", entries)
    route = config.route(request, Stream() if explain is None else Stream(explain))
    return None if route is None else route.name


@settings(max_examples=300)
@given(
    st.lists(matches, min_size=1, max_size=40),
    st.lists(
        st.tuples(
            paths | st.just(""),
            st.sampled_from(["", "?q=1"]),
            st.sampled_from(["GET", "CONNECT"]),
            st.sampled_from([{}, {"x": "1"}]),
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(0, SCANNED),
)
def test_with_an_index_the_same_route_is_found_as_without(
    routes: list[dict[str, Any]], requests: list[tuple[str, str, str, dict[str, str]]], scanned: int
) -> None:
    config = compiled(routes)
    virtual_host = config.virtual_host(b"a.com")
    assert virtual_host is not None
    for path, query, method, headers in requests:
        answers = []
        # Without an index; with one for all but the first routes; as it is; and what explains itself.
        for first, index in (
            (virtual_host.routes, None),
            (virtual_host.routes[:scanned], RouteIndex(virtual_host.routes[scanned:])),
            (virtual_host.first_routes, virtual_host.index),
        ):
            virtual_host.first_routes, virtual_host.index = first, index
            answers.append(answer_of(config, path + query, method, headers))
        answers.append(answer_of(config, path + query, method, headers, Explanation()))
        assert len(set(answers)) == 1, answers


@settings(max_examples=300)
@given(st.lists(matches, min_size=1, max_size=40), paths)
def test_candidates_come_in_order_and_no_route_that_fits_is_missing(routes: list[dict[str, Any]], path: str) -> None:
    virtual_host = compiled(routes).virtual_host(b"a.com")
    assert virtual_host is not None
    found = [int(route.name) for route in RouteIndex(virtual_host.routes).candidates(path.encode())]
    assert found == sorted(set(found))
    assert {int(each.name) for each in virtual_host.routes if each.match.path(path.encode())} <= set(found)


class Asked:
    """Counts how often the path of a route is compared."""

    def __init__(self, virtual_host: Any) -> None:
        self.times = 0
        for route in virtual_host.routes:
            route.match.quick_prefix = None
            route.match.path = self._counting(route.match.path)

    def _counting(self, test: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
        def path(path: bytes) -> bool:
            self.times += 1
            return test(path)

        return path


@pytest.mark.parametrize("kind", ["prefix", "path", "path_separated_prefix"])
@pytest.mark.parametrize("case_sensitive", [True, False])
def test_of_ten_thousand_routes_few_are_asked(kind: str, case_sensitive: bool) -> None:
    routes = [{kind: f"/service-{number}/x", "case_sensitive": case_sensitive} for number in range(10_000)]
    config = compiled([*routes, {"prefix": "/"}])
    asked = Asked(config.virtual_host(b"a.com"))
    for path, name in (("/service-9999/x", "9999"), ("/service-5000/x", "5000"), ("/service-x", "10000")):
        asked.times = 0
        assert answer_of(config, path, "GET", {}) == name
        assert asked.times <= SCANNED + 2


def test_the_first_routes_are_asked_before_the_index_is() -> None:
    config = compiled([{"prefix": f"/{number}"} for number in range(1000)])
    asked = Asked(config.virtual_host(b"a.com"))
    assert answer_of(config, "/0", "GET", {}) == "0"
    assert asked.times == 1


def test_an_explanation_names_every_route_that_came_before() -> None:
    explain = Explanation()
    config = compiled([{"prefix": f"/{number}/"} for number in range(100)])
    assert answer_of(config, "/50/", "GET", {}, explain) == "50"
    (decision,) = explain.all("route")
    assert len(decision.rejected) == 50
