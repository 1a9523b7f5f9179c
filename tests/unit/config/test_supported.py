from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from minienvoy.config import supported
from minienvoy.config.fields import Declaration, Rule

CLUSTER = "envoy.config.cluster.v3.Cluster"


def declaration() -> Declaration:
    made = Declaration()
    made.honoured["name"] = Rule()
    made.honoured["name"].values = None
    made.honoured["lb_policy"] = Rule()
    made.honoured["lb_policy"].values = {"ROUND_ROBIN", "RANDOM"}
    made.honoured["type"] = Rule()
    made.honoured["type"].whens.append(lambda message: None)
    made.ignored["track_timeout_budgets"] = "deprecated"
    return made


def test_page_says_for_every_field_what_it_does() -> None:
    lines = supported.render({CLUSTER: declaration()}).split("\n")
    assert f"## {CLUSTER}" in lines
    for line in (
        "| name | yes |",
        "| lb_policy | partly: RANDOM, ROUND_ROBIN |",
        "| type | partly |",
        "| track_timeout_budgets | ignored: deprecated |",
        "| connect_timeout | not yet |",
    ):
        assert line in lines


def test_declaration_of_something_that_envoy_does_not_have_is_an_error() -> None:
    with pytest.raises(ValueError, match="no such message"):
        supported.render({"envoy.Nothing": Declaration()})
    wrong = Declaration()
    wrong.honoured["nmae"] = Rule()
    with pytest.raises(ValueError, match="it has no field 'nmae'"):
        supported.render({CLUSTER: wrong})


def page() -> str:
    command = [sys.executable, "-m", "minienvoy.config.supported"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_committed_page_is_that_of_the_declarations() -> None:
    """In a process of its own: tests declare what minienvoy does not."""
    committed = Path(supported.__file__).parents[2] / "docs" / "supported.md"
    assert committed.read_text() == page(), "run: python -m minienvoy.config.supported > docs/supported.md"
