"""The one HTTP filter of the admin listener: hands whole requests to `Admin.run` and sends what it answers.

Envoy: `Server::AdminFilter` (`source/server/admin/admin_filter.cc`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ...http.filter import (
    FilterDataStatus,
    FilterHeadersStatus,
    FilterTrailersStatus,
    HttpFilterFactory,
    StreamDecoderFilter,
)
from ...http.header_map import HeaderMap, RequestHeaderMap
from .request import AdminRequest, AdminResponse

MAX_BODY: Final = 1024 * 1024
"""Bytes of a request body that are kept; Envoy has no limit here, and no handler needs more than a few kilobytes."""


class AdminFilter(StreamDecoderFilter):
    """Terminal: nothing comes after it."""

    def __init__(self, run: Callable[[AdminRequest], AdminResponse]) -> None:
        self._run = run
        self._headers: RequestHeaderMap | None = None
        self._body: list[bytes] = []
        self._size = 0

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        self._headers = headers
        if end_stream:
            self._on_complete()
        return FilterHeadersStatus.STOP_ITERATION

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        if self._headers is None:
            return FilterDataStatus.STOP_ITERATION_NO_BUFFER
        self._size += len(data)
        if self._size > MAX_BODY:
            self._headers = None
            self._body.clear()
            self.decoder_callbacks.send_local_reply(413, "Payload Too Large", "request_payload_too_large")
            return FilterDataStatus.STOP_ITERATION_NO_BUFFER
        self._body.append(data)
        if end_stream:
            self._on_complete()
        return FilterDataStatus.STOP_ITERATION_NO_BUFFER

    def decode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        self._on_complete()
        return FilterTrailersStatus.STOP_ITERATION

    def _on_complete(self) -> None:
        headers, self._headers = self._headers, None
        if headers is None:
            return
        content_type = headers.get(b"content-type") or b""
        response = self._run(
            AdminRequest.from_parts(
                headers.method.decode("latin-1"),
                headers.path.decode("utf-8", "surrogateescape"),
                content_type.decode("latin-1"),
                b"".join(self._body),
            )
        )
        callbacks = self.decoder_callbacks
        callbacks.encode_headers(response.header_map(), False, "admin_filter_response")
        callbacks.encode_data(response.rendered(), True)


def create_admin_filter_factory(run: Callable[[AdminRequest], AdminResponse]) -> HttpFilterFactory:
    """`run` is `Admin.run`."""
    return lambda: AdminFilter(run)
