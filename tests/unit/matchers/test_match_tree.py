"""Trees of matchers: where they lead, when they have to wait, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.extensions import register_catalogue
from minienvoy.http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap, entry
from minienvoy.http.matching import HTTP_CUSTOM_MATCHERS, HTTP_INPUTS, HttpMatchingData
from minienvoy.matchers.match_tree import INSUFFICIENT, MatchContext, compile_match_tree
from minienvoy.stream_info import ConnectionInfo, StreamInfo

TYPES = ("xds.type.matcher.v3.Matcher", "envoy.config.common.matcher.v3.Matcher")


def header(name: str, kind: str = "Request") -> dict[str, Any]:
    type_url = f"type.googleapis.com/envoy.type.matcher.v3.Http{kind}HeaderMatchInput"
    return {"name": "h", "typed_config": {"@type": type_url, "header_name": name}}


def single(name: str, value: str, kind: str = "Request") -> dict[str, Any]:
    return {"single_predicate": {"input": header(name, kind), "value_match": {"exact": value}}}


def to(name: str, **more: Any) -> dict[str, Any]:
    typed_config = {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": name}
    return {"action": {"name": name, "typed_config": typed_config}, **more}


def first(predicate: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"matcher_list": {"matchers": [{"predicate": predicate, "on_match": to("first")}]}, **more}


def compiled(tree: dict[str, Any], kind: str = TYPES[0], keeps: bool = True) -> Callable[[Any], Any]:
    register_catalogue()
    context = MatchContext(HTTP_INPUTS, HTTP_CUSTOM_MATCHERS, lambda action, path: action.name, keeps_matching=keeps)
    return compile_match_tree(load_dict(tree, kind).message, "tree", context)


def request(headers: dict[str, str], status: int = 0, **more: Any) -> HttpMatchingData:
    stream = StreamInfo()
    stream.connection = ConnectionInfo(None, None)
    entries = [entry(name.encode(), value.encode()) for name, value in headers.items()]
    made = RequestHeaderMap(b"GET", b"/path?k=v&e", b"a.test", entries)
    response = ResponseHeaderMap(status) if status else None
    return HttpMatchingData(stream, made, response_headers=response, **more)


@pytest.mark.parametrize("kind", TYPES)
def test_both_forms_of_the_api_are_the_same(kind: str) -> None:
    match = compiled(first(single("x-a", "one"), on_no_match=to("rest")), kind)
    assert [match(request({"x-a": value})) for value in ("one", "two")] == ["first", "rest"]


@pytest.mark.parametrize(
    ("predicate", "answer"),
    [
        (single("x-r", "a", "Response"), INSUFFICIENT),
        ({"not_matcher": single("x-r", "a", "Response")}, INSUFFICIENT),
        ({"or_matcher": {"predicate": [single("x-r", "a", "Response"), single("x-a", "one")]}}, "first"),
        ({"or_matcher": {"predicate": [single("x-r", "a", "Response"), single("x-a", "two")]}}, INSUFFICIENT),
        ({"and_matcher": {"predicate": [single("x-a", "two"), single("x-r", "a", "Response")]}}, None),
        ({"and_matcher": {"predicate": [single("x-a", "one"), single("x-r", "a", "Response")]}}, INSUFFICIENT),
    ],
)
def test_what_depends_on_the_response_has_to_wait_for_it(predicate: dict[str, Any], answer: Any) -> None:
    assert compiled(first(predicate))(request({"x-a": "one"})) == answer


def test_a_map_has_to_wait_too() -> None:
    tree = {"matcher_tree": {"input": header("x-r", "Response"), "exact_match_map": {"map": {"a": to("first")}}}}
    match = compiled(tree)
    assert match(request({})) is INSUFFICIENT
    assert match(request({}, 200)) is None


def test_keep_matching_goes_on_as_if_nothing_had_matched() -> None:
    tree = {
        "matcher_list": {
            "matchers": [
                {"predicate": single("x-a", "one"), "on_match": to("kept", keep_matching=True)},
                {"predicate": single("x-a", "one"), "on_match": to("second")},
            ]
        }
    }
    assert compiled(tree)(request({"x-a": "one"})) == "second"


def test_keep_matching_is_refused_where_it_has_no_meaning() -> None:
    with pytest.raises(ConfigError) as error:
        compiled(first(single("x-a", "one"), on_no_match=to("rest", keep_matching=True)), keeps=False)
    assert error.value.path == "tree.on_no_match.keep_matching"


def test_an_input_that_nobody_knows_is_told_with_its_place() -> None:
    tree = first({"single_predicate": {"input": to("x")["action"], "value_match": {"exact": "a"}}})
    with pytest.raises(ConfigError) as error:
        compiled(tree)
    assert error.value.problem == (
        "Didn't find a registered implementation for 'x' with type URL: 'google.protobuf.StringValue'"
    )
    assert error.value.path == ("tree.matcher_list.matchers[0].predicate.single_predicate.input.typed_config")


@pytest.mark.parametrize(
    ("config", "value"),
    [
        ("envoy.type.matcher.v3.HttpRequestQueryParamMatchInput query_param=k", b"v"),
        ("envoy.type.matcher.v3.HttpRequestQueryParamMatchInput query_param=e", b""),
        ("envoy.type.matcher.v3.HttpRequestQueryParamMatchInput query_param=none", None),
        ("envoy.type.matcher.v3.HttpRequestHeaderMatchInput header_name=:path", b"/path?k=v&e"),
        ("envoy.type.matcher.v3.HttpRequestTrailerMatchInput header_name=x-t", b"t"),
        ("envoy.type.matcher.v3.HttpResponseTrailerMatchInput header_name=x-t", None),
        ("envoy.type.matcher.v3.HttpResponseStatusCodeMatchInput", b"404"),
        ("envoy.type.matcher.v3.HttpResponseStatusCodeClassMatchInput", b"4xx"),
        ("envoy.extensions.matching.common_inputs.network.v3.SourceIPInput", None),
        ("envoy.extensions.matching.common_inputs.network.v3.SourceTypeInput", None),
        ("envoy.extensions.matching.common_inputs.network.v3.FilterStateInput key=k", b"7"),
        ("envoy.extensions.matching.common_inputs.network.v3.FilterStateInput key=none", None),
    ],
)
def test_what_inputs_read(config: str, value: bytes | None) -> None:
    register_catalogue()
    name, _, field = config.partition(" ")
    key, _, setting = field.partition("=")
    message = load_dict({key: setting} if key else {}, name).message
    read = HTTP_INPUTS.find(name).factory(message, None)
    trailers = HeaderMap([entry(b"x-t", b"t")])
    data = request({}, 404, request_trailers=trailers, response_trailers=HeaderMap())
    data.stream.filter_state["k"] = 7
    assert read(data) == value


def test_dynamic_metadata_is_for_the_metadata_matcher() -> None:
    metadata = "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput"
    matcher = "type.googleapis.com/envoy.extensions.matching.input_matchers.metadata.v3.Metadata"
    predicate = {
        "single_predicate": {
            "input": {"name": "i", "typed_config": {"@type": metadata, "filter": "f", "path": [{"key": "a"}]}},
            "custom_match": {"name": "m", "typed_config": {"@type": matcher, "value": {"double_match": {"exact": 5}}}},
        }
    }
    match = compiled(first(predicate))
    data = request({})
    assert match(data) is None
    data.stream.dynamic_metadata["f"] = {"a": 5}
    assert match(data) == "first"
