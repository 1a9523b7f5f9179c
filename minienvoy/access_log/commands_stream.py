"""Commands about the stream as a whole: sizes, codes, flags, names and numbers.

Envoy: `getKnownStreamInfoFormatterProviders` (`source/common/formatter/stream_info_formatter.cc`).
"""

from __future__ import annotations

import os
import socket
from typing import Final

from ..stream_info import ResponseFlag, StreamInfo
from .command import (
    COMMAND_ONLY,
    LENGTH_ALLOWED,
    PARAMS_OPTIONAL,
    PARAMS_REQUIRED,
    Arguments,
    Command,
    CommandTable,
    Maker,
    command,
    reads,
    simple,
    wire,
)
from .context import FormatterContext


class _FlagTexts(dict[int, str]):
    """Bit set of response flags -> text; there are few combinations in a running proxy."""

    def __init__(self, column: int) -> None:
        super().__init__()
        self._column = column

    def __missing__(self, flags: int) -> str:
        names = (names[self._column] for bit, names in enumerate(ResponseFlag.NAMES) if flags >> bit & 1)
        text = self[flags] = ",".join(names) or "-"
        return text


_SHORT_FLAGS: Final = _FlagTexts(0)
_LONG_FLAGS: Final = _FlagTexts(1)


def _flags_text(info: StreamInfo, texts: _FlagTexts) -> str:
    flags, early = info.response_flags, info.early_response_flags
    if not early or early == flags:
        return texts[flags]
    return f"{texts[early]},{texts[flags & ~early]}"


def _without_blanks(text: str) -> str | None:
    return text.replace(" ", "_") or None


COMMANDS: Final[CommandTable] = reads(
    {
        "BYTES_RECEIVED": "bytes_received",
        "BYTES_SENT": "bytes_sent",
        # These are facts of QUIC.
        "BYTES_RETRANSMITTED": lambda info: 0,
        "PACKETS_RETRANSMITTED": lambda info: 0,
        "DOWNSTREAM_CX_RTT": lambda info: 0,
        "PROTOCOL": "protocol",
        "UPSTREAM_PROTOCOL": "upstream_protocol",
        "CONNECTION_TERMINATION_DETAILS": "connection_termination_details",
        "RESPONSE_FLAGS_LONG": lambda info: _flags_text(info, _LONG_FLAGS),
        "ROUTE_NAME": lambda info: wire(info.route_name) or None,
        "VIRTUAL_CLUSTER_NAME": lambda info: wire(info.virtual_cluster_name or "") or None,
        "UPSTREAM_CLUSTER": lambda info: (
            wire(info.upstream_cluster_alt_stat_name or info.upstream_cluster_name or "") or None
        ),
        "UPSTREAM_CLUSTER_RAW": lambda info: wire(info.upstream_cluster_name or "") or None,
        "UPSTREAM_REQUEST_ATTEMPT_COUNT": lambda info: info.attempt_count or 0,
        "UPSTREAM_TRANSPORT_FAILURE_REASON": lambda info: _without_blanks(info.upstream_transport_failure_reason),
        "DOWNSTREAM_TRANSPORT_FAILURE_REASON": lambda info: _without_blanks(info.downstream_transport_failure_reason),
        "DOWNSTREAM_LOCAL_CLOSE_REASON": lambda info: info.downstream_local_close_reason or None,
        "UPSTREAM_LOCAL_CLOSE_REASON": lambda info: info.upstream_local_close_reason or None,
        "DOWNSTREAM_DETECTED_CLOSE_TYPE": "downstream_detected_close_type",
        "UPSTREAM_DETECTED_CLOSE_TYPE": lambda info: (
            info.upstream_detected_close_type or (None if info.upstream_host is None else "Normal")
        ),
        "CONNECTION_ID": lambda info: info.connection.id,
        "UPSTREAM_CONNECTION_ID": lambda info: 0 if info.upstream_connection is None else info.upstream_connection.id,
        "UPSTREAM_CONNECTION_IDS_ATTEMPTED": lambda info: ",".join(map(str, info.attempted_connection_ids)) or None,
        "LISTENER_NAME": lambda info: wire(info.listener_name) or None,
        "FILTER_CHAIN_NAME": lambda info: wire(info.filter_chain_name) or None,
        "CUSTOM_FLAGS": "custom_flags",
        "TRACE_ID": lambda info: None if info.active_span is None else info.active_span.trace_id or None,
        "SPAN_ID": lambda info: None if info.active_span is None else info.active_span.logged_span_id or None,
    }
)


