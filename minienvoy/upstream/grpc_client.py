"""gRPC calls of the proxy's own (`envoy_grpc`), unary and streaming.

Envoy: `Grpc::AsyncClientImpl`, `Grpc::AsyncStreamImpl`, `Grpc::AsyncRequestImpl`, `Grpc::Decoder`.

    client = service.client(server)                                    # a compiled `GrpcService`, or:
    client = GrpcClient(async_client(server), "authz", metadata=((b"name", b"value"),))
    call = client.send("package.Service/Method", message, callbacks, timeout=0.2)    # on_success or on_failure, once
    call = client.start("package.Service/Method", callbacks)                         # send, close, reset
    call.headers, call.trailers                                        # what the service has sent beside messages

Messages are bytes here: who calls knows their types. Callbacks may come before `send` or `start` has returned. A call
that can not be made, breaks off or takes too long ends with the gRPC status that Envoy gives it: UNAVAILABLE (14) also
after a timeout of ours, as its 504 says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Protocol

from ..http.grpc import grpc_timeout, http_to_grpc_status
from ..http.header_map import HeaderMap, ResponseHeaderMap
from ..http.http2.fields import Http2RequestHeaderMap
from .async_client import DEFAULT_OPTIONS, AsyncClient, AsyncStream, StreamOptions

if TYPE_CHECKING:
    from ..tracing.call_span import GrpcCallSpan

OK: Final = 0
CANCELLED: Final = 1
UNKNOWN: Final = 2
RESOURCE_EXHAUSTED: Final = 8
INTERNAL: Final = 13
UNAVAILABLE: Final = 14
_PSEUDO_ORDER: Final = (b":method", b":path", b":authority", b":scheme")


class GrpcDecoder:
    """Messages out of a stream of bytes.

    `max_length` is that of one message, 0 for no limit.
    """

    __slots__ = ("_buffer", "_max_length")

    def __init__(self, max_length: int = 0) -> None:
        self._buffer = bytearray()
        self._max_length = max_length

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete now.

        Raises:
            ValueError: a message has flags that mean nothing here, or is too long.
        """
        buffer = self._buffer
        buffer += data
        found: list[bytes] = []
        at = 0
        while len(buffer) - at >= 5:
            length = int.from_bytes(buffer[at + 1 : at + 5], "big")
            if buffer[at] or (self._max_length and length > self._max_length):
                raise ValueError("not a message that can be read")
            if len(buffer) - at - 5 < length:
                break
            found.append(bytes(buffer[at + 5 : at + 5 + length]))
            at += 5 + length
        if at:
            del buffer[:at]
        return found

    @property
    def empty(self) -> bool:
        """There is no beginning of a message."""
        return not self._buffer


def grpc_frame(message: bytes) -> bytes:
    """As it stands in a body (`Grpc::Common::serializeToGrpcFrame`)."""
    return b"\0" + len(message).to_bytes(4, "big") + message


class GrpcStreamCallbacks(Protocol):
    """`on_remote_close` is the last."""

    def on_receive_message(self, message: bytes) -> None: ...
    def on_remote_close(self, status: int, message: str) -> None: ...


class GrpcCallbacks(Protocol):
    """Exactly one of these is called."""

    def on_success(self, message: bytes) -> None: ...
    def on_failure(self, status: int, message: str) -> None: ...


class GrpcClient:
    """Calls to one cluster; `authority` is what they say, by default the cluster's name."""

    def __init__(
        self,
        client: AsyncClient,
        cluster: str,
        authority: str = "",
        metadata: tuple[tuple[bytes, bytes], ...] = (),
        max_message: int = 0,
        options: StreamOptions = DEFAULT_OPTIONS,
    ) -> None:
        """`metadata` is said with every call; `max_message` is how long a message of the service may be, 0 for any."""
        self._options = options
        self._client = client
        self._cluster = cluster
        self._authority = (authority or cluster).encode()
        self._metadata = metadata
        self._max_message = max_message

    def start(
        self,
        method: str,
        callbacks: GrpcStreamCallbacks,
        timeout: float = 0.0,
        metadata: Iterable[tuple[bytes, bytes]] = (),
        span: GrpcCallSpan | None = None,
    ) -> GrpcStream:
        """A stream; `method` is `package.Service/Method`. `timeout` in seconds, told to the service too; 0 for none.
        `metadata` is said with this call, after the client's own; `span` is that of the call, and ends with it."""
        headers = Http2RequestHeaderMap(b"POST", b"/" + method.encode(), self._authority)
        headers.pseudo_order = _PSEUDO_ORDER
        headers.add(b"te", b"trailers")
        if timeout:
            headers.add(b"grpc-timeout", grpc_timeout(round(timeout * 1000)))
        headers.add(b"content-type", b"application/grpc")
        for name, value in (*self._metadata, *metadata):
            headers.add(name, value)
        if span is not None:
            span.inject(headers)
        stream = GrpcStream(callbacks, self._max_message, span)
        stream.stream = self._client.start(self._cluster, stream, timeout, self._options)
        stream.stream.send_headers(headers, False)
        return stream

    def send(
        self,
        method: str,
        message: bytes,
        callbacks: GrpcCallbacks,
        timeout: float = 0.0,
        metadata: Iterable[tuple[bytes, bytes]] = (),
        span: GrpcCallSpan | None = None,
    ) -> GrpcStream:
        """One message for one message."""
        stream = self.start(method, UnaryCall(callbacks, span), timeout, metadata, span)
        stream.send(message, True)
        return stream


