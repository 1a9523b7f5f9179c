from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from minienvoy import logger
from minienvoy.server.admin.logs_handler import handler_logging


@pytest.fixture(autouse=True)
def everything_off():
    logger.set_level(logger.OFF)
    yield
    logger.set_level(logger.WARNING)


def ask(query: str) -> tuple[int, str]:
    return handler_logging(parse_qsl(query, keep_blank_values=True))


def levels() -> dict[str, int]:
    return {name: one.level for name, one in logger.loggers().items() if one.level != logger.OFF}


def test_levels_are_listed_in_envoys_order():
    logger.set_level(logger.WARNING)
    status, body = ask("")
    assert status == 200
    assert body.startswith("active loggers:\n  a2a: warning\n  admin: warning\n  ai_protocol_manager: warning\n")
    assert body.endswith("\n  dynamic_modules: warning\n  ip_tagging: warning\n\n")
    assert body.count("\n") == 75


@pytest.mark.parametrize(
    ("query", "changed"),
    [
        ("http=trace", {"http": 0}),
        ("http=", {}),
        ("http", {}),
        ("level=", {}),
        ("paths=", {}),
        ("paths=http:debug,,router:info", {"http": 1, "router": 2}),
        ("paths=http%3Aerror", {"http": 4}),
    ],
)
def test_what_is_asked_for_is_changed(query, changed):
    assert ask(query)[0] == 200
    assert levels() == changed


def test_every_level_can_be_changed_at_once():
    status, body = ask("level=debug")
    assert status == 200
    assert body.count(": debug\n") == 73


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("foo=bar", "unknown logger level"),
        ("level=foo", "unknown logger level"),
        ("level=warn", "unknown logger level"),
        ("http=warn", "unknown logger level"),
        ("nope=debug", "unknown logger name"),
        ("=debug", "unknown logger name"),
        ("paths=http:debug,nope:info", "unknown logger name"),
        ("paths=http:debug:x", "unknown logger level"),
        ("paths=http", "empty logger name or empty logger level"),
        ("paths=:debug", "empty logger name or empty logger level"),
        ("level=debug&http=info", "invalid number of parameters"),
        ("group=x:debug", "group parameter requires fine-grain logging to be enabled"),
    ],
)
def test_what_makes_no_sense_changes_nothing_and_says_how_to_ask(query, problem):
    status, body = ask(query)
    assert status == 400
    assert body.startswith(f"error: {problem}\n\nusage: /logging?<name>=<level> (change single level)\n")
    assert "levels: trace debug info warning error critical off \nactive loggers:\n  a2a: off\n" in body
    assert levels() == {}


def test_logging_is_asked_through_the_interface(ask):
    response = ask("/logging?http=trace", "POST")
    assert (response.status, levels()) == (200, {"http": 0})
    assert ask("/logging?http=nope", "POST").status == 400
