from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from minienvoy.config.yaml_reader import MAX_NODES, read_yaml
from minienvoy.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("y", True), ("Off", False), ("NO", False), ("yEs", "yEs"), ('"yes"', "yes"), ("! yes", "yes"),
        ("~", None), ("NULL", None), ("nULL", "nULL"), ("''", ""),
        ("17", 17), ("+17", 17), ("-17", -17), ("0x1F", 31), ("-0x1F", -31), ("017", 15), ("08", "08"), ("0", 0),
        ("2147483647", 2147483647), ("2147483648", "2147483648"), ("-2147483648", -2147483648),
        ("1.5", "1.5"), ("1e3", "1e3"), (".5", ".5"), ("0o17", "0o17"), ("1_000", "1_000"), ("1:30", "1:30"),
        ("0x", "0x"), ("1-", "1-"), ("2020-01-01", "2020-01-01"), ("!!int '5'", 5), ("!!str 5", 5), ("!foo 5", 5),
        ("|\n 5", "5\n"), ("٣", "٣"), ("9" * 5000, "9" * 5000),
    ],
)  # fmt: skip
def test_scalar_has_the_type_it_has_in_envoy(text: str, value: Any) -> None:
    read = read_yaml(f"key: {text}\n")["key"]
    assert (type(read), read) == (type(value), value)


def test_alias_is_what_its_anchor_was() -> None:
    assert read_yaml("a: &x {b: [1]}\nc: *x\nd: &y z\ne: *y\n*y : 1\n") == {
        "a": {"b": [1]}, "c": {"b": [1]}, "d": "z", "e": "z", "z": 1,
    }  # fmt: skip


def test_anchor_in_something_ignored_is_whole() -> None:
    assert read_yaml("!ignore x:\n- !ignore &a {b: {c: [d]}}\ny: *a\nz: [!ignore w, v, !ignore {u: t}]\n") == {
        "y": {"b": {"c": ["d"]}},
        "z": ["v"],
    }


def test_only_the_first_document_is_read() -> None:
    assert read_yaml("a: 1\n---\n: [") == {"a": 1}
    assert read_yaml("") is None
    assert read_yaml("# nothing\n") is None


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        ("a: b\n c: d", "f:2:3", "mapping values are not allowed"),
        ("a: *b", "f:1:4", "the referenced anchor is not defined: b"),
        ("a: &b [*b]", "f:1:8", "the anchor b is an alias of itself"),
        ("a: &b {c: {d: *b}}", "f:1:15", "the anchor b is an alias of itself"),
        ("? [a]\n: b", "f:1:3", "bad conversion"),
        ("a: &x [1]\n*x : 2", "f:2:1", "bad conversion"),
        ("a: [b", "f:", "did not find expected|while parsing|expected"),
        ("a: \x01", "f", "special characters are not allowed|unacceptable character|control characters"),
    ],
)
def test_error_says_where(text: str, where: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        read_yaml(text, "f")
    assert caught.value.location.startswith(where)


def test_alias_bomb_is_refused_by_what_it_would_become() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    with pytest.raises(ConfigError, match=f"more than {MAX_NODES} values"):
        read_yaml("\n".join(lines))


@pytest.mark.parametrize("open_", ["[", "{a: ", "- ", "!ignore a: {b: "])
def test_nesting_without_end_is_refused(open_: str) -> None:
    with pytest.raises(ConfigError, match=r"nested deeper than|error at line"):
        read_yaml(open_ * 100_000, "f")


def test_yaml_that_was_imported_anew_is_read_and_its_errors_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin of pytest or a reloader may do that; libyaml's parser keeps the classes of the first import."""
    text = "a: &x [1, {b: y}]\nc: *x\n"
    before = read_yaml(text)
    for name in [each for each in sys.modules if each == "yaml" or each.startswith("yaml.")]:
        monkeypatch.delitem(sys.modules, name)
    assert read_yaml(text) == before
    with pytest.raises(ConfigError, match=r"f:1:6: yaml-cpp: error at line 1, column 6: expected"):
        read_yaml("a: [1", "f")


def test_what_is_printable_is_what_pyyaml_means_by_it() -> None:
    """The quick import gives PyYAML's reader an equal pattern, in place of the one that takes long to compile."""
    program = (
        "from minienvoy.config.yaml_reader import read_yaml; read_yaml('a: 1')\n"
        "import re, sys; from yaml.reader import Reader\n"
        "every = ''.join(map(chr, range(sys.maxunicode + 1))); quick = Reader.NON_PRINTABLE.findall(every)\n"
        "del sys.modules['yaml.reader']; re.purge(); from yaml.reader import Reader\n"
        "print(quick == Reader.NON_PRINTABLE.findall(every), len(quick), Reader.NON_PRINTABLE.pattern[:2])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["True", "2111", "[^"]


def test_yaml_is_imported_without_its_dearest_pattern() -> None:
    program = (
        "from minienvoy.config.yaml_reader import read_yaml; read_yaml('a: 1')\n"
        "from yaml.reader import Reader; print(Reader.NON_PRINTABLE.pattern[:2].encode())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == r"b'[\x00'"
