"""Inputs of match trees that read headers, trailers, query parameters and status codes.

Envoy: `source/common/http/matching/inputs.h`, `status_code_input.h`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...config.fields import honours
from ...http.header_map import HeaderMap
from ...http.matching import HTTP_INPUTS, HttpMatchingData
from ...matchers.match_tree import NOT_AVAILABLE, MatchInput
from ...matchers.query_parameter import parse_query

_TYPE = "envoy.type.matcher.v3"

for _name in ("HttpRequestHeader", "HttpRequestTrailer", "HttpResponseHeader", "HttpResponseTrailer"):
    honours(f"{_TYPE}.{_name}MatchInput", "header_name")
honours(f"{_TYPE}.HttpRequestQueryParamMatchInput", "query_param")
honours(f"{_TYPE}.HttpResponseStatusCodeMatchInput")
honours(f"{_TYPE}.HttpResponseStatusCodeClassMatchInput")


def _header(config: Any, map_of: Callable[[HttpMatchingData], HeaderMap | None]) -> MatchInput:
    """All values of a header, joined by commas; None if it is not there."""
    name = config.header_name.lower().encode()

    def read(data: HttpMatchingData) -> Any:
        headers = map_of(data)
        return NOT_AVAILABLE if headers is None else headers.joined(name)

    return read


@HTTP_INPUTS.register("envoy.matching.inputs.request_headers", f"{_TYPE}.HttpRequestHeaderMatchInput")
def create_request_header_input(config: Any, server: Any) -> MatchInput:
    return _header(config, lambda data: data.request_headers)


@HTTP_INPUTS.register("envoy.matching.inputs.request_trailers", f"{_TYPE}.HttpRequestTrailerMatchInput")
def create_request_trailer_input(config: Any, server: Any) -> MatchInput:
    return _header(config, lambda data: data.request_trailers)


@HTTP_INPUTS.register("envoy.matching.inputs.response_headers", f"{_TYPE}.HttpResponseHeaderMatchInput")
def create_response_header_input(config: Any, server: Any) -> MatchInput:
    return _header(config, lambda data: data.response_headers)


@HTTP_INPUTS.register("envoy.matching.inputs.response_trailers", f"{_TYPE}.HttpResponseTrailerMatchInput")
def create_response_trailer_input(config: Any, server: Any) -> MatchInput:
    return _header(config, lambda data: data.response_trailers)


@HTTP_INPUTS.register("query_params", f"{_TYPE}.HttpRequestQueryParamMatchInput")
def create_query_parameter_input(config: Any, server: Any) -> MatchInput:
    """The first value of a query parameter."""
    name = config.query_param.encode()

    def read(data: HttpMatchingData) -> Any:
        headers = data.request_headers
        return NOT_AVAILABLE if headers is None else parse_query(headers.path).get(name)

    return read


@HTTP_INPUTS.register("envoy.matching.inputs.status_code_input", f"{_TYPE}.HttpResponseStatusCodeMatchInput")
def create_status_code_input(config: Any, server: Any) -> MatchInput:
    def read(data: HttpMatchingData) -> Any:
        headers = data.response_headers
        return NOT_AVAILABLE if headers is None else b"%d" % headers.status

    return read


@HTTP_INPUTS.register("envoy.matching.inputs.status_code_class_input", f"{_TYPE}.HttpResponseStatusCodeClassMatchInput")
def create_status_code_class_input(config: Any, server: Any) -> MatchInput:
    """`2xx`; None for what is no status code."""

    def read(data: HttpMatchingData) -> Any:
        headers = data.response_headers
        if headers is None:
            return NOT_AVAILABLE
        return b"%dxx" % (headers.status // 100) if 100 <= headers.status < 600 else None

    return read