class GrpcStream:
    """One call; it hears its HTTP stream.

    Attributes:
        headers, trailers: of the response, None until they have come; whoever is called back may look at them.
        stream: of HTTP; `stream.above_watermark` tells whoever sends many messages when to stop.
    """

    def __init__(self, callbacks: GrpcStreamCallbacks, max_message: int = 0, span: GrpcCallSpan | None = None) -> None:
        self._span = span
        self.headers: ResponseHeaderMap | None = None
        self.trailers: HeaderMap | None = None
        self.stream: AsyncStream | None = None
        self._callbacks = callbacks
        self._decoder = GrpcDecoder(max_message)
        self._closed = False
        self._http_status = 200
        self._status: tuple[int, str] | None = None

    def send(self, message: bytes, end_stream: bool = False) -> None:
        if self.stream is not None and not self._closed:
            self.stream.send_data(grpc_frame(message), end_stream)

    def close(self) -> None:
        """No more messages from this side."""
        if self.stream is not None and not self._closed:
            self.stream.send_data(b"", True)

    def reset(self) -> None:
        """Give it up; nothing more is told."""
        if self._span is not None and not self._closed:
            self._span.cancel()
        self._closed = True
        if self.stream is not None:
            self.stream.reset()

    # -- from the HTTP stream

    def on_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self.headers = headers
        self._http_status = headers.status
        if headers.has(b"grpc-status"):
            self._status = status_of(headers)
        elif headers.status != 200 and not end_stream:
            # What follows is no gRPC, and is not waited for.
            self._break_off(http_to_grpc_status(headers.status))

    def on_data(self, data: bytes, end_stream: bool) -> None:
        if self._closed or self._http_status != 200:
            return
        try:
            messages = self._decoder.feed(data)
        except ValueError:
            self._break_off(INTERNAL)
            return
        for message in messages:
            if not self._closed:
                self._callbacks.on_receive_message(message)

    def on_trailers(self, trailers: HeaderMap) -> None:
        self.trailers = trailers
        self._status = status_of(trailers)

    def on_complete(self) -> None:
        status, message = self._status or (http_to_grpc_status(self._http_status), "")
        self._close(status, message)

    def on_reset(self) -> None:
        self._close(INTERNAL, "")

    # -- inside

    def _break_off(self, status: int) -> None:
        if self.stream is not None:
            self.stream.reset()
        self._close(status, "")

    def _close(self, status: int, message: str) -> None:
        if not self._closed:
            self._closed = True
            span = self._span
            if span is not None:
                span.end(status)
            self._callbacks.on_remote_close(status, message)
            if span is not None:
                span.finish()


class UnaryCall:
    """Waits for the one message."""

    def __init__(self, callbacks: GrpcCallbacks, span: GrpcCallSpan | None) -> None:
        self._callbacks = callbacks
        self._span = span
        self._message: bytes | None = None

    def on_receive_message(self, message: bytes) -> None:
        self._message = message

    def on_remote_close(self, status: int, message: str) -> None:
        if status != OK:
            self._callbacks.on_failure(status, message)
        elif self._message is None:
            if self._span is not None:
                self._span.fail()
            self._callbacks.on_failure(INTERNAL, "")
        else:
            self._callbacks.on_success(self._message)


def status_of(headers: HeaderMap) -> tuple[int, str]:
    """(`grpc-status`, `grpc-message`); no status is UNKNOWN."""
    value = headers.get(b"grpc-status") or b""
    message = percent_decode(headers.get(b"grpc-message") or b"")
    return (int(value) if value.isdigit() and len(value) < 10 else UNKNOWN), message


def percent_decode(value: bytes) -> str:
    """The other way round from `http.grpc.percent_encode`."""
    from urllib.parse import unquote_to_bytes

    return unquote_to_bytes(value).decode("utf-8", "replace")
