"""`minienvoy explain --check`: the tests of routes that `router_check_tool` reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from minienvoy.cli import main

ROUTES = """\
name: routes
virtual_hosts:
- name: site
  domains: [site.test]
  routes:
  - match: {prefix: /x, headers: [{name: v, string_match: {exact: "1"}}]}
    route: {cluster: canary}
  - match: {prefix: /x}
    route: {cluster: one, prefix_rewrite: /y, host_rewrite_literal: h.test}
    request_headers_to_add: [{header: {key: x-a, value: "1"}}]
    response_headers_to_add: [{header: {key: x-b, value: "2"}}]
  - match: {prefix: /w}
    route: {weighted_clusters: {clusters: [{name: w1, weight: 30}, {name: w2, weight: 70}]}}
  - match: {prefix: /r}
    redirect: {path_redirect: /new, response_code: FOUND}
  - match: {prefix: /f, runtime_fraction: {default_value: {numerator: 30}, runtime_key: k}}
    route: {cluster: half}
  - match: {prefix: /z, runtime_fraction: {default_value: {numerator: 0}, runtime_key: z}}
    route: {cluster: never}
  - match:
      prefix: /m
      dynamic_metadata: [{filter: meta, path: [{key: foo}], value: {string_match: {exact: bar}}}]
    route: {cluster: meta}
  - match: {prefix: /d}
    direct_response: {status: 418, body: {inline_string: tea}}
