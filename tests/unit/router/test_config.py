from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.errors import ConfigError
from minienvoy.explain.explanation import Explanation
from minienvoy.http.header_map import RequestHeaderMap
from minienvoy.router.config import RouteConfig

MakeConfig = Callable[..., RouteConfig]
MakeHeaders = Callable[..., RequestHeaderMap]


def host(name: str, *domains: str) -> dict[str, Any]:
    return {"name": name, "domains": list(domains), "routes": [answer(name)]}


def answer(name: str, **match: Any) -> dict[str, Any]:
    return {"name": name, "match": match or {"prefix": "/"}, "direct_response": {"status": 200}}


HOSTS = [
    host("exact", "a.com", "B.com:81"),
    host("suffix", "*.a.com", "*-b.com"),
    host("longer suffix", "*.x.a.com"),
    host("prefix", "a.*"),
    host("longer prefix", "a.b.*"),
    host("default", "*"),
]


@pytest.mark.parametrize(
    ("authority", "name"),
    [
        ("a.com", "exact"),
        ("A.COM", "exact"),
        ("b.com:81", "exact"),
        ("b.com", "default"),
        ("a.com:80", "prefix"),
        ("www.a.com", "suffix"),
        ("www.x.a.com", "longer suffix"),
        ("x.a.com", "suffix"),
        (".a.com", "default"),
        ("x-b.com", "suffix"),
        ("a.org", "prefix"),
        ("a.b.org", "longer prefix"),
        ("a.", "default"),
        ("", "default"),
    ],
)
def test_the_host_chooses_the_virtual_host(
    route_config: MakeConfig, request_headers: MakeHeaders, stream: Any, authority: str, name: str
) -> None:
    config = route_config(virtual_hosts=HOSTS)
    route = config.route(request_headers("/", authority), stream)
    assert route is not None
    assert route.name == name


@pytest.mark.parametrize(
    ("authority", "name"), [("a.com:80", "exact"), ("a.com:", "exact"), ("a.com:x", "prefix"), ("[::1]", "default")]
)
def test_the_port_may_be_ignored(
    route_config: MakeConfig, request_headers: MakeHeaders, stream: Any, authority: str, name: str
) -> None:
    config = route_config(virtual_hosts=HOSTS, ignore_port_in_host_matching=True)
    route = config.route(request_headers("/", authority), stream)
    assert route is not None
    assert route.name == name


def test_without_a_default_there_may_be_no_virtual_host(
    route_config: MakeConfig, request_headers: MakeHeaders, stream: Any
) -> None:
    config = route_config(virtual_hosts=HOSTS[:1])
    stream.explain = Explanation()
    assert config.route(request_headers("/", "c.com"), stream) is None
    assert str(stream.explain["route"]) == "route: None, because no virtual host for c.com"


MATCHES: list[tuple[dict[str, Any], list[str], list[str]]] = [
    ({"prefix": "/a"}, ["/a", "/ab", "/a/b?q"], ["/A", "/", "//a", "/%61"]),
    ({"prefix": "/a", "case_sensitive": False}, ["/A", "/aB"], ["/b"]),
    ({"prefix": ""}, ["/", "/x"], []),
    ({"path": "/a"}, ["/a", "/a?q=1", "/a?"], ["/a/", "/ab", "/A"]),
    ({"path": "/a", "case_sensitive": False}, ["/A"], ["/ab"]),
    ({"safe_regex": {"regex": "/a[0-9]+"}}, ["/a1", "/a12?x"], ["/a", "/a1b", "/x/a1"]),
    ({"path_separated_prefix": "/a"}, ["/a", "/a/", "/a/b", "/a?q"], ["/ab", "/A"]),
    ({"path_separated_prefix": "/a", "case_sensitive": False}, ["/A/b"], ["/AB"]),
]


@pytest.mark.parametrize(
    ("match", "path", "expected"),
    [
        *((match, path, True) for match, yes, _ in MATCHES for path in yes),
        *((match, path, False) for match, _, no in MATCHES for path in no),
    ],
)
def test_a_path_matches(
    route_config: MakeConfig,
    request_headers: MakeHeaders,
    stream: Any,
    match: dict[str, Any],
    path: str,
    expected: bool,
) -> None:
    config = route_config([answer("it", **match)])
    assert (config.route(request_headers(path), stream) is not None) is expected


@pytest.mark.parametrize(
    ("conditions", "path", "headers", "expected"),
    [
        ({"headers": [{"name": "x", "string_match": {"exact": "1"}}]}, "/", {"x": "1"}, True),
        ({"headers": [{"name": "x", "string_match": {"exact": "1"}}]}, "/", {"x": "2"}, False),
        ({"headers": [{"name": "x", "present_match": True}]}, "/", {}, False),
        ({"headers": [{"name": ":method", "string_match": {"exact": "GET"}}]}, "/", {}, True),
        ({"headers": [{"name": ":authority", "string_match": {"prefix": "b"}}]}, "/", {}, False),
        ({"query_parameters": [{"name": "q", "string_match": {"exact": "1"}}]}, "/?q=1", {}, True),
        ({"query_parameters": [{"name": "q", "string_match": {"exact": "1"}}]}, "/?q=2", {}, False),
        ({"query_parameters": [{"name": "q", "present_match": True}]}, "/", {}, False),
        ({"grpc": {}}, "/", {"content-type": "application/grpc"}, True),
        ({"grpc": {}}, "/", {"content-type": "application/grpc+proto"}, True),
        ({"grpc": {}}, "/", {"content-type": "application/grpcx"}, False),
        ({"grpc": {}}, "/", {}, False),
    ],
)
def test_everything_that_is_asked_must_hold(
    route_config: MakeConfig,
    request_headers: MakeHeaders,
    stream: Any,
    conditions: dict[str, Any],
    path: str,
    headers: dict[str, str],
    expected: bool,
) -> None:
    config = route_config([answer("it", prefix="/", **conditions)])
    assert (config.route(request_headers(path, headers=headers), stream) is not None) is expected


