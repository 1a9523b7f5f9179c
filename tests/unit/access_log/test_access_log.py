from __future__ import annotations

import pytest

from minienvoy.access_log.access_log import AccessLogManager, create_access_logs
from minienvoy.config.api import message_class
from minienvoy.config.proto_fill import fill
from minienvoy.config.runtime import Loader
from minienvoy.errors import ConfigError
from minienvoy.extensions import register_catalogue
from minienvoy.stats.store import Store
from minienvoy.stream_info import AccessLogType

FILE = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"


class Server:
    def __init__(self, sources, runtime) -> None:
        self.dispatcher = sources.dispatcher
        self.random = sources.random
        self.runtime = runtime
        self.access_logs = AccessLogManager(sources.dispatcher, Store().scope(""), 10.0, 0)


class Context:
    def __init__(self, server) -> None:
        self.server = server


@pytest.fixture
def logs_of(sources, tmp_path):
    """Makes the logs of `AccessLog` messages; `FILE` in them is a file in `tmp_path`."""
    register_catalogue()
    layers = message_class("envoy.config.bootstrap.v3.LayeredRuntime")()
    assert not fill(layers, {"layers": [{"name": "s", "static_layer": {"my": {"key": 200}}}]})
    context = Context(Server(sources, Loader(layers)))

    def make(*entries):
        messages = []
        for entry in entries:
            message = message_class("envoy.config.accesslog.v3.AccessLog")()
            assert not fill(message, entry)
            messages.append(message)
        return create_access_logs(messages, context, "access_log")

    yield make
    context.server.access_logs.close()


def file_log(tmp_path, fields, **more):
    return {"name": "f", "typed_config": {"@type": FILE, "path": str(tmp_path / "log"), **fields}, **more}


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"format": "old %RESPONSE_CODE%\n"}, "old 200\n"),
        ({"log_format": {"text_format": "dep %RESPONSE_CODE%\n"}}, "dep 200\n"),
        ({"log_format": {"text_format_source": {"inline_string": "%REQ(no)%\n"}}}, "-\n"),
        ({"log_format": {"text_format_source": {"inline_bytes": "aGVsbG8gJVJFU1BPTlNFX0NPREUlCg=="}}}, "hello 200\n"),
        ({"log_format": {"text_format_source": {"inline_string": "[%REQ(no)%]"}, "omit_empty_values": True}}, "[]"),
        ({"json_format": {"a": "%RESPONSE_CODE%", "b": "%REQ(no)%"}}, '{"a":200,"b":null}\n'),
        ({"typed_json_format": {"a": "%RESPONSE_CODE%"}}, '{"a":200}\n'),
        ({"log_format": {"json_format": {"a": "%REQ(no)%", "b": "x"}, "omit_empty_values": True}}, '{"b":"x"}\n'),
    ],
)
def test_every_way_to_say_a_format(logs_of, tmp_path, proxied, fields, line):
    (log,) = logs_of(file_log(tmp_path, fields))
    log.log_context(proxied)
    assert (tmp_path / "log").read_text() == line


@pytest.mark.parametrize("fields", [{}, {"format": ""}])
def test_without_a_format_it_is_the_default(logs_of, tmp_path, proxied, fields):
    (log,) = logs_of(file_log(tmp_path, fields))
    log.log_context(proxied)
    assert (
        (tmp_path / "log").read_text().startswith('[2026-11-23T17:07:19.265Z] "GET /p/x?q=1 HTTP/1.1" 200 - 0 2 1 0 ')
    )


def test_a_format_may_come_from_a_file_or_the_environment(logs_of, tmp_path, proxied, monkeypatch):
    monkeypatch.setenv("FORMAT", "environment %RESPONSE_CODE%\n")
    (tmp_path / "format").write_text("file %RESPONSE_CODE%\n")
    for log in logs_of(
        file_log(tmp_path, {"log_format": {"text_format_source": {"environment_variable": "FORMAT"}}}),
        file_log(tmp_path, {"log_format": {"text_format_source": {"filename": str(tmp_path / "format")}}}),
    ):
        log.log_context(proxied)
    assert (tmp_path / "log").read_text() == "environment 200\nfile 200\n"


def test_headers_may_be_missing_and_bytes_stay_as_they_are(logs_of, tmp_path, proxied):
    (log,) = logs_of(file_log(tmp_path, {"format": "é%REQ(hi)% %ACCESS_LOG_TYPE%\n"}))
    log.log(proxied.request_headers, None, None, proxied.stream_info, AccessLogType.DOWNSTREAM_END)
    log.log(None, None, None, proxied.stream_info)
    assert (tmp_path / "log").read_bytes() == "é".encode() + b"\xe9 DownstreamEnd\n" + "é- NotSet\n".encode()


