"""What each command prints, as the real Envoy 1.40 printed it for the streams in `conftest`."""

from __future__ import annotations

from functools import partial

import pytest

from minienvoy.access_log.context import FormatterContext
from minienvoy.access_log.formatter import DEFAULT_FORMAT, compile_format, default_formatter
from minienvoy.errors import ConfigError
from minienvoy.network.ssl_connection_info import SslConnectionInfo
from minienvoy.stream_info import ConnectionInfo, FieldsState, MessageState, StreamInfo

PROXIED = """\
START_TIME | 2026-11-23T17:07:19.265Z
EMIT_TIME | 2026-11-23T17:07:19.266Z
START_TIME(%s) | 1795453639
START_TIME(%3f|%6f|%9f|%f|%1f|%2f|%4f|%5f|%7f|%8f) | 265|265756|265756000|265756000|2|26|2657|26575|2657560|26575600
START_TIME(%s.%3f) | 1795453639.265
START_TIME(%Y/%m/%dT%H:%M:%S%z) | 2026/11/23T17:07:19+0000
START_TIME(%E3S|%E*S|%E6f|%E*f|%Ez|%E4Y|%ET) | 19.265|19.265756|265756|265756|+00:00|2026|T
START_TIME(%a %b %d %e %F %H %I %j %M %p) | Mon Nov 23 23 2026-11-23 17 05 327 07 PM
START_TIME(%S %T %u %y %Y %z %Z) | 19 17:07:19 1 26 2026 +0000 UTC
START_TIME(abc) | abc
START_TIME(%%Y %%) | %Y %
START_TIME(%3f %s %3f) | 265 1795453639 265
BYTES_RECEIVED | 0
BYTES_RETRANSMITTED | 0
BYTES_SENT | 2
PROTOCOL | HTTP/1.1
UPSTREAM_PROTOCOL | HTTP/1.1
RESPONSE_CODE | 200
RESPONSE_CODE_DETAILS | via_upstream
CONNECTION_TERMINATION_DETAILS | -
RESPONSE_TRAILERS_BYTES | 0
UPSTREAM_REQUEST_ATTEMPT_COUNT | 1
DOWNSTREAM_WIRE_BYTES_RECEIVED | 119
DOWNSTREAM_HEADER_BYTES_RECEIVED | 87
DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED | 87
DURATION | 1
REQUEST_DURATION | 0
REQUEST_TX_DURATION | 0
RESPONSE_DURATION | 0
RESPONSE_TX_DURATION | 0
ROUNDTRIP_DURATION | -
DOWNSTREAM_HANDSHAKE_DURATION | -
UPSTREAM_CONNECTION_POOL_READY_DURATION | 0
RESPONSE_FLAGS | -
RESPONSE_FLAGS_LONG | -
ROUTE_NAME | up
VIRTUAL_CLUSTER_NAME | -
UPSTREAM_HOST | 127.0.0.1:44053
UPSTREAM_HOST_NAME | 127.0.0.1:44053
UPSTREAM_HOST_NAME_WITHOUT_PORT | 127.0.0.1
UPSTREAM_HOSTS_ATTEMPTED | 127.0.0.1:44053
UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT | 127.0.0.1
UPSTREAM_HOST_NAMES_ATTEMPTED | 127.0.0.1:44053
UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT | 127.0.0.1
UPSTREAM_CLUSTER | altc
UPSTREAM_CLUSTER_RAW | c
UPSTREAM_LOCAL_ADDRESS | 127.0.0.1:34120
UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT | 127.0.0.1
UPSTREAM_LOCAL_PORT | 34120
UPSTREAM_REMOTE_ADDRESS | 127.0.0.1:44053
UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID |\x20
UPSTREAM_TRANSPORT_FAILURE_REASON | -
UPSTREAM_DETECTED_CLOSE_TYPE | Normal
UPSTREAM_LOCAL_CLOSE_REASON | -
DOWNSTREAM_DETECTED_CLOSE_TYPE | Normal
DOWNSTREAM_REMOTE_ADDRESS | 127.0.0.1:53802
DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT | 127.0.0.1
DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(8) | 127.0.0.0/8
DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(0) | 0.0.0.0/0
DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(200) | 127.0.0.1/32
DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(-1) |\x20
DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(x) | 127.0.0.1
DOWNSTREAM_REMOTE_PORT | 53802
DOWNSTREAM_DIRECT_LOCAL_PORT | 37899
CONNECTION_ID | 2
UPSTREAM_CONNECTION_ID | 3
UPSTREAM_CONNECTION_IDS_ATTEMPTED | 3
STREAM_ID | 59b7a39a-13bf-48b4-a08d-ef9ebfc4e41d
GRPC_STATUS | -
REQUESTED_SERVER_NAME | -
REQUESTED_SERVER_NAME(SNI_FIRST) | a.com
REQUESTED_SERVER_NAME(HOST_FIRST:HOST) | a.com
REQUESTED_SERVER_NAME(SNI_FIRST:ORIG) | -
DOWNSTREAM_PEER_SUBJECT | -
DOWNSTREAM_TLS_VERSION | -
TLS_JA3_FINGERPRINT | -
UPSTREAM_PEER_CERT_V_START(%Y) | -
LOCAL_REPLY_BODY |\x20
FILTER_CHAIN_NAME | fcn
ACCESS_LOG_TYPE | DownstreamEnd
TRACE_ID | -
CUSTOM_FLAGS |\x20
QUERY_PARAMS | q=1
QUERY_PARAMS(ORIG):2 | q=
QUERY_PARAM(q) | 1
QUERY_PARAM(nope) | -
PATH | /p/x?q=1
PATH(NQ) | /p/x
PATH(NQ:PATH) | /zz/p/x
PATH(WQ:ORIG) | /p/x?q=1
PATH:3 | /p/
PATH(NQ:ORIG_OR_PATH):1 | /
REQ(a?b):3 | -
REQ(:path):2 | /z
REQ(:AUTHORITY) | a.com
REQ(:SCHEME) | http
REQ(Host) | a.com
REQ(X-ENVOY-ORIGINAL-PATH?:PATH) | /p/x?q=1
REQUEST_HEADER(MISSING?:method) | GET
REQ(empty) |\x20
REQ(multi) | 1
REQ(hi) | \xe9
REQ(quote) | a"b\\c\td/</script>
RESP(:STATUS) | 200
RESP(y?X-up) | u
RESPONSE_HEADER(x-up):0 |\x20
TRAILER(x) | -
DYNAMIC_METADATA(ns) | -
CLUSTER_METADATA(ns) | {"k":"v","n":3,"o":{"a":[1,"x"],"b":true}}
CLUSTER_METADATA(ns:k) | v
CLUSTER_METADATA(ns:n) | 3
CLUSTER_METADATA(ns:o:b) | true
CLUSTER_METADATA(ns:zz) | -
METADATA(CLUSTER:ns:k):0 |\x20
METADATA(ROUTE:rns) | -
METADATA(UPSTREAM_HOST:hns:hk) | hv
UPSTREAM_METADATA(hns:hk) | hv
FILTER_STATE(x) | -
FILTER_STATE(x:FIELD:y) | -
COMMON_DURATION(DS_RX_BEG:DS_TX_END) | 1
COMMON_DURATION(DS_RX_BEG:DS_TX_END:us) | 1000
COMMON_DURATION(DS_RX_BEG:DS_TX_END:ns) | 1000622
COMMON_DURATION(US_CX_BEG:US_CX_END:us) | 30
COMMON_DURATION(foo:bar) | -
COMMON_DURATION(DS_CX_BEG:DS_CX_END:us) | -
COMMON_DURATION(DS_TX_END:DS_RX_BEG:us) | -
COALESCE({"operators": ["REQUESTED_SERVER_NAME", {"command": "REQ", "param": ":authority"}]}) | a.com
COALESCE({"operators": ["PROTOCOL", {"command": "REQ", "param": ":authority"}]}):4 | HTTP
COALESCE({"operators": ["RESPONSE_CODE"]}) | 200
"""

