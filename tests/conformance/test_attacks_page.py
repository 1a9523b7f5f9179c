"""`tests/ATTACKS.md`: every name that stands there is that of a case or of a test."""

from __future__ import annotations

import re
from pathlib import Path

from . import golden, scenario

TESTS = Path(__file__).resolve().parents[1]


def test_every_attack_has_its_case() -> None:
    text = (TESTS / "ATTACKS.md").read_text("utf-8").partition("\n## ")[2]
    named = re.findall(r"`(\w+)/([^`]+)`", text)
    assert len(named) > 100
    known = {name: {case.name for case in scenario.load(name)} for name, _ in named}
    assert [f"{name}/{case}" for name, case in named if case not in known[name]] == []
    assert [f"{name}/{case}" for name, case in named if case not in golden.load(name)] == []


def test_every_attack_on_memory_has_its_test() -> None:
    text = (TESTS / "ATTACKS.md").read_text("utf-8").partition("\n## ")[2]
    source = (TESTS / "unit/http/http2/test_hostile_peers.py").read_text("utf-8")
    named = set(re.findall(r"`hostile::(\w+)`", text))
    assert len(named) >= 4
    assert [name for name in named if f"def {name}(" not in source] == []
