"""What becomes of the answers that the proxy gives itself.

Envoy: `LocalReply::LocalReplyImpl`, `LocalReply::ResponseMapper`; docs "Local reply modification". The proto is read
by `extensions/filters/network/local_reply_config.py`, which knows access log filters and formats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from .grpc import is_grpc, make_grpc_reply
from .header_map import Entry, RequestHeaderMap, ResponseHeaderMap, entry

if TYPE_CHECKING:
    from ..stream_info import StreamInfo
    from .logged_stream import LoggedStream

Matches = Callable[[RequestHeaderMap | None, ResponseHeaderMap, "StreamInfo"], bool]
AddHeaders = Callable[[ResponseHeaderMap, "StreamInfo", RequestHeaderMap | None], None]
FormatBody = Callable[[RequestHeaderMap | None, ResponseHeaderMap, "StreamInfo", bytes], bytes]
"""The body as it is so far is the last argument (`%LOCAL_REPLY_BODY%`)."""

TEXT: Final = entry(b"content-type", b"text/plain")
JSON: Final = b"application/json"


class BodyFormat:
    """Makes a body, and says what it is: `content_type` is the finished header."""

    __slots__ = ("content_type", "format")

    def __init__(self, format: FormatBody, content_type: bytes) -> None:
        self.format = format
        self.content_type = entry(b"content-type", content_type)


class ResponseMapper:
    """Changes the replies that its filter matches; what is None stays as it was."""

    __slots__ = ("_add_headers", "_body", "_status", "body_format", "matches")

    def __init__(
        self,
        matches: Matches,
        status: int | None = None,
        body: bytes | None = None,
        add_headers: AddHeaders | None = None,
        body_format: BodyFormat | None = None,
    ) -> None:
        self.matches = matches
        self._status = status
        self._body = body
        self._add_headers = add_headers
        self.body_format = body_format

    def rewrite(
        self, request: RequestHeaderMap | None, headers: ResponseHeaderMap, stream: StreamInfo, body: bytes
    ) -> bytes:
        """Change `headers` and their status; the new body."""
        if self._add_headers is not None:
            self._add_headers(headers, stream, request)
        if self._status is not None:
            headers.status = stream.response_code = self._status
        return body if self._body is None else self._body


class LocalReply:
    """The first mapper that matches counts; `body_format` is for replies whose mapper has none of its own."""

    __slots__ = ("_body_format", "_mappers")

    def __init__(self, mappers: Sequence[ResponseMapper], body_format: BodyFormat | None) -> None:
        self._mappers = tuple(mappers)
        self._body_format = body_format

    def rewrite(
        self, request: RequestHeaderMap | None, headers: ResponseHeaderMap, stream: StreamInfo, body: bytes
    ) -> tuple[bytes, Entry]:
        """Change `headers` (and `stream.response_code`, which filters look at); the new body and its content type."""
        stream.response_code = headers.status
        body_format = self._body_format
        for mapper in self._mappers:
            if mapper.matches(request, headers, stream):
                body = mapper.rewrite(request, headers, stream, body)
                body_format = mapper.body_format or body_format
                break
        if body_format is None:
            return body, TEXT
        return body_format.format(request, headers, stream, body), body_format.content_type


def prepare_local_reply(
    stream: LoggedStream, headers: ResponseHeaderMap, body: bytes, details: str, grpc_status: int | None
) -> bytes:
    """Finish the headers of what the proxy answers itself, as its configuration and the client want it; the body.

    (`Http::Utility::prepareLocalReply`.) `headers.body_follows` tells whether it is sent: not for HEAD.
    """
    request, raw = stream.request_headers, body
    content_type, own_type = TEXT, False
    local_reply = stream.config.local_reply
    if local_reply is not None:
        before = headers.get(b"content-type")
        stream.fill_in()
        raw, content_type = local_reply.rewrite(request, headers, stream, raw)
        own_type = headers.get(b"content-type") != before
    is_head = request is not None and request.method == b"HEAD"
    speaks_grpc = stream.client_speaks_grpc
    if speaks_grpc is None:
        speaks_grpc = request is not None and is_grpc(request.get(b"content-type"))
    if speaks_grpc:
        if content_type[1] == JSON:
            raw = raw.removesuffix(b"\n")
        make_grpc_reply(headers, b"" if is_head else raw, details, grpc_status)
        raw = b""
    elif raw:
        headers.set(b"content-length", b"%d" % len(raw))
        if not headers.has(b"content-type"):
            headers.add_entry(content_type)
        elif raw != body and not own_type:
            headers.set(b"content-type", content_type[1])
    else:
        headers.remove(b"content-length")
        headers.remove(b"content-type")
    headers.body_follows = bool(raw) and not is_head
    return raw
