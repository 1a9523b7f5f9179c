"""What the RFCs ask of the 146 cases of the scenario `h2_spec`, and who does it.

Envoy is judged by its recorded answers, minienvoy by those that it gives now. The cases are those that h2spec has for
servers; its rules are kept: a connection error is met by GOAWAY with the right code, or by the end of the connection; a
stream error by either of them, too.
"""

from __future__ import annotations

from typing import Any

import pytest

from . import golden, runner, scenario, virtual_time

_FORGOTTEN = "what comes for a stream that is over is ignored"
_PRIORITY = "PRIORITY is not looked at, as RFC 9113 has it"
_SILENT = "the connection is closed without a word"
NOT_MET_BY_ENVOY = {
    "http2 5.1/8 DATA after RST_STREAM": _FORGOTTEN,
    "http2 5.1/9 HEADERS after RST_STREAM": _FORGOTTEN,
    "http2 5.1/11 DATA after the end of a stream": _FORGOTTEN,
    "http2 5.1/12 HEADERS after the end of a stream": _FORGOTTEN,
    "http2 5.1.1/2 a stream with a lower number than the last": "nghttp2 takes it for a stream that is over",
    "http2 5.3.1/2 PRIORITY that depends on itself": _PRIORITY,
    "http2 6.3/1 PRIORITY for no stream": _PRIORITY,
    "http2 6.9.1/2 the window of the connection grows too large": _SILENT,
    "http2 6.9.1/3 the window of a stream grows too large": _SILENT,
}
"""The cases that the recorded Envoy does not meet, and why; minienvoy does the same."""


def shown(answer: dict[str, Any]) -> list[str]:
    """The client's transcript, one text for each frame or end."""
    client = answer["client"]
    return ["\n".join(each) if isinstance(each, list) else each for each in client]


def code_of(line: str) -> int:
    """Of `GOAWAY last=1 code=2 ...` or `1 RST_STREAM 2`; -1 for other frames."""
    words = line.split()
    if words[0] == "GOAWAY":
        return int(words[2].removeprefix("code="))
    return int(words[2]) if words[1:2] == ["RST_STREAM"] else -1


def meets(requires: str, lines: list[str]) -> bool:
    kind = requires.rstrip("0123456789 ")
    codes = [int(word) for word in requires.split() if word.isdigit()]
    ended = any(line.startswith(("closed", "reset")) for line in lines)
    goaway = any(line.startswith("GOAWAY") and code_of(line) in codes for line in lines)
    rst = any(" RST_STREAM " in line and code_of(line) in codes for line in lines)
    answered = any(line.startswith("1 HEADERS\n:status: 200") for line in lines)
    sizes = [line.split()[2] for line in lines if line.startswith("1 DATA ")]
    pinged = "PING ack 01234567" in lines
    return {
        "answer": answered,
        "connection error": goaway or ended,
        "data": bool(sizes),
        "end": ended,
        "goaway": goaway,
        "one byte": sizes[:1] == ["1"],
        "one byte at last": sizes[:2] == ["3", "1"],
        "ping": pinged and not ended and "PING ack 76543210" not in lines,
        "ping or end": pinged or ended,
        "rst": rst,
        "settings": any(line.startswith("SETTINGS 1=") for line in lines),
        "settings ack": lines.count("SETTINGS ack") == 2,
        "stream error": goaway or rst or ended,
    }[kind]


CASES = scenario.load("h2_spec")


def test_there_are_as_many_cases_as_h2spec_has() -> None:
    assert len(CASES) == 146


def test_envoy_meets_what_it_meets() -> None:
    recorded = golden.load("h2_spec")
    not_met = {case.name for case in CASES if not meets(case.spec["requires"], shown(recorded[case.name]))}
    assert not_met == set(NOT_MET_BY_ENVOY)


def test_minienvoy_meets_at_least_as_many() -> None:
    answers = virtual_time.run(runner.run("here", CASES))
    not_met = {case.name for case in CASES if not meets(case.spec["requires"], shown(answers[case.name]))}
    assert not_met <= set(NOT_MET_BY_ENVOY)


@pytest.mark.parametrize(
    ("requires", "lines", "met"),
    [
        ("connection error 1", ["GOAWAY last=0 code=1 why"], True),
        ("connection error 1", ["GOAWAY last=0 code=2", "kept open"], False),
        ("connection error 1", ["closed after 1.0 s"], True),
        ("stream error 5 1", ["1 RST_STREAM 1"], True),
        ("stream error 5", ["1 HEADERS\n:status: 200", "kept open"], False),
        ("goaway 3", ["closed at once"], False),
        ("one byte", ["1 HEADERS\n:status: 200", "1 DATA 1 bytes\n\nh"], True),
        ("one byte", ["1 DATA 5 bytes\n\nhello"], False),
        ("ping", ["PING ack 01234567", "kept open"], True),
    ],
)
def test_what_meets_a_requirement(requires: str, lines: list[str], met: bool) -> None:
    assert meets(requires, lines) is met
