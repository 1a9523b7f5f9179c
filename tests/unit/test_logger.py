from __future__ import annotations

import pytest

from minienvoy import logger
from minienvoy.errors import ConfigError
from minienvoy.log_pattern import DEFAULT_PATTERN


@pytest.fixture(autouse=True)
def as_at_the_start():
    logger.set_level(logger.INFO)
    yield
    logger.set_level(logger.WARNING)
    logger.SINK.open("")
    logger.SINK.set_format(DEFAULT_PATTERN)


def test_a_line_goes_to_standard_error(capfd):
    logger.SINK.set_format("[%l][%n] %v")
    logger.get("upstream").warning("no healthy host")
    assert capfd.readouterr() == ("", "[warning][upstream] no healthy host\n")


def test_a_line_tells_where_it_comes_from(capfd):
    logger.SINK.set_format("%s %!")
    logger.get("main").error("here")
    assert capfd.readouterr().err == "test_logger.py test_a_line_tells_where_it_comes_from\n"


def test_a_file_of_the_package_is_named_from_the_folder_that_holds_the_package(tmp_path, capfd):
    (tmp_path / "logs").mkdir()
    logger.SINK.open(str(tmp_path / "logs" / "log"))
    logger.SINK.set_format("%g %v")
    (tmp_path / "logs").rename(tmp_path / "old")
    logger.reopen()
    line = (tmp_path / "old" / "log").read_text()
    assert line.startswith("minienvoy/logger.py Failed to open log-file")


@pytest.mark.parametrize("level", range(7))
def test_a_logger_writes_what_is_at_its_level_or_above(level, capfd):
    logger.SINK.set_format("%l")
    log = logger.get("router")
    log.set_level(level)
    for write in (log.trace, log.debug, log.info, log.warning, log.error, log.critical):
        write("x")
    names = ["trace", "debug", "info", "warning", "error", "critical"]
    assert capfd.readouterr().err.split() == names[level:]
    assert (log.trace_on, log.debug_on, log.info_on) == (level <= 0, level <= 1, level <= 2)


def test_levels_are_per_component(capfd):
    logger.SINK.set_format("%n")
    logger.set_level(logger.ERROR)
    logger.get("pool").set_level(logger.DEBUG)
    logger.get("pool").debug("creating a new connection")
    logger.get("router").warning("not written")
    assert capfd.readouterr().err == "pool\n"


def test_a_component_that_envoy_does_not_have_is_an_error():
    with pytest.raises(KeyError):
        logger.get("utils")


@pytest.mark.parametrize(
    ("name", "level"), [("trace", 0), ("warn", 3), ("warning", 3), ("off", 6), ("INFO", None), ("", None)]
)
def test_levels_have_the_names_of_the_command_line(name, level):
    assert logger.find_level(name) == level


def test_an_escaped_line_is_escaped_as_a_whole(capfd):
    logger.SINK.set_format('"%v"', escaped=True)
    logger.get("main").info("é")
    assert capfd.readouterr().err == '\\"\\303\\251\\"\n'


def test_text_that_is_not_utf8_is_written_as_it_came(capfdbinary):
    logger.SINK.set_format("%v")
    logger.get("main").info(b"\xff".decode("utf-8", "surrogateescape"))
    assert capfdbinary.readouterr().err == b"\xff\n"


def test_a_log_file_is_opened_again_after_it_was_moved_away(tmp_path):
    path = tmp_path / "envoy.log"
    logger.SINK.set_format("%v")
    logger.SINK.open(str(path))
    logger.get("main").info("one")
    path.rename(tmp_path / "envoy.log.1")
    logger.get("main").info("two")
    logger.reopen()
    logger.get("main").info("three")
    assert (tmp_path / "envoy.log.1").read_text() == "one\ntwo\n"
    assert path.read_text() == "three\n"


def test_a_log_file_that_can_not_be_opened_is_an_error_in_envoys_words(tmp_path):
    path = tmp_path / "no" / "log"
    with pytest.raises(ConfigError, match=r"^Failed to open log-file '.*/no/log'\. e\.what\(\): unable to open file"):
        logger.SINK.open(str(path))


def test_a_log_that_can_not_be_written_does_not_stop_the_process():
    logger.SINK.open("/dev/full")
    logger.get("main").critical("lost")
    assert logger.SINK._path == "/dev/full"
