"""What upstreams in tests answer with, step by step.

No Envoy counterpart. A script is written as one thinks of it:

    FakeUpstream(503, RESET, delayed(2), REFUSE, "ok")
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer.

    Attributes:
        headers: after the status line; `content-length` is added when neither it nor `transfer-encoding` is there.
        raw: bytes to send instead of all that.
        hang: answer nothing and keep the connection.
        close: end the connection after the answer.
        reset: break the connection off after the answer (RST).
        delay: seconds before the answer.
        drip: (bytes, seconds): so many bytes of the answer at once, and so long between them.
    """

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    raw: bytes | None = None
    hang: bool = False
    close: bool = False
    reset: bool = False
    delay: float = 0.0
    drip: tuple[int, float] | None = None

    def encode(self, head_only: bool = False) -> bytes:
        """The answer as bytes; `head_only` for HEAD."""
        if self.raw is not None:
            return self.raw
        headers = list(self.headers)
        if not {"content-length", "transfer-encoding"} & {name.lower() for name, _ in headers}:
            headers.append(("content-length", str(len(self.body))))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        head = f"HTTP/1.1 {self.status} {_reason(self.status)}\r\n{lines}\r\n".encode("latin-1")
        return head if head_only else head + self.body


@dataclass(frozen=True, slots=True)
class Refused:
    """A step of a script: nobody listens for so many seconds, or for good if it is the last step."""

    seconds: float


Answer = Reply | bytes | str | int

OK = Reply(b"ok")
RESET = Reply(raw=b"", reset=True)
"""No answer: the connection breaks off."""
REFUSE = Refused(0.2)
"""Connections are refused for a moment, as `Refused` says for how long."""
BAD_CHUNK = Reply(raw=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n")


def delayed(seconds: float, answer: Answer = OK) -> Reply:
    """`answer`, but later."""
    return replace(reply_of(answer), delay=seconds)


def cut(body: bytes, after: int, reset: bool = False) -> Reply:
    """An answer that ends after so many bytes of its body, with a FIN or with a RST."""
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    return Reply(raw=head + body[:after], close=True, reset=reset)


def reply_of(answer: Answer) -> Reply:
    """What HTTP answers with."""
    if isinstance(answer, Reply):
        return answer
    if isinstance(answer, int):
        return Reply(status=answer)
    return Reply(answer.encode() if isinstance(answer, str) else answer)


def _reason(status: int) -> str:
    from http import HTTPStatus

    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def bytes_of(answer: Answer) -> Reply:
    """What a service that is no HTTP answers with: the bytes as they stand."""
    if isinstance(answer, Reply):
        return answer if answer.raw is not None else replace(answer, raw=answer.body)
    if isinstance(answer, int):
        raise ValueError(f"{answer} is a status, which only HTTP has")
    return Reply(raw=answer.encode() if isinstance(answer, str) else answer)


class Script:
    """Answers in turn; the last one stays."""

    def __init__(self, steps: Sequence[Answer | Refused], default: Answer = Reply()) -> None:
        self._steps = deque(steps)
        self._last = default

    def take(self) -> Answer:
        """The next answer."""
        self.take_refusal()
        if self._steps:
            step = self._steps.popleft()
            assert not isinstance(step, Refused)
            self._last = step
        return self._last

    def take_refusal(self) -> float:
        """Seconds for which nobody listens now, infinite at the end of the script; 0 if an answer is next."""
        seconds = 0.0
        while self._steps and isinstance(step := self._steps[0], Refused):
            seconds += step.seconds
            self._steps.popleft()
        return float("inf") if seconds and not self._steps else seconds
