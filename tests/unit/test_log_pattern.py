from __future__ import annotations

import os
import threading
import time

import pytest

from minienvoy.log_pattern import DEFAULT_PATTERN, LogRecord, compile_pattern, escape_c


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    """Log lines are in local time; here that is UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def written(pattern: str, message: str = "hello", level: int = 3, when: float = 1795410226.0957) -> str:
    record = LogRecord(when, 1.5, level, "main", message, "minienvoy/server/server.py", 1059, "run")
    return compile_pattern(pattern)(record)


def test_the_default_pattern_is_envoys():
    thread = threading.get_native_id()
    assert written(DEFAULT_PATTERN) == (
        f"[2026-11-23 05:03:46.095][{thread}][warning][main] [minienvoy/server/server.py:1059] hello"
    )


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("%v", "hello"),
        ("%+", "hello"),
        ("%n", "main"),
        ("%l", "warning"),
        ("%L", "W"),
        ("%a", "Mon"),
        ("%A", "Monday"),
        ("%b", "Nov"),
        ("%h", "Nov"),
        ("%B", "November"),
        ("%c", "Mon Nov 23 05:03:46 2026"),
        ("%C", "26"),
        ("%Y", "2026"),
        ("%D", "11/23/26"),
        ("%x", "11/23/26"),
        ("%m", "11"),
        ("%d", "23"),
        ("%H", "05"),
        ("%I", "05"),
        ("%M", "03"),
        ("%S", "46"),
        ("%e", "095"),
        ("%f", "095700"),
        ("%E", "1795410226"),
        ("%p", "AM"),
        ("%r", "05:03:46 AM"),
        ("%R", "05:03"),
        ("%T", "05:03:46"),
        ("%X", "05:03:46"),
        ("%z", "+00:00"),
        ("%s", "server.py"),
        ("%g", "minienvoy/server/server.py"),
        ("%#", "1059"),
        ("%!", "run"),
        ("%@", "minienvoy/server/server.py:1059"),
        ("%o", "1500"),
        ("%i", "1500000"),
        ("%u", "1500000000"),
        ("%O", "1"),
        ("%*", ""),
        ("%^[%l]%$", "[warning]"),
        ("%%", "%"),
        ("100%% %l", "100% warning"),
        ("%q", "%q"),
        ("%5q", "%q"),
        ("a%", "a"),
        ("%", ""),
    ],
)
def test_flags_are_spdlogs(flag, text):
    assert written(flag) == text


def test_process_and_thread_are_numbers_of_the_system():
    assert written("%P %t") == f"{os.getpid()} {threading.get_native_id()}"


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("%8l|", "critical|"),
        ("%10l|", "  critical|"),
        ("%-12l|", "critical    |"),
        ("%=12l|", "  critical  |"),
        ("%=11l|", " critical  |"),
        ("%4!l|", "crit|"),
        ("%12!l|", "    critical|"),
        ("%99999999l|", " " * 56 + "critical|"),
    ],
)
def test_a_field_is_padded_and_cut_as_spdlog_does(pattern, text):
    assert written(pattern, level=5) == text


@pytest.mark.parametrize("flag", ["%v", "%_", "%j"])
def test_a_message_can_not_begin_a_second_line(flag):
    line = written(flag, "a\n[2026-11-23 05:03:46.095][1][info][main] forged\r\x1b[31m\x85\u2028b")
    assert line.isprintable()
    assert line.startswith("a\\n[2026")


def test_printable_text_is_left_alone():
    assert written("%v", 'é "quoted" \\ 😀') == 'é "quoted" \\ 😀'


def test_a_json_message_fits_between_quotes():
    assert written('{"message":"%j"}', 'say "no"\n\\\t\x01é') == '{"message":"say \\"no\\"\\n\\\\\\t\\u0001é"}'


def test_an_escaped_line_is_a_c_string():
    assert escape_c("'no\tp\ne\x01é\"\\.yaml'") == "\\'no\\tp\\ne\\001\\303\\251\\\"\\\\.yaml\\'"