"""


class Bench:
    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self.capsys = capsys
        (path / "routes.yaml").write_text(ROUTES)

    def run(self, tests: Any, *arguments: str, routes: str = "routes.yaml") -> int:
        (self.path / "tests.json").write_text(json.dumps({"tests": tests}))
        files = ["-c", str(self.path / routes), "--check", str(self.path / "tests.json")]
        code = main(["minienvoy", "explain", *files, *arguments])
        self.out, self.err = self.capsys.readouterr()
        return code

    def verdict(self, given: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
        """The failures of one test."""
        self.run([check(given, wanted)], "--format", "json")
        failures: list[str] = json.loads(self.out)["tests"][0]["failures"]
        return failures


def check(given: dict[str, Any], wanted: dict[str, Any], name: str = "test") -> dict[str, Any]:
    given = {"authority": "site.test", "method": "GET", **given}
    return {"test_name": name, "input": given, "validate": wanted}


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Bench:
    return Bench(tmp_path, capsys)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"path": "/x/1?q"}, {"cluster_name": "one", "path_rewrite": "/y/1?q", "host_rewrite": "h.test"}),
        ({"path": "/x"}, {"virtual_host_name": "site", "virtual_cluster_name": "", "path_redirect": ""}),
        ({"path": "/x", "additional_request_headers": [{"key": "V", "value": "1"}]}, {"cluster_name": "canary"}),
        ({"path": "/x", "additional_headers": [{"key": "v", "value": "1"}]}, {"cluster_name": "canary"}),
        ({"path": "/x"}, {"request_header_matches": [{"name": "x-a", "string_match": {"exact": "1"}}]}),
        ({"path": "/x"}, {"response_header_matches": [{"name": "x-b", "present_match": True}]}),
        ({"path": "/x"}, {"request_header_fields": [{"key": ":authority", "value": "h.test"}]}),
        ({"path": "/x"}, {"header_fields": [{"key": "x-a", "value": "1"}, {"key": "cookie", "value": ""}]}),
        (
            {"path": "/x", "additional_response_headers": [{"key": "x-up", "value": "u"}]},
            {"response_header_matches": [{"name": "x-up", "string_match": {"prefix": "u"}}]},
        ),
        ({"path": "/w", "random_value": 29}, {"cluster_name": "w1"}),
        ({"path": "/w", "random_value": 30}, {"cluster_name": "w2"}),
        ({"path": "/w", "random_value": 130}, {"cluster_name": "w2"}),
        ({"path": "/r?z", "ssl": True}, {"path_redirect": "https://site.test/new?z", "code_redirect": 302}),
        ({"path": "/r"}, {"cluster_name": "", "virtual_host_name": ""}),
        ({"path": "/d"}, {"code_redirect": 418, "path_redirect": ""}),
        ({"path": "/f", "random_value": 29, "runtime": "k"}, {"cluster_name": "half"}),
        ({"path": "/f", "random_value": 30, "runtime": "k"}, {"cluster_name": ""}),
        ({"path": "/f", "random_value": 0}, {"cluster_name": ""}),
        ({"path": "/z", "random_value": 0, "runtime": "z"}, {"cluster_name": "never"}),
        ({"path": "/z", "random_value": 1, "runtime": "z"}, {"cluster_name": ""}),
        (
            {"path": "/m", "dynamic_metadata": [{"metadata_namespace": "meta", "value": {"foo": "bar"}}]},
            {"cluster_name": "meta"},
        ),
        ({"path": "/m"}, {"cluster_name": ""}),
        ({"path": "/x", "authority": "other.test"}, {"cluster_name": "", "virtual_host_name": ""}),
    ],
)
def test_a_test_that_is_right_passes(bench: Bench, given: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert bench.verdict(given, wanted) == []


@pytest.mark.parametrize(
    ("given", "wanted", "failures"),
    [
        ({"path": "/x"}, {"cluster_name": "two"}, ["expected: [two], actual: [one], test type: cluster_name"]),
        ({"path": "/q"}, {"cluster_name": "two"}, ["expected: [two], actual: [], test type: cluster_name"]),
        ({"path": "/r"}, {"code_redirect": 301}, ["expected: [301], actual: [302], test type: code_redirect"]),
        ({"path": "/x"}, {"code_redirect": 301}, ["expected: [301], actual: [0], test type: code_redirect"]),
        (
            {"path": "/x"},
            {"request_header_matches": [{"name": "x-n", "present_match": True}]},
            ["actual: [x-n: NULL], test type: request_header_matches, needs x-n present"],
        ),
        (
            {"path": "/x"},
            {"response_header_fields": [{"key": "x-b", "value": "3"}]},
            ["expected: [3], actual: [2], test type: response_header_fields"],
        ),
    ],
)
def test_a_test_that_is_wrong_says_what_it_got(
    bench: Bench, given: dict[str, Any], wanted: dict[str, Any], failures: list[str]
) -> None:
    assert bench.verdict(given, wanted) == failures
    assert bench.run([check(given, wanted)]) == 1


def test_a_failure_is_explained_with_the_route_that_was_taken(bench: Bench) -> None:
    assert bench.run([check({"path": "/x"}, {"cluster_name": "canary"}, "who")]) == 1
    assert "FAIL  who" in bench.out
    assert f"{bench.path}/routes.yaml:8:5" in bench.out
    assert 'not prefix /x: needs header v exact "1"' in bench.out


def test_coverage_is_that_of_the_tool(bench: Bench) -> None:
    tests = [
        check({"path": "/x"}, {"cluster_name": "one", "path_rewrite": "/y"}),
        check({"path": "/w"}, {"cluster_name": "w1"}),
        check({"path": "/r"}, {"path_redirect": "http://site.test/new"}),
        # A header that was checked covers nothing, and neither does a check that there is no route.
        check({"path": "/d"}, {"response_header_matches": [{"name": "content-type", "present_match": True}]}),
        check({"path": "/q"}, {"cluster_name": ""}),
    ]
    # Nine: each of the two weighted clusters is one.
    assert bench.run(tests) == 0
    assert "5 of 5 tests pass\nCurrent route coverage: 33.3333%\n" in bench.out
    assert bench.run(tests, "--covall") == 0
    assert f"Current route coverage: {100 * (2 / 5 + 1 / 5 + 1 / 2) / 9:g}%" in bench.out
    assert bench.out.count("Missing test for host: site") == 5
    assert bench.run(tests, "--fail-under", "33") == 0
    assert bench.run(tests, "--fail-under", "34") == 1
    assert bench.err == "Failed to meet coverage requirement: 34%\n"


def test_passing_tests_are_named_if_that_is_wanted(bench: Bench) -> None:
    tests = [check({"path": "/x"}, {"cluster_name": "one"}, "good")]
    assert (bench.run(tests), "good" in bench.out) == (0, False)
    assert (bench.run(tests, "--details"), "pass  good" in bench.out) == (0, True)
    assert (bench.run(tests, "--details", "--only-show-failures"), "good" in bench.out) == (0, False)


def test_routes_of_a_bootstrap_are_asked_after_its_normalisation(bench: Bench) -> None:
    package = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
    manager = {
        "@type": f"{package}.HttpConnectionManager",
        "stat_prefix": "h",
        "normalize_path": True,
        "strip_any_host_port": True,
        "route_config": {
            "name": "routes",
            "validate_clusters": False,
            "virtual_hosts": [
                {
                    "name": "v",
                    "domains": ["site.test"],
                    "routes": [{"match": {"path": "/b"}, "route": {"cluster": "b"}}],
                }
            ],
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    listener = {
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    bootstrap = {"static_resources": {"listeners": [listener]}}
    (bench.path / "envoy.json").write_text(json.dumps(bootstrap))
    tests = [check({"path": "/a/../b", "authority": "site.test:8080"}, {"cluster_name": "b"})]
    assert bench.run(tests, routes="envoy.json") == 0
    assert "Current route coverage: 100%" in bench.out
    assert bench.run(tests, "--route-config", "nope", routes="envoy.json") == 1
    assert bench.err == ("error: there is no such route configuration; there are: routes of listener l\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tests: []\n", "there are no tests"),
        ("tests: [{input: {authority: a, path: /, method: GET}, validate: {}}]\n", "test_name is empty"),
        ("tests: [{test_name: t, validate: {}}]\n", "t.yaml:1:9: tests[0]: test 't' has no input (add input: to it)"),
        ("tests: [{test_name: t, input: {authority: a, path: /, method: GET}}]\n", "test 't' has no validate"),
        (
            "tests:\n- test_name: t\n  input: {authority: a, path: /}\n  validate: {}\n",
            "t.yaml:3:3: tests[0].input.method: method of test 't' must have at least 3 characters (such as m",
        ),
        (
            "tests:\n- test_name: t\n  input: {authority: a, paht: /}\n  validate: {}\n",
            "did you mean 'path'?",
        ),
        (
            "tests:\n- test_name: t\n  input: {authority: a, path: /, method: GET}\n  validate: {cluster_name: 5}\n",
            "t.yaml:4:14: tests[0].validate.cluster_name",
        ),
        ("tests: [\n", "t.yaml:"),
    ],
)
def test_a_file_that_is_no_list_of_tests_is_an_error_with_its_place(bench: Bench, text: str, words: str) -> None:
    path = bench.path / "t.yaml"
    path.write_text(text)
    assert main(["minienvoy", "explain", "-c", str(bench.path / "routes.yaml"), "--check", str(path)]) == 1
    assert words in bench.capsys.readouterr().err
