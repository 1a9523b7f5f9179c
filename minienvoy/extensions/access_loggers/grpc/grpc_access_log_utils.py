"""What entries for requests and for connections have in common.

Envoy: `AccessLoggers::GrpcCommon::Utility::extractCommonAccessLogProperties`.
"""

from __future__ import annotations

import ssl as openssl
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from ....access_log.context import FormatterContext
from ....config.api import message_class
from ....config.fields import honours
from ....errors import ConfigError
from ....network.address import Address
from ....server.factory_context import ServerContext
from ....stream_info import FieldsState, MessageState, ResponseFlag, StreamInfo, StructuredState
from ....tracing.custom_tag import compile_custom_tags
from ...filters.common.ext_authz.check_request import sanitized

Fill = Callable[[Any, FormatterContext], None]
"""Fills an `AccessLogCommon` in."""

honours(
    "envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig", "custom_tags", "filter_state_objects_to_log"
)

_TLS_VERSIONS: Final = {"TLSv1": "TLSv1", "TLSv1.1": "TLSv1_1", "TLSv1.2": "TLSv1_2", "TLSv1.3": "TLSv1_3"}
_EXTERNAL_SERVICE: Final = 1
_FLAGS: Final = (
    (ResponseFlag.FAILED_LOCAL_HEALTH_CHECK, "failed_local_healthcheck"),
    (ResponseFlag.NO_HEALTHY_UPSTREAM, "no_healthy_upstream"),
    (ResponseFlag.UPSTREAM_REQUEST_TIMEOUT, "upstream_request_timeout"),
    (ResponseFlag.LOCAL_RESET, "local_reset"),
    (ResponseFlag.UPSTREAM_REMOTE_RESET, "upstream_remote_reset"),
    (ResponseFlag.UPSTREAM_CONNECTION_FAILURE, "upstream_connection_failure"),
    (ResponseFlag.UPSTREAM_CONNECTION_TERMINATION, "upstream_connection_termination"),
    (ResponseFlag.UPSTREAM_OVERFLOW, "upstream_overflow"),
    (ResponseFlag.NO_ROUTE_FOUND, "no_route_found"),
    (ResponseFlag.DELAY_INJECTED, "delay_injected"),
    (ResponseFlag.FAULT_INJECTED, "fault_injected"),
    (ResponseFlag.RATE_LIMITED, "rate_limited"),
    (ResponseFlag.RATE_LIMIT_SERVICE_ERROR, "rate_limit_service_error"),
    (ResponseFlag.DOWNSTREAM_CONNECTION_TERMINATION, "downstream_connection_termination"),
    (ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED, "upstream_retry_limit_exceeded"),
    (ResponseFlag.STREAM_IDLE_TIMEOUT, "stream_idle_timeout"),
    (ResponseFlag.INVALID_ENVOY_REQUEST_HEADERS, "invalid_envoy_request_headers"),
    (ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR, "downstream_protocol_error"),
    (ResponseFlag.UPSTREAM_MAX_STREAM_DURATION_REACHED, "upstream_max_stream_duration_reached"),
    (ResponseFlag.RESPONSE_FROM_CACHE_FILTER, "response_from_cache_filter"),
    (ResponseFlag.NO_FILTER_CONFIG_FOUND, "no_filter_config_found"),
    (ResponseFlag.DURATION_TIMEOUT, "duration_timeout"),
    (ResponseFlag.UPSTREAM_PROTOCOL_ERROR, "upstream_protocol_error"),
    (ResponseFlag.NO_CLUSTER_FOUND, "no_cluster_found"),
    (ResponseFlag.OVERLOAD_MANAGER_TERMINATED, "overload_manager"),
    (ResponseFlag.DNS_RESOLUTION_FAILED, "dns_resolution_failure"),
    (ResponseFlag.DOWNSTREAM_REMOTE_RESET, "downstream_remote_reset"),
)
_TIMES: Final = (
    ("duration", "request_complete_time"),
    ("time_to_last_rx_byte", "last_downstream_rx_byte_time"),
    ("time_to_first_upstream_tx_byte", "first_upstream_tx_byte_time"),
    ("time_to_last_upstream_tx_byte", "last_upstream_tx_byte_time"),
    ("time_to_first_upstream_rx_byte", "first_upstream_rx_byte_time"),
    ("time_to_last_upstream_rx_byte", "last_upstream_rx_byte_time"),
    ("time_to_first_downstream_tx_byte", "first_downstream_tx_byte_time"),
    ("time_to_last_downstream_tx_byte", "last_downstream_tx_byte_time"),
)


def fill_address(proto: Any, address: Address) -> None:
    """Into an `envoy.config.core.v3.Address`."""
    if address.path:
        proto.pipe.path = address.path
    else:
        proto.socket_address.address = address.host
        proto.socket_address.port_value = address.port


