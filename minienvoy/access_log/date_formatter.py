"""Points in time as text, in `strftime`'s language with Envoy's additions.

Envoy: `DateFormatter`, `AccessLogDateTimeFormatter`. Added to `strftime`: `%s` seconds since the epoch, `%f` and `%1f`
to `%9f` the fraction of the second (9 digits if none are said), and what Abseil's `FormatTime` knows: `%E*S`, `%E3S`,
`%E*f`, `%E6f`, `%E4Y`, `%ET`, `%Ez`. All but the fraction changes once a second: it is kept from the last call.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final

from ..errors import ConfigError

_SPECIAL: Final = re.compile(r"%%|%([1-9]?)f|%s|%Z|%E(\*|[0-9]+)S|%E(\*|[0-9]+)f|%E4Y|%ET|%Ez|[^\x00-\x7f]+", re.ASCII)
_NEWLINE: Final = re.compile(r"%[-_0^#]*[1-9]*[EO]?n")

Part = str | int
"""A piece of a format: text for `strftime`, or how many digits of the fraction; 0 for as many as there are."""


def compile_date_format(text: str, *, local: bool = False) -> Callable[[float], str]:
    """A function from seconds since the epoch to text; an empty `text` is Envoy's default format.

    Raises:
        ConfigError: if it would print a new line, which must not get into a header.
    """
    if not text:
        text = "%Y-%m-%dT%H:%M:%S.%3f%z" if local else "%Y-%m-%dT%H:%M:%S.%3fZ"
    if _NEWLINE.search(text) or "\n" in text or "\0" in text:
        raise ConfigError("Invalid header configuration. Format string contains newline.")
    parts = _split(text)
    broken_down = time.localtime if local else time.gmtime
    last_second = -1
    kept: list[Part] = []

    def at(second: int) -> list[Part]:
        moment = broken_down(second)
        done: list[Part] = []
        for part in parts:
            if isinstance(part, int) or not part.isascii():
                done.append(part)
            else:
                done.append(_fixed(part, second, moment))
        return done

    if len(parts) == 3 and parts[1] == 3 and all(isinstance(part, str) and part.isascii() for part in parts[::2]):
        before = after = ""

        def milliseconds(moment: float) -> str:
            nonlocal last_second, before, after
            micros = round(moment * 1e6)
            second = micros // 1_000_000
            if second != last_second:
                before, _, after = at(second)  # type: ignore[assignment]
                last_second = second
            return f"{before}{micros // 1000 % 1000:03d}{after}"

        return milliseconds

    def general(moment: float) -> str:
        nonlocal last_second, kept
        micros = round(moment * 1e6)
        second = micros // 1_000_000
        if second != last_second:
            kept = at(second)
            last_second = second
        fraction = f"{micros % 1_000_000:06d}000"
        return "".join(part if isinstance(part, str) else _fraction(fraction, part) for part in kept)

    return general


def _split(text: str) -> list[Part]:
    parts: list[Part] = []

    def add(part: Part) -> None:
        if parts and isinstance(part, str) and isinstance(parts[-1], str) and part.isascii() and parts[-1].isascii():
            parts[-1] += part
        elif part != "":
            parts.append(part)

    at = 0
    for special in _SPECIAL.finditer(text):
        add(text[at : special.start()])
        at = special.end()
        what = special[0]
        if not what.isascii():
            add(what.encode("utf-8", "surrogateescape").decode("latin-1"))
        elif what in ("%%", "%s", "%Z", "%Ez"):
            # These stay as they are: `_fixed` fills them.
            add(what)
        elif what == "%ET":
            add("T")
        elif what == "%E4Y":
            add("%Y")
        elif special[2] is not None:
            add("%S")
            if special[2] == "*":
                add(-1)
            elif int(special[2]):
                add(".")
                add(int(special[2]))
        elif special[3] is not None:
            if special[3] == "*":
                add(0)
            elif int(special[3]):
                add(int(special[3]))
        else:
            add(int(special[1] or 9))
    add(text[at:])
    return parts


def _fixed(text: str, second: int, moment: time.struct_time) -> str:
    def fill(special: re.Match[str]) -> str:
        if special[0] == "%%":
            return "%%"
        if special[0] == "%s":
            return str(second)
        if special[0] == "%Z":
            # The C library says GMT or UTC, depending on how it was asked.
            return "UTC" if moment.tm_zone in ("GMT", "UTC") else "%Z"
        zone = time.strftime("%z", moment)
        return f"{zone[:3]}:{zone[3:]}"

    return time.strftime(_SPECIAL.sub(fill, text), moment)


def _fraction(digits: str, count: int) -> str:
    """`digits` are the nine of the fraction; `count` -1 is Abseil's `%E*S`: nothing, not even a point, if all are 0."""
    if count > 0:
        return digits[:count].ljust(count, "0")
    trimmed = digits.rstrip("0")
    if count < 0:
        return "." + trimmed if trimmed else ""
    return trimmed or "0"
