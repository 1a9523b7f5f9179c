"""What a line of the process log looks like.

Envoy: spdlog's `pattern_formatter` with the flags of `Logger::CustomFlagFormatter`; docs "Operations > Command line
options > --log-format". A pattern is compiled once to a list of pieces. Flags are spdlog's, `%_` and `%j` Envoy's; an
unknown flag is printed as it stands, as spdlog does.

A message is text that may quote a peer, so control characters in it are escaped: one event is one line, and nothing a
client sends can look like a second event. (Envoy prints line breaks inside a message as they are.)
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable

from .lazy_pattern import lazy_pattern

DEFAULT_PATTERN = "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v"
LEVEL_NAMES = ("trace", "debug", "info", "warning", "error", "critical", "off")
_LONGEST_FIELD = 64  # spdlog's bound on a padded field

_FIELD = re.compile(r"%(?:([-=]?)(\d+)(!?))?(.?)", re.DOTALL)
_CONTROL = lazy_pattern("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


class LogRecord:
    """One event on its way to the log (`spdlog::details::log_msg`)."""

    __slots__ = ("elapsed", "file", "function", "level", "line", "local_time", "logger_name", "message", "when")

    def __init__(
        self,
        when: float,
        elapsed: float,
        level: int,
        logger_name: str,
        message: str,
        file: str,
        line: int,
        function: str,
    ) -> None:
        self.when = when
        """Seconds since the epoch."""
        self.elapsed = elapsed
        """Seconds since the event before this one."""
        self.level = level
        self.logger_name = logger_name
        self.message = message
        self.file = file
        """Path from the folder that holds the package, e.g. `minienvoy/server/server.py`."""
        self.line = line
        self.function = function
        self.local_time = time.localtime(when)


def _escape_control(found: re.Match[str]) -> str:
    character = found[0]
    return _NAMED.get(character) or (f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}")


def escape_control_characters(text: str) -> str:
    """`text` on one line; everything printable is left alone."""
    return text if text.isprintable() else _CONTROL.sub(_escape_control, text)


def escape_json(text: str) -> str:
    """`text` as it stands between the quotes of a JSON string."""

    def escape(found: re.Match[str]) -> str:
        character = found[0]
        if character in '"\\':
            return "\\" + character
        return _NAMED.get(character) or f"\\u{ord(character):04x}"

    return re.sub('["\\\\\x00-\x1f\x7f-\x9f\u2028\u2029]', escape, text)


def escape_c(line: str) -> str:
    """`line` as a C string literal has it: `--log-format-escaped` (`absl::CEscape`)."""
    escaped = []
    for byte in line.encode("utf-8", "surrogateescape"):
        character = chr(byte)
        if character in _NAMED:
            escaped.append(_NAMED[character])
        elif character in "\"'\\":
            escaped.append("\\" + character)
        elif 0x20 <= byte < 0x7F:
            escaped.append(character)
        else:
            escaped.append(f"\\{byte:03o}")
    return "".join(escaped)


def _clock(form: str) -> Callable[[LogRecord], str]:
    return lambda record: time.strftime(form, record.local_time)


def _zone(record: LogRecord) -> str:
    offset = time.strftime("%z", record.local_time)
    return f"{offset[:3]}:{offset[3:5]}"


def _message(record: LogRecord) -> str:
    return escape_control_characters(record.message)


def _source(record: LogRecord) -> str:
    return f"{record.file}:{record.line}"


_FLAGS: dict[str, Callable[[LogRecord], str]] = {
    "v": _message,
    "+": _message,
    "_": _message,
    "j": lambda record: escape_json(record.message),
    "*": lambda record: "",
    "n": lambda record: record.logger_name,
    "l": lambda record: LEVEL_NAMES[record.level],
    "L": lambda record: LEVEL_NAMES[record.level][0].upper(),
    "t": lambda record: str(threading.get_native_id()),
    "P": lambda record: str(os.getpid()),
    "g": lambda record: record.file,
    "s": lambda record: record.file.rpartition("/")[2],
    "#": lambda record: str(record.line),
    "!": lambda record: record.function,
    "@": _source,
    "e": lambda record: f"{int(record.when * 1e3) % 1000:03d}",
    "f": lambda record: f"{int(record.when * 1e6) % 1000000:06d}",
    "F": lambda record: f"{int(record.when * 1e9) % 1000000000:09d}",
    "E": lambda record: str(int(record.when)),
    "o": lambda record: str(int(record.elapsed * 1e3)),
    "i": lambda record: str(int(record.elapsed * 1e6)),
    "u": lambda record: str(int(record.elapsed * 1e9)),
    "O": lambda record: str(int(record.elapsed)),
    "C": _clock("%y"),
    "D": _clock("%m/%d/%y"),
    "x": _clock("%m/%d/%y"),
    "r": _clock("%I:%M:%S %p"),
    "R": _clock("%H:%M"),
    "T": _clock("%H:%M:%S"),
    "X": _clock("%H:%M:%S"),
    "c": _clock("%a %b %e %H:%M:%S %Y"),
    "h": _clock("%b"),
    "z": _zone,
    "%": lambda record: "%",
    # where a colour would begin and end; the log is never coloured
    "^": lambda record: "",
    "$": lambda record: "",
}
_FLAGS.update({flag: _clock(f"%{flag}") for flag in "aAbBYmdHIMSp"})


def _padded(piece: Callable[[LogRecord], str], side: str, width: int, truncate: bool) -> Callable[[LogRecord], str]:
    width = min(width, _LONGEST_FIELD)

    def pad(record: LogRecord) -> str:
        text = piece(record)
        if truncate:
            text = text[:width]
        if side == "-":
            return text.ljust(width)
        if side == "=":
            left = (width - len(text)) // 2
            return text if left < 0 else (" " * left + text).ljust(width)
        return text.rjust(width)

    return pad


def compile_pattern(pattern: str) -> Callable[[LogRecord], str]:
    """The function that writes a record in `pattern`, without the line break."""
    pieces: list[Callable[[LogRecord], str]] = []

    def literal(text: str) -> None:
        if text:
            pieces.append(lambda record: text)

    end = 0
    for field in _FIELD.finditer(pattern):
        literal(pattern[end : field.start()])
        end = field.end()
        side, width, truncate, flag = field.groups()
        piece = _FLAGS.get(flag)
        if piece is None:
            literal(f"%{flag}" if flag else "")
        elif width is None:
            pieces.append(piece)
        else:
            pieces.append(_padded(piece, side, int(width[:4]), bool(truncate)))
    literal(pattern[end:])
    return lambda record: "".join([piece(record) for piece in pieces])
