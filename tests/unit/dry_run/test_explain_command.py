"""`minienvoy explain`: what it prints, and what it refuses."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from minienvoy.cli import main

CONFIG = """\
static_resources:
  listeners:
  - name: ingress
    address: {socket_address: {address: 0.0.0.0, port_value: 10000}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          normalize_path: true
          access_log:
          - name: file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: /nowhere/at/all.log
          route_config:
            virtual_hosts:
            - name: shop
              domains: [shop.test]
              routes:
              - name: canary
                match: {prefix: /cart, headers: [{name: x-canary, string_match: {exact: "yes"}}]}
                route: {cluster: canary}
              - name: cart
                match: {prefix: /cart}
                route: {cluster: cart, prefix_rewrite: /v2/cart, host_rewrite_literal: cart.internal, timeout: 3s,
                  retry_policy: {retry_on: "5xx,reset", num_retries: 2, per_try_timeout: 1s}}
              - name: old
                match: {path: /old}
                redirect: {path_redirect: /new}
              - name: gone
                match: {path: /gone}
                route: {cluster: nowhere}
            - name: rest
              domains: ["*"]
              routes:
              - match: {prefix: /}
                direct_response: {status: 200, body: {inline_string: hello}}
            validate_clusters: false
            ignore_port_in_host_matching: true
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  - name: bytes
    address: {socket_address: {address: 127.0.0.1, port_value: 10001}}
    filter_chains:
    - name: tls
      filter_chain_match: {server_names: [shop.test], transport_protocol: tls}
      filters: &echo
      - name: echo
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}
  clusters:
  - name: cart
    type: STATIC
    load_assignment:
      cluster_name: cart
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 80}}}}]}]
  - name: canary
    type: STRICT_DNS
    load_assignment:
      cluster_name: canary
      endpoints:
      - lb_endpoints: [{endpoint: {address: {socket_address: {address: canary.internal, port_value: 8080}}}}]
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    def refuse(*arguments: Any, **more: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket.socket, "listen", refuse)
    path = tmp_path / "envoy.yaml"
    path.write_text(CONFIG)
    return str(path)