TCP = """\
REQUEST_HEADERS_BYTES | 0
BYTES_RECEIVED | 51
PROTOCOL | -
RESPONSE_CODE | 0
RESPONSE_CODE_DETAILS | -
REQ(:path) | -
PATH | -
QUERY_PARAMS | -
RESP(:status) | -
ROUTE_NAME | -
DURATION | 1502
COMMON_DURATION(DS_CX_BEG:DS_CX_END:us) | 1502840
ACCESS_LOG_TYPE | TcpConnectionEnd
"""

ERRORS = """\
%NOPE% | Not supported field in StreamInfo: NOPE
%VIRTUAL_HOST_NAME% | Not supported field in StreamInfo: VIRTUAL_HOST_NAME
%REQ_WITHOUT_QUERY(a)% | Not supported field in StreamInfo: REQ_WITHOUT_QUERY
%REQ% | REQ requires parameters
%REQ()% | REQ requires parameters
%PROTOCOL(x)% | PROTOCOL does not take any parameters or length
%PROTOCOL:3% | PROTOCOL does not take any parameters or length
%START_TIME:3% | START_TIME does not allow length to be specified.
%CLUSTER_METADATA(a):3% | CLUSTER_METADATA does not allow length to be specified.
%REQ(a | Incorrect configuration: %REQ(a. Couldn't find valid command at position 0
x %PROTOCOL | Incorrect configuration: x %PROTOCOL. Couldn't find valid command at position 2
%%% | Incorrect configuration: %%%. Couldn't find valid command at position 2
%REQ(a):3x% | Incorrect configuration: %REQ(a):3x%. Couldn't find valid command at position 0
%REQ(a):-1% | Incorrect configuration: %REQ(a):-1%. Couldn't find valid command at position 0
%req(a)% | Incorrect configuration: %req(a)%. Couldn't find valid command at position 0
%REQ(a?b?c)% | More than 1 alternative header specified in token: a?b?c
%REQ(a b)% | Invalid header configuration. Format string contains invalid characters.
%REQ(a))% | Invalid header configuration. Format string contains invalid characters.
%START_TIME(%n)% | Invalid header configuration. Format string contains newline.
%START_TIME(%-n)% | Invalid header configuration. Format string contains newline.
%COMMON_DURATION(a)% | Invalid common duration configuration: a.
%COMMON_DURATION(a:b:c)% | Invalid common duration precision: c.
%METADATA(FOO:a)% | FOO is not supported type of metadata
%FILTER_STATE% | Invalid filter state configuration, key cannot be empty.
%FILTER_STATE(a:b)% | Invalid filter state serialize type, only support PLAIN/TYPED/FIELD.
%FILTER_STATE(a:FIELD)% | Invalid filter state serialize type, FIELD should be used with the field name.
%PATH(x)% | Invalid PATH option: 'x', only 'WQ'/'NQ' are allowed
%PATH(WQ:FOO)% | Invalid PATH option: 'FOO', only 'ORIG'/'PATH'/'ORIG_OR_PATH' are allowed
%QUERY_PARAMS(x)% | Invalid QUERY_PARAMS option: 'x', only 'ORIG'/'DECODED' are allowed
%GRPC_STATUS(x)% | GrpcStatusFormatter only supports CAMEL_STRING, SNAKE_STRING or NUMBER. Got: x
%REQUESTED_SERVER_NAME(x)% | Invalid REQUESTED_SERVER_NAME option: 'x', \
only 'SNI_ONLY'/'SNI_FIRST'/'HOST_FIRST' are allowed
%COALESCE({})% | COALESCE: JSON configuration must contain 'operators' array
%COALESCE({"operators": []})% | COALESCE: 'operators' array must not be empty
%COALESCE({"operators": ["NOPE"]})% | COALESCE: failed to parse operator at index 0: unknown command: 'NOPE'
%COALESCE({"operators": ["REQ"]})% | COALESCE: failed to parse operator at index 0: REQ requires parameters
"""