@pytest.mark.parametrize(
    ("fields", "path", "problem"),
    [
        ({"format": "%NOPE%"}, "access_log[0].typed_config.format", "Not supported field in StreamInfo: NOPE"),
        (
            {"log_format": {"json_format": {"a": ["%REQ%"]}}},
            "access_log[0].typed_config.log_format.json_format",
            "REQ requires parameters",
        ),
        (
            {"log_format": {"text_format_source": {"environment_variable": "NO_SUCH"}}},
            "access_log[0].typed_config.log_format.text_format_source",
            "Environment variable doesn't exist: NO_SUCH",
        ),
        (
            {"path": "/no/such/dir"},
            "access_log[0].typed_config.path",
            "unable to open file '/no/such/dir': No such file or directory",
        ),
    ],
)
def test_mistakes_are_told_with_their_path(logs_of, tmp_path, fields, path, problem):
    with pytest.raises(ConfigError) as refused:
        logs_of(file_log(tmp_path, fields))
    assert (refused.value.path, refused.value.problem) == (path, problem)


def comparison(op, value, key="a"):
    return {"comparison": {"op": op, "value": {"default_value": value, "runtime_key": key}}}


def metadata_filter(**more):
    matcher = {"filter": "a", "path": [{"key": "k"}], "value": {"string_match": {"exact": "x"}}}
    return {"metadata_filter": {"matcher": matcher, **more}}


STATUS_IS_200 = {"status_code_filter": comparison("EQ", 200)}

# What the real Envoy logged of a direct response (200), and of a failed connection (503, UF) with the header `x: 1`.
FILTERS = [
    ({"status_code_filter": comparison("GE", 400)}, False, True),
    ({"status_code_filter": comparison("LE", 200)}, True, False),
    ({"status_code_filter": comparison("NE", 200)}, False, True),
    ({"status_code_filter": comparison("GE", 400, "my.key")}, True, True),
    ({"duration_filter": comparison("GE", 0)}, True, True),
    ({"duration_filter": comparison("GE", 1000)}, False, False),
    ({"not_health_check_filter": {}}, True, True),
    ({"traceable_filter": {}}, False, False),
    ({"runtime_filter": {"runtime_key": "x", "percent_sampled": {"numerator": 0}}}, False, False),
    ({"runtime_filter": {"runtime_key": "x", "percent_sampled": {"numerator": 100}}}, True, True),
    ({"runtime_filter": {"runtime_key": "x"}}, False, False),
    ({"header_filter": {"header": {"name": "x", "string_match": {"exact": "1"}}}}, False, True),
    ({"response_flag_filter": {}}, False, True),
    ({"response_flag_filter": {"flags": ["NR"]}}, False, False),
    ({"response_flag_filter": {"flags": ["UF"]}}, False, True),
    ({"grpc_status_filter": {"statuses": ["UNIMPLEMENTED"]}}, False, False),
    ({"grpc_status_filter": {"statuses": ["OK"], "exclude": True}}, True, True),
    ({"grpc_status_filter": {"statuses": ["UNKNOWN"]}}, True, False),
    (metadata_filter(), True, True),
    (metadata_filter(match_if_key_not_found=False), False, False),
    ({"metadata_filter": {}}, True, True),
    ({"log_type_filter": {"types": ["DownstreamEnd"]}}, True, True),
    ({"log_type_filter": {"types": ["DownstreamEnd"], "exclude": True}}, False, False),
    ({"log_type_filter": {}}, False, False),
    (
        {"and_filter": {"filters": [{"status_code_filter": comparison("GE", 400)}, {"response_flag_filter": {}}]}},
        False,
        True,
    ),
    ({"or_filter": {"filters": [STATUS_IS_200, {"status_code_filter": comparison("EQ", 404)}]}}, True, False),
]


@pytest.mark.parametrize(("filter", "of_direct_response", "of_failure"), FILTERS)
def test_filters_let_through_what_envoy_let_through(
    logs_of, tmp_path, direct_response, filter, of_direct_response, of_failure
):
    (log,) = logs_of(file_log(tmp_path, {"format": "%RESPONSE_CODE% "}, filter=filter))
    direct, failed = direct_response("/d"), direct_response("/up", ("x", "1"))
    failed.stream_info.response_code = 503
    failed.stream_info.response_flags = 1 << 5
    for context in (direct, failed):
        context.access_log_type = AccessLogType.DOWNSTREAM_END
        log.log_context(context)
    assert (tmp_path / "log").read_text() == "200 " * of_direct_response + "503 " * of_failure


def test_the_request_id_decides_what_a_runtime_filter_samples(logs_of, tmp_path, proxied):
    filter = {"runtime_filter": {"runtime_key": "x", "percent_sampled": {"numerator": 50}}}
    (log,) = logs_of(file_log(tmp_path, {"format": "%STREAM_ID%\n"}, filter=filter))
    proxied.stream_info.request_id = "00000031-0000-4000-8000-000000000000"
    log.log_context(proxied)
    proxied.stream_info.request_id = "00000032-0000-4000-8000-000000000000"
    log.log_context(proxied)
    assert (tmp_path / "log").read_text() == "00000031-0000-4000-8000-000000000000\n"


def test_expressions_are_refused(logs_of, tmp_path):
    cel = {"@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"}
    with pytest.raises(ConfigError, match="extension_filter is not supported"):
        logs_of(file_log(tmp_path, {}, filter={"extension_filter": {"name": "x", "typed_config": cel}}))


def test_an_unknown_logger_is_refused(logs_of):
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    with pytest.raises(ConfigError, match="Didn't find a registered implementation"):
        logs_of({"name": "x", "typed_config": router})
