"""A filter that a match tree skips; what Envoy does is in tests/conformance/scenarios/match_delegate.yaml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.extensions import register_catalogue
from minienvoy.extensions.filters.http.match_delegate import TYPE, MatchState, create_match_delegate
from minienvoy.http.filter import StreamDecoderFilter, StreamEncoderFilter
from minienvoy.http.header_map import HeaderMap, RequestHeaderMap
from minienvoy.matchers.match_tree import INSUFFICIENT
from minienvoy.server.factory_context import FactoryContext
from tests.unit.http_bench import OK, Bench

URL = "type.googleapis.com/"
SKIP = {
    "action": {
        "name": "skip",
        "typed_config": {"@type": f"{URL}envoy.extensions.filters.common.matcher.action.v3.SkipFilter"},
    }
}
INPUT = {
    "name": "x-skip",
    "typed_config": {"@type": f"{URL}envoy.type.matcher.v3.HttpRequestHeaderMatchInput", "header_name": "x-skip"},
}
TREE = {"matcher_tree": {"input": INPUT, "exact_match_map": {"map": {"yes": SKIP}}}}
FAULT = {
    "name": "envoy.filters.http.fault",
    "typed_config": {
        "@type": f"{URL}envoy.extensions.filters.http.fault.v3.HTTPFault",
        "abort": {"http_status": 418, "percentage": {"numerator": 100}},
    },
}
MUTATION = {
    "name": "envoy.filters.http.header_mutation",
    "typed_config": {
        "@type": f"{URL}envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        "mutations": {"response_mutations": [{"append": {"header": {"key": "x-resp", "value": "1"}}}]},
    },
}
ROUTER = {"name": "router", "typed_config": {"@type": f"{URL}envoy.extensions.filters.http.router.v3.Router"}}
MakeBench = Callable[..., Bench]


def delegated(bench: MakeBench, inner: dict[str, Any], tree: dict[str, Any]) -> Bench:
    config = {"@type": f"{URL}{TYPE}", "extension_config": inner, "xds_matcher": tree}
    return bench(hcm={"http_filters": [{"name": "m", "typed_config": config}, ROUTER]})


def test_a_filter_takes_part_unless_it_is_skipped(bench: MakeBench) -> None:
    b = delegated(bench, FAULT, TREE)
    assert b.client().get("/").received().startswith(b"HTTP/1.1 418")
    client = b.client().get("/", "x-skip: yes")
    b.upstream.send(OK)
    assert client.received().startswith(b"HTTP/1.1 200")
    assert b.stat("http.fault.aborts_injected") == 1


def test_a_filter_that_is_skipped_does_not_see_the_response_either(bench: MakeBench) -> None:
    b = delegated(bench, MUTATION, TREE)
    answers = []
    for headers in ((), ("x-skip: yes",)):
        client = b.client().get("/", *headers)
        b.upstream.send(OK)
        answers.append(b"x-resp" in client.received())
    assert answers == [True, False]


def test_what_has_been_decided_is_not_asked_again() -> None:
    asked: list[Any] = []

    def tree(data: Any) -> Any:
        asked.append(data)
        return INSUFFICIENT if len(asked) == 1 else "skip"

    state = MatchState(tree)

    class Callbacks:
        stream_info = None

    headers = RequestHeaderMap(b"GET", b"/", b"a.com")
    assert not state.skips_with(Callbacks, "request_headers", headers)
    assert state.skips_with(Callbacks, "request_trailers", HeaderMap())
    assert state.skips_with(Callbacks, "response_headers", HeaderMap())
    assert len(asked) == 2
    assert asked[0].request_headers is headers


@pytest.mark.parametrize("base", [StreamDecoderFilter, StreamEncoderFilter])
def test_the_filter_within_is_told_of_the_end(bench: MakeBench, base: Any) -> None:
    ended: list[bool] = []

    class Inner(base):  # type: ignore[misc]
        def on_destroy(self) -> None:
            ended.append(True)

    from minienvoy.extensions.filters.http.match_delegate import _delegate_of

    b = bench(filters=[lambda: _delegate_of(Inner())(Inner(), MatchState(lambda data: "skip"))])
    b.client().get("/")
    b.upstream.send(OK)
    assert ended == [True]


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"extension_config": ROUTER, "xds_matcher": {}}, "extension_config"),
        (
            {
                "extension_config": FAULT,
                "xds_matcher": {
                    "on_no_match": {
                        "action": {"name": "a", "typed_config": {"@type": f"{URL}google.protobuf.StringValue"}}
                    }
                },
            },
            "xds_matcher.on_no_match.action.typed_config",
        ),
    ],
)
def test_what_can_not_be_is_refused_with_its_place(bench: MakeBench, config: dict[str, Any], path: str) -> None:
    register_catalogue()
    server = bench().server
    scope = server.stats.scope("")
    context = FactoryContext(server, scope, scope, lambda: False)
    with pytest.raises(ConfigError) as caught:
        create_match_delegate(load_dict(config, TYPE).message, context)
    assert caught.value.path == path