def rows(table: str):
    return [pytest.param(*row.split(" | ", 1), id=row.split(" | ")[0]) for row in table.splitlines()]


@pytest.mark.parametrize(("command", "text"), rows(PROXIED))
def test_a_proxied_request_prints_what_envoy_printed(text_of, command, text):
    assert text_of(command) == text.strip(" ")


@pytest.mark.parametrize(("command", "text"), rows(TCP))
def test_a_tcp_connection_prints_what_envoy_printed(text_of, tcp, command, text):
    assert text_of(command, tcp) == text


@pytest.mark.parametrize(("format", "problem"), rows(ERRORS))
def test_a_wrong_format_is_refused_in_envoys_words(format, problem):
    with pytest.raises(ConfigError) as refused:
        compile_format(format, path="some.field")
    assert (refused.value.problem, refused.value.path) == (problem, "some.field")


def test_cel_is_refused_with_a_reason():
    with pytest.raises(ConfigError, match="Common Expression Language is not implemented"):
        compile_format("%CEL(response.code)%")


def test_the_default_format_is_envoys(proxied, tcp):
    format = default_formatter()
    assert format.format(proxied) == (
        '[2026-11-23T17:07:19.265Z] "GET /p/x?q=1 HTTP/1.1" 200 - 0 2 1 0 "-" "-" '
        '"59b7a39a-13bf-48b4-a08d-ef9ebfc4e41d" "a.com" "127.0.0.1:44053"\n'
    )
    assert format.format(tcp) == (
        '[2026-11-23T17:09:29.882Z] "- - -" 0 - 51 49 1502 - "-" "-" "-" "-" "127.0.0.1:44053"\n'
    )


