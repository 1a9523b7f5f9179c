"""What a formatter, and an access log, may look at when a stream has something to tell.

Envoy: `Formatter::Context` (`HttpFormatterContext`).
"""

from __future__ import annotations

from typing import Final, Protocol

from ..event.dispatcher import Dispatcher
from ..event.random import RandomGenerator
from ..stream_info import AccessLogType, StreamInfo


class Headers(Protocol):
    """As much of a header map as logs need; names are in lower case."""

    def get(self, name: bytes) -> bytes | None: ...
    def get_all(self, name: bytes) -> list[bytes]: ...
    def pairs(self) -> list[tuple[str, str]]: ...


class NoHeaders:
    """The header map of a TCP connection, and of a response that never came (`StaticEmptyHeaders`)."""

    __slots__ = ()

    def get(self, name: bytes) -> bytes | None:
        return None

    def get_all(self, name: bytes) -> list[bytes]:
        return []

    def pairs(self) -> list[tuple[str, str]]:
        return []


NO_HEADERS: Final = NoHeaders()


class FormatterContext:
    """One moment of one stream. Header maps that do not exist are given as None and kept as `NO_HEADERS`."""

    __slots__ = (
        "access_log_type",
        "local_reply_body",
        "request_headers",
        "response_headers",
        "response_trailers",
        "stream_info",
    )

    def __init__(
        self,
        stream_info: StreamInfo,
        request_headers: Headers | None = None,
        response_headers: Headers | None = None,
        response_trailers: Headers | None = None,
        local_reply_body: str = "",
        access_log_type: str = AccessLogType.NOT_SET,
    ) -> None:
        self.stream_info = stream_info
        self.request_headers: Headers = NO_HEADERS if request_headers is None else request_headers
        self.response_headers: Headers = NO_HEADERS if response_headers is None else response_headers
        self.response_trailers: Headers = NO_HEADERS if response_trailers is None else response_trailers
        self.local_reply_body = local_reply_body
        self.access_log_type = access_log_type


class Sources(Protocol):
    """Where commands that ask for the time or for a random number get it; a `ServerContext` is one.

    Attributes:
        byte_meters: set by commands that tell what a stream takes on the wire, so that it is counted.
        times_routes: set by commands that tell how a route was found.
    """

    byte_meters: bool
    times_routes: bool

    @property
    def dispatcher(self) -> Dispatcher: ...
    @property
    def random(self) -> RandomGenerator: ...
