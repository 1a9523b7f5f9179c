"""The same command lines through Envoy itself, where its binary is installed (a development dependency)."""

from __future__ import annotations

import io
import subprocess
import sys
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


MAIN_LINES = (
    "initializing epoch",
    "admin address: 127.0.0.1:",
    "loading 0 static secret(s)",
    "loading 1 cluster(s)",
    "loading 1 listener(s)",
    "There is no configured limit to the number of allowed active downstream connections.",
    "starting main dispatch loop",
    "cm init: all clusters initialized",
    "all clusters initialized. initializing init manager",
    "all dependencies initialized. starting workers",
    "exiting",
)
"""What people and their scripts wait for in the log."""

SMALL = """
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          route_config: {}
          http_filters:
          - name: r
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters: [{name: a}]
"""


def ours(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "minienvoy", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def log_of_a_life(program: list[str], config: str = SMALL) -> str:
    """What it logs from its start until it has been told to end, after it was ready."""
    command = [*program, "--disable-hot-restart", "--config-yaml", config]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "starting workers" in line:
                process.terminate()
    return "".join(lines)


def test_a_life_is_logged_in_the_same_words(envoy_binary):
    for program in ([envoy_binary], [sys.executable, "-m", "minienvoy"]):
        log = log_of_a_life(program)
        assert [line for line in MAIN_LINES if line not in log] == []


@pytest.mark.parametrize(
    "names",
    [
        "envoy.filters.http/envoy.filters.http.router",
        "envoy.filters.http/nope",
        "envoy.filters.http.router",
    ],
)
def test_a_disabled_extension_is_not_found(names, envoy):
    arguments = ("--mode", "validate", "--disable-extensions", names, "--config-yaml", SMALL)
    theirs, mine = envoy(*arguments), ours(*arguments)
    assert (mine.returncode, mine.stdout) == (theirs.returncode, theirs.stdout)
    for line in ("to disable", "disabled extension", "Didn't find a registered implementation for 'r'"):
        assert (line in mine.stderr) == (line in theirs.stderr)


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_listening_for_others_is_warned_of(host, warned):
    config = SMALL.replace(
        "  - address: {socket_address: {address: 127.0.0.1", f"  - address: {{socket_address: {{address: {host}"
    )
    log = log_of_a_life([sys.executable, "-m", "minienvoy"], config)
    assert ("not for the production edge" in log) is warned