def test_percent_signs_are_written_twice(proxied):
    assert compile_format("100%%").constant == "100%"
    assert compile_format("%%%PROTOCOL%%%").format(proxied) == "%HTTP/1.1%"
    assert compile_format("%%PROTOCOL%%").constant == "%PROTOCOL%"


def test_a_format_without_commands_is_constant():
    assert compile_format("a é b").constant == "a é b".encode().decode("latin-1")
    assert compile_format("").constant == ""
    assert compile_format(DEFAULT_FORMAT).constant is None


def test_omitted_values_leave_nothing_behind(proxied):
    format = compile_format(
        "[%REQ(no)%|%RESPONSE_FLAGS%|%REQ(empty)%|%ENVIRONMENT(NO_SUCH)%|%BYTES_SENT%]", omit_empty_values=True
    )
    assert format.format(proxied) == "[|-||-|2]"


def test_flags_are_printed_in_envoys_order(text_of, tcp):
    tcp.stream_info.response_flags = 1 << 15 | 1 << 5
    assert text_of("RESPONSE_FLAGS", tcp) == "UF,URX"
    assert text_of("RESPONSE_FLAGS_LONG", tcp) == "UpstreamConnectionFailure,UpstreamRetryLimitExceeded"


def test_details_have_no_blanks_unless_asked_for(text_of, tcp):
    tcp.stream_info.response_code_details = "a b c"
    assert text_of("RESPONSE_CODE_DETAILS", tcp) == "a_b_c"
    assert text_of("RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)", tcp) == "a b c"


def test_the_duration_of_a_running_stream_is_its_age(text_of, tcp, sources):
    tcp.stream_info.request_complete_time = None
    sources.dispatcher.advance(1.25)
    assert text_of("DURATION", tcp) == "250"


def test_unique_ids_differ(proxied, sources):
    first, second = compile_format("%UNIQUE_ID% %UNIQUE_ID%", sources), compile_format("%UNIQUE_ID%", sources)
    assert first.format(proxied) != first.format(proxied)
    assert len(second.format(proxied)) == 36


def test_environment_is_read_when_the_configuration_is(text_of, monkeypatch):
    monkeypatch.setenv("FOO", "foobar")
    assert text_of("ENVIRONMENT(FOO)") == "foobar"
    assert text_of("ENVIRONMENT(FOO):2") == "fo"
    assert text_of("ENVIRONMENT(NO_SUCH)") == "-"


