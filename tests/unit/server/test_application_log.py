from __future__ import annotations

import json

import pytest

from minienvoy import logger
from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.log_pattern import DEFAULT_PATTERN
from minienvoy.server.application_log import json_pattern, set_log_format
from minienvoy.server.options import Options


@pytest.fixture(autouse=True)
def default_format():
    yield
    logger.SINK.set_format(DEFAULT_PATTERN)


def bootstrap(**log_format):
    return load_dict({"application_log_config": {"log_format": log_format}}).message


def test_text_is_a_pattern(capfd):
    set_log_format(bootstrap(text_format="%l: %v"), Options())
    logger.get("main").warning("hello")
    assert capfd.readouterr().err == "warning: hello\n"


def test_json_has_flags_in_its_strings(capfd):
    fields = {"level": "%l", "message": "%j", "n": 5, "list": ["%n", True, None], "inner": {"100%%": 'é"'}}
    set_log_format(bootstrap(json_format=fields), Options())
    logger.get("main").warning('say "hello"\n')
    assert json.loads(capfd.readouterr().err) == {
        "level": "warning",
        "message": 'say "hello"\n',
        "n": 5,
        "list": ["main", True, None],
        "inner": {"100%": 'é"'},
    }


def test_nothing_changes_when_nothing_is_wanted(capfd):
    logger.SINK.set_format("%v")
    set_log_format(load_dict({}).message, Options())
    logger.get("main").warning("as before")
    assert capfd.readouterr().err == "as before\n"


@pytest.mark.parametrize("flag", ["%v", "%_"])
def test_json_refuses_flags_that_would_break_it(flag):
    fields = bootstrap(json_format={"message": f"a {flag}"}).application_log_config.log_format.json_format
    with pytest.raises(ConfigError, match=f"Usage of {flag} is unavailable for JSON log formats"):
        json_pattern(fields)


def test_the_command_line_and_the_bootstrap_can_not_both_want_something():
    with pytest.raises(ConfigError, match=r"Only one of ApplicationLogConfig\.log_format or CLI option --log-format"):
        set_log_format(bootstrap(text_format="%v"), Options(log_format_set=True))
