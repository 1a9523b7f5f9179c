"""The span of a question to an authorization server that speaks HTTP.

Envoy: `Filters::Common::ExtAuthz::RawHttpClientImpl::onBeforeFinalizeUpstreamSpan`.
"""

from __future__ import annotations

from .....http.codes import reason_phrase
from .....http.header_map import ResponseHeaderMap
from .....router.http_call_span import HttpCallSpan
from .grpc_client import STATUS_OK, STATUS_TAG, STATUS_UNAUTHORIZED


class AuthorizationSpan(HttpCallSpan):
    """It says what the server has decided."""

    __slots__ = ()

    def tag_response(self, headers: ResponseHeaderMap | None) -> None:
        if headers is not None:
            self.tag("ext_authz_http_status", reason_phrase(headers.status).decode())
            self.tag(STATUS_TAG, STATUS_OK if headers.status == 200 else STATUS_UNAUTHORIZED)
