"""Envoy's answers as files, and the comparison."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Any

import yaml

from . import spread

GOLDEN = Path(__file__).parent / "golden"
KNOWN = Path(__file__).parent / "known_differences.yaml"
_PAUSE = re.compile(r"<after \d+\.\d s>")
_END = re.compile(r"^(closed|reset|alert \w+|no handshake: \w+) (?:at once|after \d+\.\d s)$")


def load(scenario: str) -> dict[str, Any]:
    path = GOLDEN / f"{scenario}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def save(scenario: str, answers: dict[str, Any]) -> None:
    (GOLDEN / f"{scenario}.json").write_text(json.dumps(answers, indent=1) + "\n", "utf-8")


def known_differences() -> dict[str, str]:
    """The cases (`scenario/case`) in which minienvoy is known to differ, and why; see the head of the file."""
    return yaml.load(KNOWN.read_text("utf-8"), Loader=yaml.CSafeLoader) or {}


def timeless(answer: Any) -> Any:
    """An answer without what a real clock decides: how long things took."""
    if isinstance(answer, dict):
        return {key: timeless(value) for key, value in answer.items()}
    if isinstance(answer, list):
        return [timeless(value) for value in answer if not (isinstance(value, str) and _PAUSE.fullmatch(value))]
    return _END.sub(r"\1", answer) if isinstance(answer, str) else answer


def is_timed(answer: Any) -> bool:
    """Whether something in the answer took its time, or never came, or is still to come: a connection whose last
    response says `connection: close` was seen open only because its delay (1 s) was not over."""
    late_or_never = re.search(r"after \d+\.\d s|<nothing more came>|<incomplete>", json.dumps(answer))
    return bool(late_or_never) or _is_about_to_close(answer)


def _is_about_to_close(answer: Any) -> bool:
    if isinstance(answer, dict):
        return any(map(_is_about_to_close, answer.values()))
    if not isinstance(answer, list):
        return False
    messages = [each for each in answer if isinstance(each, list)]
    if answer and answer[-1] == "kept open" and any("connection: close" in each for each in messages):
        return True
    return any(map(_is_about_to_close, messages))


def late(expected: Any, answer: Any) -> bool:
    """Whether something that is expected may still be on its way; never if nothing is expected."""
    return bool(expected and difference(timeless(expected), timeless(answer)))


def difference(expected: Any, actual: Any) -> list[str]:
    """The lines in which two answers differ, as a unified diff; empty if they are identical."""
    if expected == actual:
        return []
    both = isinstance(expected, dict) and isinstance(actual, dict) and "spread" in expected and "spread" in actual
    if both and spread.agrees(expected["spread"], actual["spread"]):
        actual = {**actual, "spread": expected["spread"]}
        if expected == actual:
            return []
    old, new = (json.dumps(side, indent=1).splitlines() for side in (expected, actual))
    return list(difflib.unified_diff(old, new, "Envoy", "here", lineterm="", n=2))[2:]