@pytest.fixture
def explain(config: str, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> Any:
        assert main(["minienvoy", "explain", "-c", config, "--format", "json", *arguments]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def place(text: str) -> str:
    """`line` of the first line of the configuration that has `text` in it."""
    return f":{CONFIG[: CONFIG.index(text)].count(chr(10)) + 1}:"


def test_a_request_that_is_forwarded_is_shown_as_the_upstream_gets_it(explain: Any) -> None:
    told = explain("http://shop.test:10000/a/../cart/7?x=1", "-H", "x-one: 1", "-X", "PUT", "-d", "hi")
    assert told["listener"]["name"] == "ingress"
    assert place("name: ingress") in told["listener"]["place"]
    assert told["route"]["name"] == "cart"
    assert place("- name: cart\n                match") in told["route"]["place"]
    assert (told["cluster"]["name"], told["host"]["name"]) == ("cart", "10.0.0.1:80")
    assert place("- name: cart\n    type") in told["cluster"]["place"]
    assert told["timeouts"] == {
        "response_s": 3.0,
        "stream_idle_s": 300.0,
        "max_stream_duration_s": None,
        "request_s": None,
    }
    assert told["retries"] == {
        "on": ["5xx", "reset"],
        "num_retries": 2,
        "per_try_timeout_s": 1.0,
        "per_try_idle_timeout_s": None,
    }
    assert told["rewrites"] == {
        "path": {"before": "/a/../cart/7?x=1", "after": "/v2/cart/7?x=1"},
        "host": {"before": "shop.test:10000", "after": "cart.internal"},
    }
    sent = told["upstream_request"]
    assert sent["line"] == "PUT /v2/cart/7?x=1 HTTP/1.1"
    assert ["x-one", "1"] in sent["headers"]
    assert ["x-envoy-original-path", "/cart/7?x=1"] in sent["headers"]
    assert told["answer"] is None


def test_near_misses_say_what_they_were_lost_by_and_where_they_are(explain: Any) -> None:
    told = explain("http://shop.test/cart", "--listener", "ingress")
    (miss,) = told["route"]["near_misses"]
    assert (miss["name"], miss["because"]) == ("canary", 'needs header x-canary exact "yes"')
    assert place("name: canary\n                match") in miss["place"]
    (other,) = told["virtual_host"]["near_misses"]
    assert (other["name"], other["because"]) == ("rest", "* is less specific than shop.test")


def test_a_name_is_not_resolved(explain: Any) -> None:
    told = explain("http://shop.test:10000/cart", "-H", "x-canary: yes")
    assert told["host"]["name"] == "canary.internal:8080"
    assert told["upstream_request"]["address"] == "canary.internal:8080"


@pytest.mark.parametrize(
    ("url", "status", "details", "kind"),
    [
        ("http://other.test:10000/x", 200, "direct_response", "direct_response"),
        ("http://shop.test:10000/old", 301, "direct_response", "redirect"),
        ("http://shop.test:10000/gone", 503, "cluster_not_found", "route"),
        ("http://shop.test:10000/none", 404, "route_not_found", None),
        ("http://shop.test:10000/a%00b", 400, "path_normalization_failed", None),
    ],
)
def test_what_the_proxy_answers_itself_is_shown(
    explain: Any, url: str, status: int, details: str, kind: str | None
) -> None:
    told = explain(url)
    assert (told["answer"]["status"], told["answer"]["details"]) == (status, details)
    assert (told["route"] or {}).get("kind") == kind
    assert told["upstream_request"] is None


def test_a_filter_chain_that_speaks_no_http_is_named(explain: Any) -> None:
    told = explain("https://shop.test:10001/")
    assert (told["filter_chain"]["name"], told["not_http"]) == ("tls", "EchoFilter")
    told = explain("http://shop.test:10001/")
    assert told["filter_chain"]["name"] is None
    assert told["filter_chain"]["because"] == "filter_chain_not_found"


def test_the_text_has_everything_that_people_ask_for(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["minienvoy", "explain", "-c", config, "http://shop.test:10000/cart/7"]) == 0
    text = capsys.readouterr().out
    for part in (
        "virtual host  shop",
        "not canary: needs header x-canary",
        "/cart/7 -> /v2/cart/7",
        "response 3 s",
        "up to 2 on 5xx, reset, 1 s each",
    ):
        assert part in text


def test_the_method_may_stand_before_the_url(explain: Any) -> None:
    assert explain("PUT", "http://shop.test:10000/cart/7")["request"]["method"] == "PUT"
    assert explain("PUT", "-X", "POST", "http://shop.test:10000/cart/7")["request"]["method"] == "POST"


def test_a_cluster_that_was_drawn_tells_its_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "weights.yaml"
    clusters = "{clusters: [{name: cart, weight: 3}, {name: canary, weight: 0}]}"
    path.write_text(CONFIG.replace("{cluster: cart, prefix", f"{{weighted_clusters: {clusters}, prefix"))
    assert main(["minienvoy", "explain", "-c", str(path), "http://shop.test:10000/cart/7"]) == 0
    assert "cluster       cart: route cart, weight 3 of 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("/x",), "'/x' has no host"),
        (("ftp://a.test/",), "'ftp' is not http or https"),
        (("http://a.test/",), "which listener?"),
        (("--listener", "nope", "http://a.test/"), "there is no listener 'nope'; there are: ingress, bytes"),
        (("-H", "nonsense", "http://a.test/"), "is no header"),
        (("--source", "me", "http://a.test/"), "'me' is no IP address"),
        ((), "there is no URL to explain"),
        (("http://a.test/", "b=1"), "one URL at a time, not http://a.test/ and b=1"),
        (("--nope",), "unrecognized arguments: --nope"),
    ],
)
def test_what_can_not_be_explained_is_an_error_with_a_remedy(
    config: str, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    assert main(["minienvoy", "explain", "-c", config, *arguments]) == 1
    assert words in capsys.readouterr().err


def test_a_configuration_that_can_not_be_used_is_told_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(CONFIG.replace("prefix_rewrite: /v2/cart", "prefix_rewrit: /v2/cart"))
    assert main(["minienvoy", "explain", "-c", str(path), "http://a.test/"]) == 1
    error = capsys.readouterr().err
    assert f"bad.yaml{place('prefix_rewrite')}" in error
    assert "did you mean 'prefix_rewrite'?" in error


def test_a_scope_has_virtual_hosts_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    routes = CONFIG[CONFIG.index("          route_config:") : CONFIG.index("          http_filters:")]
    scoped = """\
          scoped_routes:
            name: scopes
            scope_key_builder: {fragments: [{header_value_extractor: {name: x-scope, index: 0}}]}
            scoped_route_configurations_list:
              scoped_route_configurations:
              - name: blue
                key: {fragments: [{string_key: blue}]}
                route_configuration: {name: blue, virtual_hosts: [{name: b, domains: ["*"], routes: [
                  {match: {prefix: /}, direct_response: {status: 201}}]}]}
"""
    path = tmp_path / "scoped.yaml"
    path.write_text(CONFIG.replace(routes, scoped))

    def ask(*arguments: str) -> Any:
        url = "http://a.test:10000/"
        assert main(["minienvoy", "explain", "-c", str(path), "--format", "json", url, *arguments]) == 0
        return json.loads(capsys.readouterr().out)

    told = ask("-H", "x-scope: blue")
    assert (told["virtual_host"]["name"], told["answer"]["status"]) == ("b", 201)
    assert told["route"]["place"].startswith(str(path))
    told = ask("-H", "x-scope: red")
    assert (told["virtual_host"]["name"], told["virtual_host"]["because"]) == (None, "no scope for red")
