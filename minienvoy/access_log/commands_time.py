"""Commands about points in time and what lies between them.

Envoy: `SystemTimeFormatter`, `CommonDurationFormatter`, `StreamInfoDurationFormatterProvider`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..errors import ConfigError
from ..stream_info import StreamInfo
from .command import PARAMS_OPTIONAL, PARAMS_REQUIRED, Arguments, Command, CommandTable, command, reads, simple
from .context import FormatterContext
from .date_formatter import compile_date_format


def milliseconds_between(begin: float | None, end: float | None) -> int | None:
    """Whole milliseconds; None if one of the two has not happened."""
    if begin is None or end is None:
        return None
    # The sum of a float and a duration is a hair beside the duration: do not lose a millisecond to that.
    return int((end - begin) * 1e3 + 1e-4)


def _since_start(end: float | None, info: StreamInfo) -> int | None:
    if end is None:
        return None
    passed = (end - info.start_monotonic) * 1e3
    # A handshake is over before its first request begins.
    return int(passed + (1e-4 if passed >= 0 else -1e-4))


def _downstream_handshake_end(info: StreamInfo) -> float | None:
    """Streams know it, a connection does not know it of itself."""
    return None if info.connection.ssl is None or info.protocol is None else info.connection.ssl.handshake_end_time


COMMANDS: Final[CommandTable] = reads(
    {
        "REQUEST_DURATION": lambda info: _since_start(info.last_downstream_rx_byte_time, info),
        "REQUEST_TX_DURATION": lambda info: _since_start(info.last_upstream_tx_byte_time, info),
        "RESPONSE_DURATION": lambda info: _since_start(info.first_upstream_rx_byte_time, info),
        "RESPONSE_TX_DURATION": lambda info: milliseconds_between(
            info.first_upstream_rx_byte_time, info.last_downstream_tx_byte_time
        ),
        "DOWNSTREAM_HANDSHAKE_DURATION": lambda info: _since_start(_downstream_handshake_end(info), info),
        "UPSTREAM_CONNECTION_POOL_READY_DURATION": lambda info: milliseconds_between(
            info.upstream_request_create_time, info.upstream_connection_pool_ready_time
        ),
        # Only QUIC knows when the peer has acknowledged the last byte.
        "ROUNDTRIP_DURATION": lambda info: None,
    }
)


@command(COMMANDS, "DURATION")
def _duration(arguments: Arguments) -> Command:
    now = None if arguments.sources is None else arguments.sources.dispatcher.monotonic_time

    def text(context: FormatterContext) -> int | None:
        info = context.stream_info
        end = info.request_complete_time
        if end is None:
            if now is None:
                return None
            end = now()
        return int((end - info.start_monotonic) * 1e3 + 1e-4)

    return simple(text)


def _start_time(local: bool) -> Callable[[Arguments], Command]:
    def make(arguments: Arguments) -> Command:
        write = compile_date_format(arguments.argument, local=local)
        return simple(lambda context: write(context.stream_info.start_time))

    return make


def _emit_time(local: bool) -> Callable[[Arguments], Command]:
    def make(arguments: Arguments) -> Command:
        write = compile_date_format(arguments.argument, local=local)
        dispatcher = arguments.needed_sources().dispatcher
        return simple(lambda context: write(dispatcher.wall_time()))

    return make


COMMANDS["START_TIME"] = (PARAMS_OPTIONAL, _start_time(False))
COMMANDS["START_TIME_LOCAL"] = (PARAMS_OPTIONAL, _start_time(True))
COMMANDS["EMIT_TIME"] = (PARAMS_OPTIONAL, _emit_time(False))
COMMANDS["EMIT_TIME_LOCAL"] = (PARAMS_OPTIONAL, _emit_time(True))

_TIME_POINTS: Final[dict[str, Callable[[StreamInfo], float | None]]] = {
    "DS_RX_BEG": lambda info: info.start_monotonic,
    "DS_RX_END": lambda info: info.last_downstream_rx_byte_time,
    "US_CX_BEG": lambda info: info.upstream_connect_start_time,
    "US_CX_END": lambda info: info.upstream_connect_complete_time,
    "US_HS_END": lambda info: (
        None
        if info.upstream_connection is None or info.upstream_connection.ssl is None
        else info.upstream_connection.ssl.handshake_end_time
    ),
    "US_TX_BEG": lambda info: info.first_upstream_tx_byte_time,
    "US_TX_END": lambda info: info.last_upstream_tx_byte_time,
    "US_RX_BEG": lambda info: info.first_upstream_rx_byte_time,
    "US_RX_BODY_BEG": lambda info: info.first_upstream_rx_body_byte_time,
    "US_RX_END": lambda info: info.last_upstream_rx_byte_time,
    "DS_TX_BEG": lambda info: info.first_downstream_tx_byte_time,
    "DS_TX_END": lambda info: info.last_downstream_tx_byte_time,
    "DS_HS_BEG": lambda info: None if info.connection.ssl is None else info.connection.ssl.handshake_begin_time,
    "DS_HS_END": lambda info: _downstream_handshake_end(info),
    # These two exist for TCP only, where the stream is the connection.
    "DS_CX_BEG": lambda info: info.start_monotonic if info.protocol is None else None,
    "DS_CX_END": lambda info: info.request_complete_time if info.protocol is None else None,
}


def _never(info: StreamInfo) -> None:
    """Any other name is a point in time that a filter sets; none of ours does."""


_ORDER: Final = (
    "DS_HS_BEG",
    "DS_HS_END",
    "DS_CX_BEG",
    "DS_RX_BEG",
    "DS_RX_END",
    "US_CX_BEG",
    "US_CX_END",
    "US_HS_END",
    "US_TX_BEG",
    "US_TX_END",
    "US_RX_BEG",
    "DS_TX_BEG",
    "US_RX_BODY_BEG",
    "US_RX_END",
    "DS_TX_END",
    "DS_CX_END",
)


def _in_order(point: str) -> int:
    """Where a point lies among the others; what filters make counts as the beginning of the request."""
    return _ORDER.index(point if point in _ORDER and point != "DS_CX_BEG" else "DS_RX_BEG")


_PRECISIONS: Final = {"ms": (1e3, 1e-4), "us": (1e6, 0.05), "ns": (1e9, 0.5)}


@command(COMMANDS, "COMMON_DURATION", PARAMS_REQUIRED)
def _common_duration(arguments: Arguments) -> Command:
    points = arguments.argument.split(":")
    if "US_RX_BODY_BEG" in points and arguments.sources is not None:
        arguments.sources.byte_meters = True
    if len(points) not in (2, 3):
        raise ConfigError(f"Invalid common duration configuration: {arguments.argument}.")
    precision = points[2] if len(points) == 3 else "ms"
    if precision not in _PRECISIONS:
        raise ConfigError(f"Invalid common duration precision: {precision}.")
    # One reading of the clock may serve for several points: those that come in the other order are no duration.
    backwards = _in_order(points[0]) > _in_order(points[1])
    factor, hair = _PRECISIONS[precision]
    begin_of = _TIME_POINTS.get(points[0], _never)
    end_of = _TIME_POINTS.get(points[1], _never)

    def text(context: FormatterContext) -> int | None:
        begin, end = begin_of(context.stream_info), end_of(context.stream_info)
        info = context.stream_info
        if begin is None or end is None or end < begin or (end == begin and backwards and info.protocol is not None):
            return None
        return int((end - begin) * factor + hair)

    return simple(text)
