"""URI templates: which paths they match, and what they make of them."""

from __future__ import annotations

import pytest

from minienvoy.errors import ConfigError
from minienvoy.extensions.path.uri_template import UriTemplate, compile_uri_template_rewrite


@pytest.mark.parametrize(
    ("template", "path", "matches"),
    [
        ("/a", b"/a", True),
        ("/a", b"/a/", False),
        ("/a/*/c", b"/a/b/c", True),
        ("/a/*/c", b"/a//c", False),
        ("/a/*/c", b"/a/b/b/c", False),
        ("/a/**", b"/a/", True),
        ("/a/**", b"/a/b/c", True),
        ("/a/**", b"/a", False),
        ("/{x}/{y=b/*}", b"/a/b/c", True),
        ("/{x}/{y=b/*}", b"/a/c/c", False),
        ("/{x=**}.m3u8", b"/a/b.m3u8", True),
        ("/a.b", b"/a-b", False),
        ("/{x}", b'/"', False),
    ],
)
def test_a_template_matches_the_whole_path(template: str, path: bytes, matches: bool) -> None:
    assert UriTemplate(template, "t").matches(path) is matches


@pytest.mark.parametrize(
    "template",
    [
        "",
        "a",
        "/{",
        "/{}",
        "/{1a}",
        "/{x=}",
        "/{x=a/}",
        "/{a}/{a}",
        "/**/*",
        "/**/{a}",
        "/a b",
        "/{a}{b}",
        "/{" + "a" * 17 + "}",
        "/{a}/{b}/{c}/{d}/{e}/{f}",
    ],
)
def test_what_is_no_template_is_refused(template: str) -> None:
    with pytest.raises(ConfigError, match="is invalid"):
        UriTemplate(template, "t")


def test_variables_are_put_where_the_rewrite_has_them() -> None:
    rewrite = compile_uri_template_rewrite("/{b}-x/{a}{a}.html", UriTemplate("/{a}/{b=**}", "t"), "r")
    assert rewrite(b"/1/2/3") == b"/2/3-x/11.html"
    assert rewrite(b"/") is None


@pytest.mark.parametrize(
    ("rewrite", "problem"),
    [
        ("a", "is invalid"),
        ("//a", "is invalid"),
        ("/{a", "is invalid"),
        ("/{}", "is invalid"),
        ("/{b}", "mismatch between path_match_policy /{a} and path_rewrite_policy /{b}"),
    ],
)
def test_what_is_no_rewrite_is_refused(rewrite: str, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        compile_uri_template_rewrite(rewrite, UriTemplate("/{a}", "t"), "r")
    assert problem in error.value.problem
