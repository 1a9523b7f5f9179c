"""The `proxy-status` header: what went wrong between the proxy and the next hop.

Envoy: `StreamInfo::ProxyStatusUtils`, `HttpConnectionManager.ProxyStatusConfig`; RFC 9209.
"""

from __future__ import annotations

from typing import Final

from ..record import record
from ..stream_info import ResponseFlag, StreamInfo
from .conn_manager_utility import append
from .header_map import ResponseHeaderMap

# A broken request is answered before its flag is set, so there is no error for it.
_ERRORS: Final = (
    (ResponseFlag.FAILED_LOCAL_HEALTH_CHECK, "destination_unavailable"),
    (ResponseFlag.NO_HEALTHY_UPSTREAM, "destination_unavailable"),
    (ResponseFlag.UPSTREAM_REQUEST_TIMEOUT, "http_response_timeout"),
    (ResponseFlag.LOCAL_RESET, "connection_timeout"),
    (ResponseFlag.UPSTREAM_REMOTE_RESET, "connection_terminated"),
    (ResponseFlag.UPSTREAM_CONNECTION_FAILURE, "connection_refused"),
    (ResponseFlag.UPSTREAM_CONNECTION_TERMINATION, "connection_terminated"),
    (ResponseFlag.UPSTREAM_OVERFLOW, "connection_limit_reached"),
    (ResponseFlag.NO_ROUTE_FOUND, "destination_not_found"),
    (ResponseFlag.RATE_LIMITED, "connection_limit_reached"),
    (ResponseFlag.RATE_LIMIT_SERVICE_ERROR, "connection_limit_reached"),
    (ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED, "destination_unavailable"),
    (ResponseFlag.STREAM_IDLE_TIMEOUT, "http_response_timeout"),
    (ResponseFlag.INVALID_ENVOY_REQUEST_HEADERS, "http_request_error"),
    (ResponseFlag.UPSTREAM_MAX_STREAM_DURATION_REACHED, "http_response_timeout"),
    (ResponseFlag.NO_FILTER_CONFIG_FOUND, "proxy_configuration_error"),
    (ResponseFlag.UPSTREAM_PROTOCOL_ERROR, "http_protocol_error"),
    (ResponseFlag.NO_CLUSTER_FOUND, "destination_unavailable"),
    (ResponseFlag.DNS_RESOLUTION_FAILED, "dns_error"),
)
_RECOMMENDED: Final = {
    "connection_limit_reached": 503,
    "connection_refused": 502,
    "connection_terminated": 502,
    "connection_timeout": 504,
    "destination_not_found": 500,
    "destination_unavailable": 503,
    "dns_error": 502,
    "http_protocol_error": 502,
    "http_response_timeout": 504,
    "proxy_configuration_error": 500,
}


@record
class ProxyStatus:
    """Compiled `proxy_status_config`; `name` is what the proxy calls itself."""

    name: str
    remove_details: bool = False
    remove_connection_termination_details: bool = False
    remove_response_flags: bool = False
    set_recommended_response_code: bool = False

    def add_to(self, headers: ResponseHeaderMap, stream: StreamInfo) -> None:
        """Tell of the first of the stream's flags that means an error, if there is one."""
        flags = stream.response_flags
        error = next((error for flag, error in _ERRORS if flags & flag), None)
        if error is None:
            return
        value = f"{self.name}; error={error}"
        if not self.remove_details and stream.response_code_details is not None:
            details = [stream.response_code_details]
            if not self.remove_connection_termination_details and stream.connection_termination_details:
                details.append(stream.connection_termination_details)
            if not self.remove_response_flags:
                names = (ResponseFlag.NAMES[flag.bit_length() - 1][0] for flag in stream.response_flags_in_order())
                details.append(",".join(names))
            joined = "; ".join(details).replace("\\", "\\\\").replace('"', '\\"')
            value += f'; details="{joined}"'
        append(headers, b"proxy-status", value.encode("latin-1", "replace"), b", ")
        if self.set_recommended_response_code and error in _RECOMMENDED:
            headers.status = _RECOMMENDED[error]
