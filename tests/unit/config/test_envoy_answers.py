"""Every case that Envoy was asked about (`record_envoy_answers.py`): the same verdict, in the same words."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from minienvoy.config import api, loader
from minienvoy.errors import ConfigError

DATA = Path(__file__).parent / "data"
CASES: list[dict[str, Any]] = json.loads((DATA / "envoy_answers.json").read_text())

# What Envoy refuses when it makes clusters and extensions, after the configuration was loaded.
LATER = (
    "Didn't find a registered",
    "cluster manager: duplicate cluster",
    "Value not in the range of 0..100 range.",
    "Neither socket address nor pipe specified",
)
# The YAML libraries differ in how they call what is not YAML; where they found it is compared.
YAML_SYNTAX = re.compile(r"yaml-cpp: error at line (\d+), column (\d+): (?!bad conversion)")
# Envoy fills the message while it reads JSON, and so knows the field of what is not JSON; the reason is compared.
JSON_SYNTAX = re.compile(r"near \d+:\d+ \(offset \d+\): (.*?)\)(: |$)", re.DOTALL)


def key_part(error: str) -> str:
    """The part of an error that does not change from run to run of Envoy."""
    text = " ".join(error.split())
    text = re.sub(r", near \d+:\d+ \(offset \d+\)", "", text)
    text = re.sub(r"goo\.gle/debug\w+ ", "", text)
    # Which of two members of a oneof comes second is up to Envoy's unordered map.
    text = re.sub(r"@ \S+: (message|enum) \S+: '\w+' has already", "has already", text)
    text = re.sub(r"@ (\S+)", lambda match: "@ " + _without_map_keys(match[1]), text)
    for pattern in (
        r"Proto constraint validation failed \(.*\)",
        r"Invalid duration: [\w -]+:",
        r"Unable to parse JSON as proto \(.*?\)(?=: [\[{]|: ?$|$)",
    ):
        match = re.search(pattern, text)
        if match:
            return match[0]
    return text.strip()


def _without_map_keys(path: str) -> str:
    """Envoy counts the entries of a map in an order of its own, and adds steps for what is inside well-known types."""
    return re.sub(r'\[("[^"]*"|\d+)\]|\.<\w+>|\.(list|number|struct)_value', "", path)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_answer_is_envoys(case: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / f"case.{case['extension']}"
    path.write_text(case["text"])
    try:
        for _ in api.payloads(loader.load_bootstrap(path).message, validate=True):
            pass  # the factories do this
        problem = ""
    except ConfigError as error:
        problem = error.problem
    if case["accepted"] or case["error"].startswith(LATER):
        assert problem == ""
        return
    theirs = YAML_SYNTAX.match(case["error"])
    if theirs:
        assert problem.startswith("yaml-cpp: error at line")
    elif JSON_SYNTAX.search(problem):
        assert JSON_SYNTAX.search(problem)[1] == JSON_SYNTAX.search(case["error"])[1]
    else:
        assert key_part(problem) == key_part(case["error"])


TABLE = re.compile(r"^(.*?)\s+envoy=(OK|REJ) |^(.*?) \((True|False), ", re.MULTILINE)
ROWS = [
    (match[1] or match[3], (match[2] or match[4]) in ("OK", "True"))
    for match in TABLE.finditer((DATA / "yaml_quirks.txt").read_text())
]


@pytest.mark.parametrize(("name", "accepted"), ROWS, ids=[name for name, _ in ROWS])
def test_case_of_the_table_was_asked_as_it_was_meant(name: str, accepted: bool) -> None:
    if name == "allow-unknown":
        pytest.skip("a flag, not a text: test_loader has it")
    case = next(case for case in CASES if case["name"] == name)
    assert case["accepted"] == accepted
