"""What a match tree may be asked about a request and its response.

Envoy: `Http::Matching::HttpMatchingDataImpl`. The categories of inputs stand here, next to the data that they read;
those for connections are in `server/filter_chain_matcher.py`.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from ..matchers.match_tree import CandidatesRegistry, InputRegistry
from ..registry import Registry
from ..stream_info import ConnectionInfo, StreamInfo
from .header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap

HTTP_INPUTS: Final[InputRegistry] = Registry("envoy.matching.http.input")
HTTP_CUSTOM_MATCHERS: Final[CandidatesRegistry] = Registry("envoy.matching.http.custom_matchers")


class ConnectionData(Protocol):
    """What inputs ask that are for requests and for connections."""

    @property
    def info(self) -> ConnectionInfo: ...
    @property
    def filter_state(self) -> dict[str, Any] | None: ...
    @property
    def dynamic_metadata(self) -> dict[str, Any] | None: ...


class HttpMatchingData:
    """A stream; what is None has not come yet."""

    __slots__ = ("request_headers", "request_trailers", "response_headers", "response_trailers", "stream")

    def __init__(
        self,
        stream: StreamInfo,
        request_headers: RequestHeaderMap | None,
        request_trailers: HeaderMap | None = None,
        response_headers: ResponseHeaderMap | None = None,
        response_trailers: HeaderMap | None = None,
    ) -> None:
        self.stream = stream
        self.request_headers = request_headers
        self.request_trailers = request_trailers
        self.response_headers = response_headers
        self.response_trailers = response_trailers

    @property
    def info(self) -> ConnectionInfo:
        return self.stream.connection

    @property
    def filter_state(self) -> dict[str, Any] | None:
        return self.stream._filter_state

    @property
    def dynamic_metadata(self) -> dict[str, Any] | None:
        return self.stream._dynamic_metadata