def test_the_first_route_that_matches_is_taken(
    route_config: MakeConfig, request_headers: MakeHeaders, stream: Any
) -> None:
    config = route_config([answer("1", path="/x"), answer("2", prefix="/"), answer("3", prefix="/")])
    route = config.route(request_headers("/y"), stream)
    assert route is not None
    assert route.name == "2"


def test_near_misses_are_explained(route_config: MakeConfig, request_headers: MakeHeaders, stream: Any) -> None:
    header = [{"name": "x", "string_match": {"exact": "1"}}]
    config = route_config([answer("1", path="/x"), answer("2", prefix="/", headers=header), answer("", prefix="/")])
    stream.explain = Explanation()
    config.route(request_headers("/y"), stream)
    decision = stream.explain["route"]
    assert str(decision.chose) == "prefix /"
    assert decision.because == "prefix / matches /y in virtual host all"
    assert decision.rejected[0] == "1 (path)"
    assert str(decision.rejected[1]).startswith("2 (needs header x")


def test_no_route_is_explained(route_config: MakeConfig, request_headers: MakeHeaders, stream: Any) -> None:
    stream.explain = Explanation()
    assert route_config([answer("1", path="/x")]).route(request_headers("/y"), stream) is None
    assert stream.explain["route"].because == "route_not_found"


# -- mistakes


@pytest.mark.parametrize(
    ("fields", "problem", "path"),
    [
        (
            {"virtual_hosts": [host("a", "*"), host("b", "*")]},
            "Only a single wildcard domain is permitted in route r",
            "route_config.virtual_hosts[1].domains[0]",
        ),
        (
            {"virtual_hosts": [host("a", "x.com"), host("b", "y", "X.com")]},
            "Only unique values for domains are permitted. Duplicate entry of domain x.com in route r",
            "route_config.virtual_hosts[1].domains[1]",
        ),
    ],
)
def test_mistakes_are_told_with_their_place(
    route_config: MakeConfig, fields: dict[str, Any], problem: str, path: str
) -> None:
    with pytest.raises(ConfigError) as error:
        route_config(name="r", **fields)
    assert (error.value.problem, error.value.path) == (problem, path)


def test_a_cluster_that_is_not_there_is_a_mistake_where_clusters_are_validated(route_config: MakeConfig) -> None:
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "nope"}}]
    with pytest.raises(ConfigError) as error:
        route_config(routes, cluster_exists=lambda name: False)
    assert error.value.problem == "route: unknown cluster 'nope'"
    assert error.value.path == "route_config.virtual_hosts[0].routes[0].route.cluster"
    assert route_config(routes).name == ""


@pytest.mark.parametrize("key", ["host", "Host", ":path", ":authority", ":method"])
@pytest.mark.parametrize("action", ["APPEND_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS"])
def test_what_a_request_is_may_not_be_changed_by_added_headers(route_config: MakeConfig, key: str, action: str) -> None:
    addition = {"header": {"key": key, "value": "v"}, "append_action": action}
    with pytest.raises(ConfigError, match=":-prefixed or host headers may not be modified"):
        route_config([{**answer("it", prefix="/"), "request_headers_to_add": [addition]}])


@pytest.mark.parametrize("name", ["host", ":path", "Host"])
def test_what_a_request_is_may_not_be_removed(route_config: MakeConfig, name: str) -> None:
    with pytest.raises(ConfigError, match=":-prefixed or host headers may not be removed"):
        route_config([{**answer("it", prefix="/"), "request_headers_to_remove": [name]}])


def test_append_and_append_action_exclude_each_other(route_config: MakeConfig) -> None:
    addition = {"header": {"key": "x", "value": "v"}, "append": True, "append_action": "ADD_IF_ABSENT"}
    with pytest.raises(ConfigError, match="Both append and append_action are set and it's not allowed"):
        route_config([{**answer("it", prefix="/"), "request_headers_to_add": [addition]}])


def test_a_format_that_is_none_is_told_with_its_place(route_config: MakeConfig) -> None:
    addition = {"header": {"key": "x", "value": "%NOPE%"}}
    with pytest.raises(ConfigError) as error:
        route_config([{**answer("it", prefix="/"), "request_headers_to_add": [addition]}])
    place = "route_config.virtual_hosts[0].routes[0].request_headers_to_add[0].header.value"
    assert error.value.path == place


def test_a_direct_response_may_come_from_a_file_or_the_environment(
    route_config: MakeConfig, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"\xff\x00")
    monkeypatch.setenv("BODY", "from here")
    sources = [{"filename": str(path)}, {"environment_variable": "BODY"}, {"inline_bytes": "eHk="}]
    config = route_config(
        [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": source}} for source in sources]
    )
    assert config._default is not None
    bodies = [route.direct_response.body for route in config._default.routes if route.direct_response is not None]
    assert bodies == [b"\xff\x00", b"from here", b"xy"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"filename": "/nope"}, "/nope"),
        ({"environment_variable": "NOPE_NOT_SET"}, "NOPE_NOT_SET"),
        ({"inline_string": "x" * 4097}, "response body size is 4097 bytes; maximum is 4096"),
    ],
)
def test_a_direct_response_without_a_body_to_send_is_a_mistake(
    route_config: MakeConfig, body: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError) as error:
        route_config([{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": body}}])
    assert problem in error.value.problem
    assert error.value.path.startswith("route_config.virtual_hosts[0].routes[0].direct_response.body")