def _metered(read: Maker) -> Maker:
    def make(arguments: Arguments) -> Command:
        if arguments.sources is not None:
            arguments.sources.byte_meters = True
        return read(arguments)

    return make


COMMANDS.update(
    (name.upper(), (COMMAND_ONLY, _metered(made)))
    for name, (_, made) in reads(
        {
            "UPSTREAM_WIRE_BYTES_RECEIVED": "upstream_wire_bytes_received",
            "UPSTREAM_WIRE_BYTES_SENT": "upstream_wire_bytes_sent",
            "UPSTREAM_HEADER_BYTES_RECEIVED": "upstream_header_bytes_received",
            "UPSTREAM_HEADER_BYTES_SENT": "upstream_header_bytes_sent",
            "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED": "upstream_decompressed_header_bytes_received",
            "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT": "upstream_decompressed_header_bytes_sent",
            "DOWNSTREAM_WIRE_BYTES_RECEIVED": "downstream_wire_bytes_received",
            "DOWNSTREAM_WIRE_BYTES_SENT": "downstream_wire_bytes_sent",
            "DOWNSTREAM_HEADER_BYTES_RECEIVED": "downstream_header_bytes_received",
            "DOWNSTREAM_HEADER_BYTES_SENT": "downstream_header_bytes_sent",
            "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED": "downstream_decompressed_header_bytes_received",
            "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT": "downstream_decompressed_header_bytes_sent",
        }
    ).items()
)


def _timing_routes(read: Maker) -> Maker:
    def make(arguments: Arguments) -> Command:
        if arguments.sources is not None:
            arguments.sources.times_routes = True
        return read(arguments)

    return make


COMMANDS.update(
    (name, (COMMAND_ONLY, _timing_routes(made)))
    for name, (_, made) in reads(
        {
            "ROUTE_RESOLUTION_COUNT": "route_resolutions",
            "ROUTE_RESOLUTION_TIME_US": lambda info: (
                int(info.route_resolution_time * 1e6 + 0.05) if info.route_resolutions else None
            ),
        }
    ).items()
)


@command(COMMANDS, "STREAM_ID")
def _stream_id(arguments: Arguments) -> Command:
    """Of a request its `x-request-id`; of a connection one that is made when it is first asked for."""
    make = None if arguments.sources is None else arguments.sources.random.uuid4("access_log.stream_id")

    def text(context: FormatterContext) -> str | None:
        info = context.stream_info
        if info.request_id:
            return info.request_id
        if type(info) is StreamInfo and make is not None:
            info.request_id = make()
            return info.request_id
        return None

    return simple(text)


@command(COMMANDS, "RESPONSE_CODE")
def _response_code(arguments: Arguments) -> Command:
    return simple(lambda context: context.stream_info.response_code or 0)


@command(COMMANDS, "RESPONSE_FLAGS")
def _response_flags(arguments: Arguments) -> Command:
    return simple(lambda context: _flags_text(context.stream_info, _SHORT_FLAGS))


@command(COMMANDS, "RESPONSE_CODE_DETAILS", PARAMS_OPTIONAL)
def _response_code_details(arguments: Arguments) -> Command:
    if arguments.argument == "ALLOW_WHITESPACES":
        return simple(lambda context: context.stream_info.response_code_details)

    def text(context: FormatterContext) -> str | None:
        details = context.stream_info.response_code_details
        return details if details is None or " " not in details else details.replace(" ", "_")

    return simple(text)


@command(COMMANDS, "HOSTNAME")
def _hostname(arguments: Arguments) -> Command:
    hostname = socket.gethostname()
    return simple(lambda context: hostname)


@command(COMMANDS, "UNIQUE_ID")
def _unique_id(arguments: Arguments) -> Command:
    make = arguments.needed_sources().random.uuid4("access_log.unique_id")
    return simple(lambda context: make())


@command(COMMANDS, "ENVIRONMENT", PARAMS_REQUIRED | LENGTH_ALLOWED)
def _environment(arguments: Arguments) -> Command:
    value = os.environ.get(arguments.argument)
    text = "-" if value is None else wire(value)[: arguments.max_length]
    return simple(lambda context: text)


@command(COMMANDS, "ACCESS_LOG_TYPE")
def _access_log_type(arguments: Arguments) -> Command:
    return simple(lambda context: context.access_log_type)


def response_flags_text(info: StreamInfo) -> str:
    """`%RESPONSE_FLAGS%`: short names with commas between them, `-` if there are none."""
    return _flags_text(info, _SHORT_FLAGS)
