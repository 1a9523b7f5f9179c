"""The program as a whole, with the server played by the test. Outputs and exit codes were seen with Envoy 1.40."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from minienvoy import __version__, cli, logger
from minienvoy.cli import main
from minienvoy.errors import ConfigError
from minienvoy.log_pattern import DEFAULT_PATTERN


@pytest.fixture(autouse=True)
def log_as_at_the_start():
    yield
    logger.set_level(logger.INFO)
    logger.SINK.open("")
    logger.SINK.set_format(DEFAULT_PATTERN)


@pytest.fixture
def server(monkeypatch):
    """`minienvoy.server.main_common` with what it was called with; `error` makes it fail."""
    module = ModuleType("minienvoy.server.main_common")
    module.calls = []
    module.error = None

    def called(name, code):
        def call(options):
            module.calls.append((name, options))
            if module.error is not None:
                raise module.error
            return code

        return call

    module.run = called("run", 0)
    module.validate = called("validate", None)
    monkeypatch.setitem(sys.modules, "minienvoy.server.main_common", module)
    return module


def run(*arguments: str) -> int:
    return main(["minienvoy", *arguments])


def test_the_version_has_the_shape_of_envoys(capfd):
    assert run("--version") == 0
    line = f"{'0' * 40}/1.40.0-minienvoy.{__version__}/Clean/RELEASE/OpenSSL"
    assert capfd.readouterr() == (f"\nminienvoy  version: {line}\n\n", "")


def test_help_goes_to_standard_output(capfd):
    assert run("--help") == 0
    out, err = capfd.readouterr()
    assert out.startswith("\nUSAGE: \n\n   minienvoy  [")
    assert err == ""


def test_the_program_calls_itself_what_it_was_called(capfd):
    assert main(["/usr/local/bin/envoy", "--version"]) == 0
    assert capfd.readouterr().out.startswith("\n/usr/local/bin/envoy  version: ")
    assert main(["/somewhere/minienvoy/__main__.py", "--version"]) == 0
    assert capfd.readouterr().out.startswith("\nminienvoy  version: ")


@pytest.mark.parametrize(
    ("arguments", "last_line"),
    [
        (["--nope"], "--nope -- Couldn't find match for argument"),
        (["-c"], "-c (--config-path) -- Missing a value for this argument!"),
        (["-l", "foo"], "error: invalid log level specified 'foo'"),
        (["--mode", "x"], "error: unknown mode 'x'"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_exit_code_1(arguments, last_line, capfd):
    assert run(*arguments) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == last_line


def test_there_is_no_hot_restart(capfd):
    assert run("--hot-restart-version") == 0
    assert capfd.readouterr() == ("", "disabled\n")


def test_a_bare_command_line_serves(server):
    assert run("-c", "envoy.yaml", "--seed", "7") == 0
    ((name, options),) = server.calls
    assert (name, options.config_path, options.seed) == ("run", "envoy.yaml", 7)


def test_the_exit_code_is_the_servers(server):
    server.run = lambda options: 3
    assert run("-c", "envoy.yaml") == 3


def test_a_configuration_that_can_not_be_served_is_exit_code_1(server, capfd):
    server.error = ConfigError("Invalid path: nope.yaml")
    assert run("-c", "nope.yaml", "--log-format", "[%l][%n] %v") == 1
    assert capfd.readouterr() == (
        "",
        "[critical][main] error `Invalid path: nope.yaml` initializing config 'nope.yaml'\n"
        "[info][main] exiting\n"
        "Invalid path: nope.yaml\n",
    )


def test_the_reason_is_told_even_if_the_log_is_off(server, capfd):
    server.error = ConfigError("Invalid path: nope.yaml")
    assert run("-c", "nope.yaml", "-l", "off") == 1
    assert capfd.readouterr().err == "Invalid path: nope.yaml\n"


def test_a_valid_configuration_is_ok(server, capfd):
    assert run("--mode", "validate", "-c", "ok.yaml") == 0
    assert [name for name, _ in server.calls] == ["validate"]
    assert capfd.readouterr() == ("configuration 'ok.yaml' OK\n", "")


def test_a_configuration_that_is_not_valid_is_told_and_exit_code_1(server, capfd):
    server.error = ConfigError("no such field: 'clusterz'", "static_resources", "bad.yaml:1:20")
    assert run("--mode", "validate", "-c", "bad.yaml", "--log-format", "%v") == 1
    assert capfd.readouterr() == (
        "",
        "error initializing configuration 'bad.yaml': bad.yaml:1:20: static_resources: no such field: 'clusterz'\n",
    )


def test_levels_and_format_are_in_force_before_the_server_is(server, capfd):
    server.run = lambda options: logger.get("upstream").debug("seen") or logger.get("main").info("not seen") or 0
    assert run("-l", "error", "--component-log-level", "upstream:trace", "--log-format", "%n: %v") == 0
    assert capfd.readouterr().err == "upstream: seen\n"


def test_flags_that_have_gone_are_warned_of(server, capfd):
    assert run("--cpuset-threads", "--log-format", "[%l][%n] %v") == 0
    line = "[warning][config] --cpuset-threads is now the default behavior and no longer required.\n"
    assert capfd.readouterr().err == line


def test_the_log_can_be_a_file(server, tmp_path, capfd):
    server.run = lambda options: logger.get("main").info("in the file") or 0
    assert run("--log-path", str(tmp_path / "log"), "--log-format", "%v") == 0
    assert (tmp_path / "log").read_text() == "in the file\n"
    assert capfd.readouterr() == ("", "")


def test_a_log_file_that_can_not_be_opened_is_exit_code_1(server, tmp_path, capfd):
    assert run("--log-path", str(tmp_path / "no" / "log")) == 1
    assert capfd.readouterr().err.splitlines()[-1].startswith("Failed to open log-file '")
    assert server.calls == []


def test_validating_touches_no_log_file(server, tmp_path):
    assert run("--mode", "validate", "--log-path", str(tmp_path / "log")) == 0
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_before_the_server_has_begun_is_no_traceback(server):
    server.error = KeyboardInterrupt()
    assert run("-c", "envoy.yaml") == 130


def test_only_the_first_argument_can_be_a_subcommand(server, monkeypatch):
    seen = []
    monkeypatch.setitem(cli.SUBCOMMANDS, "healthcheck", lambda arguments: seen.append(arguments) or 5)
    assert run("healthcheck", "--timeout-s", "1") == 5
    assert run("-c", "healthcheck") == 0
    assert seen == [["--timeout-s", "1"]]
    assert server.calls[0][1].config_path == "healthcheck"


def test_the_help_names_every_subcommand():
    from minienvoy import cli
    from minienvoy.server import command_line

    assert cli.SUBCOMMANDS.keys() == command_line.SUBCOMMANDS.keys()