def test_query_parameters_are_decoded(text_of, direct_response):
    context = direct_response("/d?q=path%41%2F%3D%26%25%00%7e%c3%a9%zz%20&a%20b=9&q=2&k")
    assert text_of("QUERY_PARAM(q)", context) == "pathA/=&%\0~\xc3\xa9%zz "
    assert text_of("QUERY_PARAM(a b)", context) == "9"
    assert text_of("QUERY_PARAM(a%20b)", context) == "-"
    assert text_of("QUERY_PARAM(k)", context) == ""


def test_a_decoded_query_decodes_visible_ascii_only(text_of, direct_response):
    context = direct_response("/d?q=path%41%2F%3D%26%25%00%7e%c3%a9%zz%20&a%20b=9")
    assert text_of("QUERY_PARAMS(DECODED)", context) == "q=pathA/=&%%00~%c3%a9zz%20&a%20b=9"
    assert text_of("QUERY_PARAMS(DECODED)", direct_response("/d?a=%")) == "a=%"


def test_grpc_status_is_guessed_for_grpc_requests_only(text_of, direct_response):
    context = direct_response("/d", ("content-type", "application/grpc"))
    context.stream_info.response_code = 503
    assert text_of("GRPC_STATUS", context) == "Unavailable"
    assert text_of("GRPC_STATUS(SNAKE_STRING)", context) == "UNAVAILABLE"
    assert text_of("GRPC_STATUS_NUMBER", context) == "14"


def test_metadata_keys_are_utf8(text_of, direct_response):
    assert text_of("METADATA(ROUTE:rns)", direct_response()) == '{"a":"b","é":1.5}'.encode().decode("latin-1")


def test_a_unix_socket_has_a_path_and_no_port(text_of, tcp):
    from minienvoy.network.address import Address

    tcp.stream_info.connection.remote_address = Address.pipe("/run/x.sock")
    assert text_of("DOWNSTREAM_REMOTE_ADDRESS", tcp) == "/run/x.sock"
    assert text_of("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(8)", tcp) == "/run/x.sock"
    assert text_of("DOWNSTREAM_REMOTE_PORT", tcp) == "-"


def test_what_happened_before_the_request_is_before_it() -> None:
    stream = StreamInfo()
    stream.protocol, stream.start_monotonic = "HTTP/1.1", 10.0
    stream.connection = ConnectionInfo(None, None)
    stream.connection.ssl = SslConnectionInfo()
    ask = partial(_formatted, stream)
    assert ask("%DOWNSTREAM_HANDSHAKE_DURATION% %COMMON_DURATION(DS_HS_BEG:DS_HS_END)%") == "- -"
    stream.connection.ssl.handshake_begin_time, stream.connection.ssl.handshake_end_time = 9.0, 9.5
    assert ask("%DOWNSTREAM_HANDSHAKE_DURATION%") == "-500"
    assert ask("%COMMON_DURATION(DS_HS_BEG:DS_HS_END)% %COMMON_DURATION(DS_HS_END:DS_RX_BEG)%") == "500 500"
    assert ask("%COMMON_DURATION(DS_RX_BEG:DS_HS_END)%") == "-"


def _formatted(stream: StreamInfo, text: str) -> str:
    return compile_format(text, None).format(FormatterContext(stream))


def test_objects_of_the_filter_state_show_what_they_are_asked_for(proxied, sources):
    state = proxied.stream_info.filter_state
    state["figures"] = FieldsState(latency_us=5)
    state["decision"] = MessageState(
        {"status": 403}, {"status": {"code": 403}, "a": 1}, '{"status":{"code":403},"a":1}'
    )
    shown = {
        "figures": "-",
        "figures:PLAIN": "-",
        "figures:FIELD:latency_us": "5",
        "figures:FIELD:none": "-",
        "decision": '{"status":{"code":403},"a":1}',
        "decision:PLAIN": '{"status":{"code":403},"a":1}',
        "decision:FIELD:status": "403",
    }
    for asked, expected in shown.items():
        assert compile_format(f"%FILTER_STATE({asked})%", sources).format(proxied) == expected
