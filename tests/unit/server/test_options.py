"""What a command line asks for; words of errors were seen with Envoy 1.40."""

from __future__ import annotations

import pytest

from minienvoy import logger
from minienvoy.server.options import Options, OptionsError


def options(*arguments: str) -> Options:
    return Options.from_arguments(arguments)


def refused(*arguments: str) -> str:
    with pytest.raises(OptionsError) as caught:
        options(*arguments)
    return str(caught.value)


def test_an_empty_command_line_is_the_defaults():
    assert options() == Options()


def test_units_are_seconds_and_bytes():
    asked = options(
        *("--drain-time-s", "30", "--parent-shutdown-time-s", "45"),
        *("--file-flush-interval-msec", "1500", "--file-flush-min-size-kb", "8"),
    )
    assert (asked.drain_time, asked.parent_shutdown_time) == (30.0, 45.0)
    assert (asked.file_flush_interval, asked.file_flush_min_size) == (1.5, 8192)


def test_levels_are_numbers():
    asked = options("-l", "warn", "--component-log-level", "upstream:debug,connection:trace")
    assert asked.log_level == logger.WARNING
    assert asked.component_log_levels == (("upstream", logger.DEBUG), ("connection", logger.TRACE))


def test_there_is_at_least_one_worker():
    assert options("--concurrency", "0").concurrency == 1


def test_a_tag_has_a_name_and_a_value():
    assert options("--stats-tag", "a:b:c", "--stats-tag", "a:d").stats_tags == (("a", "b:c"), ("a", "d"))


def test_our_own_flags_have_values_too():
    asked = options("--seed", "7", "--explain", "--unsupported", "warn", "--http1-codec", "h11", "--http2-codec", "h2")
    assert (asked.seed, asked.explain, asked.unsupported) == (7, True, "warn")
    assert (asked.http1_codec, asked.http2_codec) == ("h11", "h2")


def test_flags_that_envoy_warns_of_are_remembered():
    asked = options("--cpuset-threads", "--allow-unknown-fields")
    assert asked.allow_unknown_static_fields
    assert asked.warnings == (
        ("config", "--cpuset-threads is now the default behavior and no longer required."),
        ("config", "--allow-unknown-fields is deprecated, use --allow-unknown-static-fields instead."),
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["-l", "foo"], "invalid log level specified 'foo'"),
        (["-l", "INFO"], "invalid log level specified 'INFO'"),
        (["-l", "foo", "--mode", "x"], "invalid log level specified 'foo'"),
        (["--mode", "VALIDATE"], "unknown mode 'VALIDATE'"),
        (["--mode", "x", "--local-address-ip-version", "7"], "unknown mode 'x'"),
        (["--local-address-ip-version", "v5"], "unknown IP address version 'v5'"),
        (["--drain-strategy", "x"], "unknown drain-strategy 'x'"),
        (["--use-dynamic-base-id", "--restart-epoch", "1"], "cannot use --restart-epoch=1 with --use-dynamic-base-id"),
        (["--component-log-level", "foo:debug"], "invalid component specified 'foo'"),
        (["--component-log-level", ":debug"], "invalid component specified ''"),
        (["--component-log-level", "a:b"], "invalid log level specified 'b'"),
        (["--component-log-level", "upstream:"], "invalid log level specified ''"),
        (["--component-log-level", "upstream"], "component log level not correctly specified 'upstream'"),
        (["--component-log-level", "upstream:debug,"], "component log level not correctly specified ''"),
        (["--component-log-level", "a:b:c"], "component log level not correctly specified 'a:b:c'"),
        (
            ["--enable-fine-grain-logging", "--component-log-level", "upstream:debug"],
            "--component-log-level will not work with --enable-fine-grain-logging",
        ),
        (["--stats-tag", "a"], "misformatted stats-tag 'a'"),
        (["--stats-tag", "a:b.c"], "misformatted stats-tag 'a:b.c' contains invalid char in 'b.c'"),
        (["--stats-tag", "a-b:c"], "misformatted stats-tag 'a-b:c' contains invalid char in 'a-b'"),
        (["--stats-tag", "a:"], "misformatted stats-tag 'a:' contains invalid char in ''"),
        (["--stats-tag", "ä:b"], "misformatted stats-tag 'ä:b' contains invalid char in 'ä'"),
        (["--unsupported", "x"], "unknown --unsupported 'x', one of refuse, warn"),
        (["--http1-codec", "x"], "unknown --http1-codec 'x', one of native, h11"),
        (["--http2-codec", "x"], "unknown --http2-codec 'x', one of native, h2"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_in_envoys_words(arguments, problem):
    assert refused(*arguments) == problem


@pytest.mark.parametrize(("text", "mode"), [("755", 0o755), ("999", 0), ("0x", 0), (" 600", 0o600), ("", 0)])
def test_a_socket_mode_is_octal_as_far_as_it_goes(text, mode):
    assert options("--socket-mode", text).socket_mode == mode


def test_server_info_shows_what_envoy_shows():
    shown = options(
        *("-c", "ok.yaml", "--concurrency", "1", "--use-dynamic-base-id", "--base-id-path", "bid"),
        *("--admin-address-path", "adm", "--file-flush-interval-msec", "1500"),
    ).command_line_options()
    assert shown == {
        "base_id": "0",
        "concurrency": 1,
        "config_path": "ok.yaml",
        "config_yaml": "",
        "allow_unknown_static_fields": False,
        "admin_address_path": "adm",
        "local_address_ip_version": "v4",
        "log_level": "info",
        "component_log_level": "",
        "log_format": "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v",
        "log_path": "",
        "service_cluster": "",
        "service_node": "",
        "service_zone": "",
        "file_flush_interval": "1.500s",
        "drain_time": "600s",
        "parent_shutdown_time": "900s",
        "mode": "Serve",
        "disable_hot_restart": False,
        "enable_mutex_tracing": False,
        "restart_epoch": 0,
        "cpuset_threads": False,
        "reject_unknown_dynamic_fields": False,
        "log_format_escaped": False,
        "disabled_extensions": [],
        "ignore_unknown_dynamic_fields": False,
        "use_dynamic_base_id": True,
        "base_id_path": "bid",
        "drain_strategy": "Gradual",
        "enable_fine_grain_logging": False,
        "socket_path": "@envoy_domain_socket",
        "socket_mode": 0,
        "enable_core_dump": False,
        "stats_tag": [],
        "skip_hot_restart_on_no_parent": False,
        "skip_hot_restart_parent_stats": False,
        "skip_deprecated_logs": False,
        "file_flush_min_size": 0,
        "log_stacktrace_single_entry": False,
    }
