from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minienvoy.config.simple_yaml import NOT_SIMPLE, simple_yaml
from minienvoy.config.yaml_reader import _NULLS, read_any_yaml, read_yaml, scalar

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted([*ROOT.glob("configs/*.yaml"), *ROOT.glob("tests/data/examples/**/*.yaml")])

# What documents are made of, well-formed and not.
indents = st.sampled_from(["", "", "  ", "  ", "    ", "      ", " ", "   "])
dashes = st.sampled_from(["", "", "", "- ", "- ", "-   ", "- - ", "-", "--", "--- "])
keys = st.sampled_from(
    [
        "a:",
        "b:",
        "c_d.e-f/g:",
        '"@type":',
        "'x y':",
        "null:",
        "~:",
        "a :",
        "1:",
        "a",
        "? a",
        "*x:",
        "<<:",
        "a:b",
        "::",
        "",
    ]
)
scalars = st.sampled_from(
    [
        "",
        " ",
        " x",
        "  x y ",
        " 1",
        " -1",
        " 010",
        " 0x1f",
        " 1.5",
        " true",
        " n",
        " ~",
        " null",
        ' "q # r"',
        " 'it''s'",
        " 'p'",
        ' "a\\nb"',
        ' "',
        " '",
        " |",
        " >-",
        " &a x",
        " *a",
        " !t x",
        " a: b",
        " a:",
        " a:b",
        " a #b",
        " a#b",
        " #c",
        " x: y # z",
        " %x",
        " @x",
        " `x",
        " -",
        " - x",
        " -x",
        " ?",
        " ? x",
        " ?x",
        " ,",
        " x,y",
        " [",
        " ]",
        " {",
        " }x",
        "x",
        " x ---",
        " ...",
        " a\tb",
        " \x80",
        ' "a" b',
        " 'a' # b",
        ' "a"#b',
        " $x",
        " (x)",
        " ^x",
        " +1",
        " .5",
        " /p:q",
        " a:  b",
    ]
)
flow_pieces = st.sampled_from(
    [
        "{",
        "}",
        "[",
        "]",
        ", ",
        ",",
        "a: ",
        "a:",
        "b",
        "1",
        "-1",
        "- ",
        '"q"',
        "'r'",
        '"k": ',
        "x y",
        " ",
        "#",
        " # c",
        "~",
        "null: ",
        *("a:b", "/p", "&a ", "*a", "!t ", "a: {", "[a, ", "}", "]", "? a"),
    ]
)
flows = st.lists(flow_pieces, max_size=10).map("".join) | st.recursive(
    st.sampled_from(["a", "1", '"q"', "true", "-x", "/p.q", "'r s'"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda each: f"[{', '.join(each)}]")
        | st.lists(st.tuples(st.sampled_from(["a", '"b"', "c.d"]), inner), max_size=3).map(
            lambda each: "{" + ", ".join(f"{key}: {value}" for key, value in each) + "}"
        )
    ),
    max_leaves=6,
)
values = scalars | flows.map(lambda text: f" {text}")
lines = st.builds("{}{}{}{}".format, indents, dashes, keys, values) | st.sampled_from(
    ["", "# c", "   # c", "---", "..."]
)
documents = st.lists(lines, max_size=7).map("\n".join)


def plain_documents() -> st.SearchStrategy[Any]:
    words = st.sampled_from(["a", "b.c", "/d", "1", "-5", "yes", "null", "x y", "10s", "0.5", "e:f"])
    return st.dictionaries(
        st.sampled_from(["a", "b_c", '"@t"', "d.e"]),
        st.recursive(
            words,
            lambda inner: (
                st.lists(inner, min_size=1, max_size=3)
                | st.dictionaries(st.sampled_from(["a", "b", "c-d"]), inner, min_size=1, max_size=3)
            ),
            max_leaves=10,
        ),
        min_size=1,
        max_size=3,
    )


def written(value: Any, indent: int, below_dash: bool, compact: bool) -> str:
    """Block style; `compact` puts the dashes of a sequence below its key."""
    pad = " " * indent
    text = ""
    if isinstance(value, dict):
        for number, (key, inner) in enumerate(value.items()):
            text += ("" if below_dash and not number else pad) + f"{key}:"
            if isinstance(inner, str):
                text += f" {inner}\n"
            else:
                deeper = indent if compact and isinstance(inner, list) else indent + 2
                text += "\n" + written(inner, deeper, False, compact)
        return text
    for number, inner in enumerate(value):
        text += ("" if below_dash and not number else pad) + "- "
        text += f"{inner}\n" if isinstance(inner, str) else written(inner, indent + 2, True, compact)
    return text


def read_simply(text: str) -> Any:
    return simple_yaml(text, scalar, _NULLS)


def same(one: Any, other: Any) -> bool:
    # The order of keys, and 1 is not true.
    return repr(one) == repr(other)


@settings(deadline=None, max_examples=3000)
@given(documents)
def test_what_it_reads_a_library_reads_likewise(text: str) -> None:
    value = read_simply(text)
    if value is not NOT_SIMPLE:
        assert same(value, read_any_yaml(text))


@settings(deadline=None, max_examples=1000)
@given(flows)
def test_what_it_reads_of_flow_collections_a_library_reads_likewise(flow: str) -> None:
    value = read_simply(f"a: {flow}")
    if value is not NOT_SIMPLE:
        assert same(value, read_any_yaml(f"a: {flow}"))


@settings(deadline=None, max_examples=500)
@given(plain_documents(), st.booleans())
def test_it_reads_plain_documents(document: Any, compact: bool) -> None:
    text = written(document, 0, False, compact)
    value = read_simply(text)
    assert value is not NOT_SIMPLE
    assert same(value, read_any_yaml(text))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_read_as_a_library_reads_it(path: Path) -> None:
    text = path.read_text()
    assert same(read_yaml(text), read_any_yaml(text))


def test_most_files_are_simple() -> None:
    simple = [path for path in FILES if read_simply(path.read_text()) is not NOT_SIMPLE]
    assert len(simple) > 0.6 * len(FILES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing",
        "a",
        "- a",
        "a: &x 1",
        "a: *x",
        "a: !t 1",
        "a: |\n  b",
        "a: b\n  c",
        "a:\n  b\n  c",
        "a:\n b: 1\n  c: 1",
        "a: 1\n b: 1",
        "a: b: c",
        "a: 'b",
        'a: "b\\n"',
        "a:\tb",
        "a: ü",
        "a: 1\r\nb: 2",
        "a: 1\n---\nb: 2",
        "a: {b: c",
        "a: {b:\n c}",
        "a: [" * 100,
        "x: " + "[" * 100 + "]" * 100,
        "".join(f"{' ' * depth}a:\n" for depth in range(100)),
        "a: " + "x" * (1 << 18),
    ],
)
def test_it_leaves_everything_else_to_the_library(text: str) -> None:
    assert read_simply(text) is NOT_SIMPLE
