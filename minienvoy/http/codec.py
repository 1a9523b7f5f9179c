"""The codec interface: bytes on one side, streams of headers, data and trailers on the other.

Envoy: `envoy/http/codec.h`. Codecs do no I/O: they are given a `write` function and are told of bytes through
`dispatch`. "Decode" is always away from the wire, "encode" always towards it.

A codec is never dispatched from inside its own `write`. `decode_headers` may encode the whole response before it
returns.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

from .header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap

if TYPE_CHECKING:
    from ..errors import CodecProtocolError
    from .byte_meter import ByteMeter


class StreamResetReason(Enum):
    """Values are Envoy's words, as they stand in local replies and in `%RESPONSE_CODE_DETAILS%`."""

    LOCAL_RESET = "local reset"
    LOCAL_REFUSED_STREAM_RESET = "local refused stream reset"
    REMOTE_RESET = "remote reset"
    REMOTE_REFUSED_STREAM_RESET = "remote refused stream reset"
    LOCAL_CONNECTION_FAILURE = "local connection failure"
    REMOTE_CONNECTION_FAILURE = "remote connection failure"
    CONNECTION_TIMEOUT = "connection timeout"
    CONNECTION_TERMINATION = "connection termination"
    OVERFLOW = "overflow"
    CONNECT_ERROR = "remote error with CONNECT request"
    PROTOCOL_ERROR = "protocol error"
    OVERLOAD_MANAGER = "overload manager reset"
    HTTP1_PREMATURE_UPSTREAM_HALF_CLOSE = "HTTP/1 premature upstream half close"


Metadata = tuple[tuple[bytes, bytes], ...]
"""What is told about a stream beside its messages: names, of which each comes once, and values (`MetadataMap`)."""


class StreamDecoder(Protocol):
    def decode_data(self, data: bytes, end_stream: bool) -> None: ...
    def decode_trailers(self, trailers: HeaderMap) -> None: ...
    def decode_metadata(self, metadata: Metadata) -> None: ...
    def on_reset_stream(self, reason: StreamResetReason, details: str) -> None: ...


class RequestDecoder(StreamDecoder, Protocol):
    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None: ...


class ResponseDecoder(StreamDecoder, Protocol):
    def on_request_refused(self, problem: str) -> None:
        """One of its headers can not be sent, and nothing was. Called from inside `encode_headers`."""

    def decode_1xx_headers(self, headers: ResponseHeaderMap) -> None: ...
    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None: ...


class StreamEncoder(Protocol):
    def encode_data(self, data: bytes, end_stream: bool) -> None: ...
    def encode_trailers(self, trailers: HeaderMap) -> None: ...
    def encode_metadata(self, metadata: Metadata) -> None:
        """Only HTTP/2 can say it, and only where it may."""

    def reset_stream(self, reason: StreamResetReason) -> None: ...
    def read_disable(self, disable: bool) -> None: ...


class RequestEncoder(StreamEncoder, Protocol):
    def encode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None: ...


class ResponseEncoder(StreamEncoder, Protocol):
    http_10: bool
    """The request under way is HTTP/1.0."""
    meter: ByteMeter | None
    """Counts the bytes of the stream that is under way, where that is wanted."""
    last_response: bool
    """Set it to have no request read after this response: the connection is about to be closed."""

    def encode_1xx_headers(self, headers: ResponseHeaderMap) -> None: ...
    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None: ...
    def set_request_decoder(self, decoder: RequestDecoder) -> None:
        """Another stream takes the place of the one that was made for the request."""


class ServerConnectionCallbacks(Protocol):
    def on_codec_error(self, error: CodecProtocolError) -> None:
        """The connection has to end, for what was found out while nothing is dispatched."""

    def new_stream(self, encoder: ResponseEncoder) -> RequestDecoder:
        """The first bytes of a request are there."""

    def redispatch(self, data: bytes) -> None:
        """`data` had to wait for an earlier request: dispatch it now, with the same care as what the peer sends."""


class ServerConnection(Protocol):
    """The downstream side; HTTP/1 and HTTP/2 look the same from here."""

    protocol: str
    """`HTTP/1.1` or `HTTP/2`; what a single request says of itself is in its stream."""

    dispatching: bool
    """Bytes of the peer are being read."""

    def dispatch(self, data: bytes) -> None:
        """Take bytes from the peer.

        Raises:
            CodecProtocolError: the bytes are not HTTP; answer if that is still possible, then close the connection.
        """

    def on_connection_closed(self) -> None:
        """The connection is gone: reset what is under way."""


class ClientConnection(Protocol):
    """The upstream side."""

    protocol: str

    request_over: bool
    """The last request has been written to its end."""
    should_close: bool
    """The connection can not carry another request."""
    half_closes: bool
    """A FIN of the peer ends what the connection carries; the connection is ended here."""
    close_notified: bool
    """A response has announced that it is the last one."""
    extra_bytes: bool
    """More came than the response that was asked for."""

    @property
    def reads_until_close(self) -> bool:
        """The end of the connection is the end of the body that is being read."""

    def dispatch(self, data: bytes) -> None: ...
    def new_stream(self, decoder: ResponseDecoder) -> RequestEncoder: ...
    def abandon(self) -> ResponseDecoder | None:
        """The peer broke the protocol: read no more. Returns the stream that was under way."""

    def on_connection_closed(self, remote: bool) -> bool:
        """End what is under way; True if a response was cut short."""