def compile_common_properties(config: Any, server: ServerContext) -> Fill:
    """Of a `CommonGrpcAccessLogConfig`; raises ConfigError below it."""
    server.byte_meters = True
    tags = compile_custom_tags(config.custom_tags, "custom_tags", server)
    states = tuple(config.filter_state_objects_to_log)
    new_id = server.random.uuid4("access_log.stream_id")
    common = message_class("envoy.data.accesslog.v3.AccessLogCommon").DESCRIPTOR
    types = {each.name: each.number for each in common.fields_by_name["access_log_type"].enum_type.values}

    def fill(proto: Any, context: FormatterContext) -> None:
        info = context.stream_info
        _fill_downstream(proto, info)
        proto.start_time.FromNanoseconds(round(info.start_time * 1_000_000) * 1000)
        for name, attribute in _TIMES:
            point = getattr(info, attribute)
            if point is not None:
                getattr(proto, name).FromNanoseconds(round((point - info.start_monotonic) * 1e9))
        _fill_upstream(proto, info)
        if info.route_name:
            proto.route_name = sanitized(info.route_name.encode())
        proto.upstream_request_attempt_count = info.attempt_count or 0
        proto.connection_termination_details = info.connection_termination_details or ""
        if not info.request_id and type(info) is StreamInfo:
            info.request_id = new_id()
        proto.stream_id = info.request_id
        _fill_flags(proto, info)
        for namespace, values in (info._dynamic_metadata or {}).items():
            proto.metadata.filter_metadata[namespace].update(values)
        for key in states:
            _fill_state(proto, key, info.state(key))
        for name, tag in tags.items():
            value = tag(context)
            if value is not None:
                proto.custom_tags[name] = value
        proto.intermediate_log_entry = info.request_complete_time is None
        proto.downstream_wire_bytes_sent = info.downstream_wire_bytes_sent
        proto.downstream_wire_bytes_received = info.downstream_wire_bytes_received
        proto.upstream_wire_bytes_sent = info.upstream_wire_bytes_sent
        proto.upstream_wire_bytes_received = info.upstream_wire_bytes_received
        proto.access_log_type = types.get(context.access_log_type, 0)

    return fill


def _fill_downstream(proto: Any, info: StreamInfo) -> None:
    connection = info.connection
    if connection.remote_address is not None:
        fill_address(proto.downstream_remote_address, connection.remote_address)
    if connection.direct_remote_address is not None:
        fill_address(proto.downstream_direct_remote_address, connection.direct_remote_address)
    if connection.local_address is not None:
        fill_address(proto.downstream_local_address, connection.local_address)
    if connection.requested_server_name:
        proto.tls_properties.tls_sni_hostname = sanitized(connection.requested_server_name.encode())
    if connection.ja3_hash:
        proto.tls_properties.ja3_fingerprint = connection.ja3_hash
    if info.downstream_transport_failure_reason:
        proto.downstream_transport_failure_reason = info.downstream_transport_failure_reason
    ssl = connection.ssl
    if ssl is None:
        return
    tls = proto.tls_properties
    for end, certificate in (("local", tls.local_certificate_properties), ("peer", tls.peer_certificate_properties)):
        certificate.SetInParent()
        for uri in getattr(ssl, f"uri_san_{end}_certificate"):
            certificate.subject_alt_name.add(uri=sanitized(uri.encode()))
        certificate.subject = sanitized(getattr(ssl, f"subject_{end}_certificate").encode())
    tls.peer_certificate_properties.issuer = sanitized(ssl.issuer_peer_certificate.encode())
    tls.tls_session_id = ssl.session_id
    version = tls.DESCRIPTOR.enum_types_by_name["TLSVersion"].values_by_name
    tls.tls_version = version[_TLS_VERSIONS.get(ssl.tls_version, "VERSION_UNSPECIFIED")].number
    tls.tls_cipher_suite.value = _cipher_suites().get(ssl.ciphersuite, 0xFFFF)


@cache
def _cipher_suites() -> dict[str, int]:
    """OpenSSL's names, and the numbers that TLS gives them."""
    context = openssl.SSLContext(openssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    return {each["name"]: each["id"] & 0xFFFF for each in context.get_ciphers()}


def _fill_upstream(proto: Any, info: StreamInfo) -> None:
    if info.upstream_host is not None:
        fill_address(proto.upstream_remote_address, info.upstream_host.address)
        proto.upstream_cluster = info.upstream_cluster_name or ""
    connection = info.upstream_connection
    if connection is not None and connection.local_address is not None:
        fill_address(proto.upstream_local_address, connection.local_address)
    if info.upstream_transport_failure_reason:
        proto.upstream_transport_failure_reason = sanitized(info.upstream_transport_failure_reason)


def _fill_flags(proto: Any, info: StreamInfo) -> None:
    flags = info.response_flags
    if not flags:
        return
    for flag, name in _FLAGS:
        if flags & flag:
            setattr(proto.response_flags, name, True)
    if flags & ResponseFlag.UNAUTHORIZED_EXTERNAL_SERVICE:
        proto.response_flags.unauthorized_details.reason = _EXTERNAL_SERVICE


def _fill_state(proto: Any, key: str, state: Any) -> None:
    """As a message, if it can be one: texts are `StringValue`s, other things `Struct`s."""
    if isinstance(state, MessageState):
        state = state.message
    elif state is None or isinstance(state, FieldsState):
        return
    if isinstance(state, StructuredState | dict):
        packed = message_class("google.protobuf.Struct")()
        packed.update(state)
    else:
        packed = message_class("google.protobuf.StringValue")(value=sanitized(str(state).encode()))
    proto.filter_state_objects[key].Pack(packed)


def below_common_config(error: ConfigError, path: str) -> ConfigError:
    return error.below("common_config").below(path)
