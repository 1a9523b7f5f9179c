"""The same command lines through Envoy itself, where its binary is installed (a development dependency)."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout

import pytest

from minienvoy.cli import main
from minienvoy.log_pattern import LogRecord, compile_pattern
from minienvoy.server.command_line import ENVOY_FLAGS, usage


def minienvoy(program: str, *arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([program, *arguments])
    return code, out.getvalue(), err.getvalue()


def without_usage(text: str) -> list[str]:
    """The lines of an error that are not the list of flags, where ours are listed too."""
    lines = text.splitlines()
    if "Brief USAGE: " in lines:
        del lines[lines.index("Brief USAGE: ") : lines.index("For complete USAGE and HELP type: ")]
    return lines


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nope"],
        ["foo"],
        ["-x"],
        ["-cok.yaml"],
        ["--concurrency=1"],
        ["-c"],
        ["-c", "a", "-c", "b"],
        ["-hh"],
        ["--use-dynamic-base-id", "--use-dynamic-base-id"],
        ["--concurrency", "abc"],
        ["--concurrency", "1x"],
        ["--concurrency", "1 2"],
        ["--concurrency", "99999999999"],
        ["-l", "foo"],
        ["-l", "foo", "--mode", "bar"],
        ["--mode", "VALIDATE"],
        ["--local-address-ip-version", "v5"],
        ["--use-dynamic-base-id", "--restart-epoch", "1"],
        ["--component-log-level", "foo:debug"],
        ["--component-log-level", "upstream:foo"],
        ["--component-log-level", "upstream"],
        ["--component-log-level", "upstream:debug,"],
        ["--enable-fine-grain-logging", "--component-log-level", "upstream:debug"],
        ["--stats-tag", "a"],
        ["--stats-tag", "a:b.c"],
        ["--stats-tag", "a-b:c"],
        ["--stats-tag", "a:"],
        ["--disable-hot-restart", "--hot-restart-version"],
    ],
    ids=" ".join,
)
def test_what_is_refused_is_refused_in_the_same_words(arguments, envoy):
    theirs = envoy(*arguments)
    code, out, err = minienvoy(theirs.args[0], *arguments)
    assert (code, out) == (theirs.returncode, theirs.stdout)
    assert without_usage(err.rstrip("\n")) == without_usage(theirs.stderr.rstrip("\n"))


def test_help_lists_the_same_flags_in_the_same_order(envoy):
    theirs = [line for line in envoy("--help").stdout.splitlines() if line.startswith("   -")]
    ours = [line for line in usage("envoy").splitlines() if line.startswith("   -")]
    assert ours[: len(theirs)] == theirs
    assert len(theirs) == len(ENVOY_FLAGS) + 3


@pytest.mark.parametrize(
    "pattern",
    [
        *("%v", "%+", "%_", "%j", "%n", "%l", "%L", "%*", "%%", "%q", "%5q", "a%", "%^[%l]%$"),
        *("%8l|", "%10l|", "%-12l|", "%=12l|", "%=11l|", "%4!l|", "%12!l|", "%-4!n|", "%100l|"),
    ],
)
def test_a_pattern_means_the_same(pattern, envoy):
    theirs = envoy("--mode", "validate", "-c", "nope.yaml", "--log-format", pattern).stderr
    message = "error initializing configuration 'nope.yaml': Invalid path: nope.yaml"
    assert compile_pattern(pattern)(LogRecord(0.0, 0.0, 5, "main", message, "server.py", 1, "run")) + "\n" == theirs
