"""Templates; how they meet is in tests/conformance/scenarios/transcoder_paths.yaml."""

from __future__ import annotations

import pytest

from minienvoy.extensions.filters.http.grpc_json_transcoder.path_matcher import (
    ALL_CHARACTERS,
    EXCEPT_RESERVED,
    EXCEPT_SLASH,
    Binding,
    HttpTemplate,
    PathMatcher,
    Variable,
    unescape,
)


@pytest.mark.parametrize(
    "text",
    ["", "x", "/", "/a//b", "/{", "/{}", "/{a", "/{a=}", "/{a={b}}", "/a:", "/a:b/c", "/**/*", "/{a=**}/**", "/a}"],
)
def test_what_is_no_template(text: str) -> None:
    assert HttpTemplate.parse(text) is None


def test_what_a_template_says() -> None:
    template = HttpTemplate.parse("/v1/{a.b=x/*}/y/{c=**}/end:go")
    assert template is not None
    assert template.segments == ("v1", "x", "*", "y", "**", "end")
    assert template.verb == "go"
    assert template.variables == (Variable(("a", "b"), 1, 3), Variable(("c",), 4, -2))


def test_path_and_query_say_what_fields_are() -> None:
    matcher = PathMatcher(ignored_parameters=["key"])
    assert matcher.register("GET", "/v1/{name=a/*}/{rest=**}", "", "method")
    assert matcher.lookup("GET", b"/v1/a/b%20c/d/e%2Ff", b"x.y=1%20&key=2&z=") == (
        "method",
        "",
        [
            Binding(("name",), "a/b c"),
            Binding(("rest",), "d/e%2Ff"),
            Binding(("x", "y"), "1 "),
            Binding(("z",), ""),
        ],
    )
    assert matcher.lookup("POST", b"/v1/a/b/c", b"") is None


def test_escapes_that_stay() -> None:
    assert unescape(b"%2F%41%zz%", EXCEPT_RESERVED) == b"%2FA%zz%"
    assert unescape(b"%2f%3F+", EXCEPT_SLASH) == b"%2f?+"
    assert unescape(b"%2f+", ALL_CHARACTERS, plus=True) == b"/ "


def test_a_path_with_many_parts_is_looked_up_once() -> None:
    matcher = PathMatcher()
    for depth in range(1, 8):
        matcher.register("GET", "/" + "/".join(["*"] * depth) + "/**/end", "", depth)
    assert matcher.lookup("GET", b"/a" * 2000 + b"/end", b"") is not None
    assert matcher.lookup("GET", b"/a" * 2000, b"") is None
