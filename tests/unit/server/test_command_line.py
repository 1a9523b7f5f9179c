"""How a command line is read; every expectation was seen with Envoy 1.40."""

from __future__ import annotations

import pytest

from minienvoy.server.command_line import ENVOY_FLAGS, OWN_FLAGS, ArgumentError, failure, parse, usage

ENVOY_1_40 = """
stats-tag enable-core-dump socket-mode socket-path disable-extensions cpuset-threads enable-mutex-tracing
disable-hot-restart mode parent-shutdown-time-s drain-strategy drain-time-s file-flush-min-size-kb
file-flush-interval-msec service-zone service-node service-cluster hot-restart-version restart-epoch log-path
enable-fine-grain-logging log-format-escaped log-format component-log-level log-level local-address-ip-version
admin-address-path log-stacktrace-single-entry skip-deprecated-logs ignore-unknown-dynamic-fields
reject-unknown-dynamic-fields allow-unknown-static-fields allow-unknown-fields config-yaml config-path concurrency
base-id-path skip-hot-restart-parent-stats skip-hot-restart-on-no-parent use-dynamic-base-id base-id
""".split()  # noqa: SIM905


def refused(*arguments: str) -> tuple[str, str]:
    with pytest.raises(ArgumentError) as caught:
        parse(arguments)
    return caught.value.argument, caught.value.problem


def test_every_flag_of_envoy_is_there():
    assert [flag.name for flag in ENVOY_FLAGS] == ENVOY_1_40


@pytest.mark.parametrize("flag", [*ENVOY_FLAGS, *OWN_FLAGS], ids=lambda flag: flag.name)
def test_every_flag_is_read(flag):
    arguments = [f"--{flag.name}", "1"] if flag.kind else [f"--{flag.name}"]
    value = {"string": ["1"] if flag.repeats else "1", "uint32_t": 1, "": True}[flag.kind]
    assert parse([*arguments, "--"]) == {flag.name: value}


def test_two_flags_have_a_letter():
    assert parse(["-c", "envoy.yaml", "-l", "debug"]) == {"config-path": "envoy.yaml", "log-level": "debug"}


def test_a_value_is_the_next_argument_whatever_it_looks_like():
    assert parse(["-c", "-l", "--config-yaml", "--version", "--service-node", "--"]) == {
        "config-path": "-l",
        "config-yaml": "--version",
        "service-node": "--",
    }


def test_a_tag_can_be_given_again_and_again():
    assert parse(["--stats-tag", "a:b", "--stats-tag", "c:d"]) == {"stats-tag": ["a:b", "c:d"]}


@pytest.mark.parametrize("stop", ["--", "--ignore_rest"])
def test_what_follows_a_double_dash_is_ignored(stop):
    assert parse(["-l", "off", stop, "-c", "x", "--nope"]) == {"log-level": "off"}


def test_a_bundle_of_no_switches_is_nothing():
    assert parse(["-", ""]) == {}


@pytest.mark.parametrize("argument", ["-h", "--help", "-hx", "-clh"])
def test_help_ends_the_reading(argument):
    assert parse([argument, "--nope"]) == {"help": True}


def test_version_ends_the_reading():
    assert parse(["--version", "--nope"]) == {"version": True}


@pytest.mark.parametrize("argument", ["--nope", "foo", "-x", "-cok.yaml", "--concurrency=1", "--log", "-v", "-h x"])
def test_an_unknown_flag_is_refused(argument):
    assert refused(argument, "--version") == (argument, "Couldn't find match for argument")


def test_a_missing_value_is_refused():
    assert refused("-c") == ("-c (--config-path)", "Missing a value for this argument!")


def test_a_flag_that_is_given_twice_is_refused():
    assert refused("-c", "a", "--config-path", "b") == ("-c (--config-path)", "Argument already set!")
    assert refused("--use-dynamic-base-id", "--use-dynamic-base-id") == (
        "(--use-dynamic-base-id)",
        "Argument already set!",
    )
    assert refused("-hh") == ("-h (--help)", "Argument already set!")


@pytest.mark.parametrize(
    ("text", "number"),
    [("5", 5), (" 5", 5), ("+5", 5), ("010", 10), ("", 0), ("-1", 4294967295), ("4294967295", 4294967295)],
)
def test_a_number_is_read_as_a_stream_reads_it(text, number):
    assert parse(["--concurrency", text]) == {"concurrency": number}


@pytest.mark.parametrize(
    "text", ["abc", "1x", "0x10", "1.5", "4294967296", "99999999999", "-5000000000", "\u0661", "9" * 5000]
)
def test_what_is_no_number_is_refused(text):
    assert refused("--concurrency", text) == ("(--concurrency)", f"Couldn't read argument value from string '{text}'")


def test_two_numbers_are_refused():
    assert refused("--concurrency", "1 2") == ("(--concurrency)", "More than one valid value parsed from string '1 2'")


def test_a_failure_is_shown_as_tclap_shows_it():
    text = failure("minienvoy", ArgumentError("--nope", "Couldn't find match for argument"))
    assert text.startswith(
        "PARSE ERROR: Argument: --nope\n             Couldn't find match for argument\n\nBrief USAGE: \n   minienvoy  ["
    )
    assert text.endswith(
        "For complete USAGE and HELP type: \n   minienvoy --help\n\n--nope -- Couldn't find match for argument\n"
    )


def test_help_is_laid_out_as_tclap_does():
    text = usage("minienvoy")
    assert text.startswith("\nUSAGE: \n\n   minienvoy  [--")
    assert "\n   -c <string>,  --config-path <string>\n     Path of the configuration file\n\n" in text
    assert "\n   --stats-tag <string>  (accepted multiple times)\n     A tag" in text
    assert "\n   --,  --ignore_rest\n" in text
    assert max(map(len, text.splitlines())) <= 75


def test_help_says_what_has_no_effect_and_what_is_ours():
    text = usage("minienvoy")
    assert "   --socket-mode <string>\n     Accepted and without effect: minienvoy has no hot restart.\n" in text
    _, ours = text.split("Where (minienvoy's own, unknown to Envoy): ")
    assert [line.split()[0] for line in ours.splitlines() if line.startswith("   --")] == [
        "--seed",
        "--explain",
        "--unsupported",
        "--http1-codec",
        "--http2-codec",
    ]
