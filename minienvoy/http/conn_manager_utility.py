"""What the connection manager does to the headers of every request and response.

Envoy: `Http::ConnectionManagerUtility`; docs "HTTP header manipulation", "x-forwarded-for", "x-request-id". The order
of what is added is Envoy's, because it is to be seen on the wire.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..network.address import Address
from .header_map import KIND, ORDINARY, HeaderMap, RequestHeaderMap, ResponseHeaderMap, entry
from .original_ip_detection import NOT_DETECTED, Detection, Rejection
from .path_utility import canonical, has_escaped_slashes, merge_slashes, unescape_slashes
from .request_id import set_trace_digit

if TYPE_CHECKING:
    from ..stream_info import ConnectionInfo
    from .conn_manager_config import ConnectionManagerConfig


def _bits(names: str) -> int:
    bits = 0
    for name in names.split():
        bits |= KIND[name.encode()]
    return bits


_CONNECTION: Final = _bits("connection upgrade te")
_UPGRADE: Final = _bits("upgrade")
_PROXY_HEADERS: Final = _bits(
    "x-envoy-internal x-envoy-upstream-stream-duration-ms keep-alive proxy-connection transfer-encoding"
)
_TE: Final = _bits("te")
_XFF: Final = _bits("x-forwarded-for")
_XFP: Final = _bits("x-forwarded-proto")
_XFPORT: Final = _bits("x-forwarded-port")
_XFCC: Final = _bits("x-forwarded-client-cert")
_EDGE_ONLY: Final = _bits(
    "x-envoy-decorator-operation x-envoy-downstream-service-cluster x-envoy-downstream-service-node"
    " x-envoy-original-path x-envoy-original-host"
)
_CONTROL: Final = _bits(
    "x-envoy-retry-on x-envoy-retry-grpc-on x-envoy-max-retries x-envoy-upstream-alt-stat-name"
    " x-envoy-upstream-rq-timeout-ms x-envoy-upstream-rq-per-try-timeout-ms x-envoy-upstream-rq-timeout-alt-response"
    " x-envoy-expected-rq-timeout-ms x-envoy-force-trace x-envoy-ip-tags x-envoy-hedge-on-per-try-timeout"
    " x-envoy-original-url x-envoy-retriable-header-names x-envoy-retriable-status-codes"
)
UNUSUAL: Final = _CONNECTION | _PROXY_HEADERS | _XFF | _XFP | _XFCC | _CONTROL
"""With none of these a request needs only `x-forwarded-proto`, unless the configuration says more."""
UNUSUAL_ORDINARY: Final = UNUSUAL & ORDINARY
"""Those of them that have an ordinary name: if a request has other names, it needs to be asked for all of them."""
RESPONSE_HOP_BY_HOP: Final = _bits("connection upgrade transfer-encoding proxy-connection")
"""`keep-alive` of an upstream has been taken out by its codec: what is added here stays."""

FORWARDED_HTTP: Final = entry(b"x-forwarded-proto", b"http")
FORWARDED_HTTPS: Final = entry(b"x-forwarded-proto", b"https")
_INTERNAL: Final = entry(b"x-envoy-internal", b"true")
_SCHEMES: Final = (b"http", b"https")


def mutate_request_headers(
    headers: RequestHeaderMap, config: ConnectionManagerConfig, info: ConnectionInfo, upgrade: bool
) -> Address | Rejection | None:
    """Clean what must not be believed, add what upstreams rely on; returns the trusted client address if it is not
    the peer's, or why the request is not served."""
    seen = headers.seen
    secure = info.ssl is not None
    if config.secure_ports and info.local_address is not None and info.local_address is not info.direct_local_address:
        secure = config.secure_ports.get(info.local_address.port, secure)
    trusted: Address | Rejection | None = None
    if (
        seen & UNUSUAL
        or config.use_remote_address
        or config.internal_address is not None
        or config.route_config.internal_only_headers
        or config.original_ip_detections
    ):
        trusted = _mutate_unusual_request(headers, config, info, secure, upgrade)
        if isinstance(trusted, Rejection):
            return trusted
        seen = headers.seen
    elif not seen & _XFP:
        # The usual case: nothing that must not be believed, and nobody in between.
        headers.entries.append(FORWARDED_HTTPS if secure else FORWARDED_HTTP)
        headers.seen |= _XFP
        _introduce(headers, config, info)
    else:
        _introduce(headers, config, info)
    if config.scheme_to_overwrite:
        headers.scheme = config.scheme_to_overwrite
        headers.set(b"x-forwarded-proto", config.scheme_to_overwrite)
    elif headers.scheme:
        headers.scheme = headers.scheme.lower()
    else:
        # What stood there before is believed as far as it names a scheme.
        told = (headers.get(b"x-forwarded-proto") or b"").lower() if seen & _XFP else b""
        headers.scheme = told if told in _SCHEMES else b"https" if secure else b"http"
    return trusted


def _mutate_unusual_request(
    headers: RequestHeaderMap,
    config: ConnectionManagerConfig,
    info: ConnectionInfo,
    secure: bool,
    upgrade: bool,
) -> Address | Rejection | None:
    if headers.seen & _CONNECTION and not upgrade:
        headers.remove_kinds(_CONNECTION & ~_TE)
        if headers.seen & _TE and (te := headers.get(b"te")):
            # Only trailers may be asked for across a proxy, and with no parameters.
            if b"trailers" in map(bytes.strip, te.split(b",")):
                headers.set(b"te", b"trailers")
            else:
                headers.remove(b"te")
    headers.remove_kinds(_PROXY_HEADERS)
    peer = info.remote_address  # who a PROXY header says it is, if there was one
    assert peer is not None
    trusted: Address | None = None
    if config.use_remote_address:
        if config.xff_num_trusted_hops > 0:
            trusted, _ = last_address_from_xff(headers, config.xff_num_trusted_hops - 1)
        client = trusted or peer
        internal_allowed = not headers.seen & _XFF
        if not config.skip_xff_append and not peer.path:
            append_xff(headers, config.local_address if peer.is_loopback else peer.host)
        if config.xff_num_trusted_hops == 0 or not headers.seen & _XFP:
            headers.set(b"x-forwarded-proto", b"https" if secure else b"http")
        if config.append_x_forwarded_port and config.xff_num_trusted_hops == 0:
            _set_port(headers, info)
    else:
        if config.original_ip_detections:
            found = _detect_original_ip(headers, config, peer)
            if found.rejection is not None:
                return found.rejection
            trusted = found.address
            internal_allowed = found.trusted and trusted is not None
        else:
            trusted, single_hop = last_address_from_xff(headers, config.xff_num_trusted_hops)
            # Who says nothing of where it comes from is not taken for somebody inside.
            internal_allowed = single_hop
        client = trusted or peer
        if not headers.seen & _XFP:
            headers.set(b"x-forwarded-proto", b"https" if secure else b"http")
    if config.append_x_forwarded_port and not headers.seen & _XFPORT:
        _set_port(headers, info)
    internal = internal_allowed and config.internal_address is not None and config.internal_address(client.host)
    edge = not internal and config.use_remote_address
    if internal:
        headers.add_entry(_INTERNAL)
    else:
        if edge:
            headers.remove_kinds(_EDGE_ONLY)
        headers.remove_kinds(_CONTROL)
        for name in config.route_config.internal_only_headers:
            headers.remove(name)
    _add_user_agent_and_via(headers, config)
    if edge and not client.path:
        headers.set(b"x-envoy-external-address", client.host.encode())
    # Certificates are a matter of the connection that carried them: SANITIZE is the default.
    if config.client_cert is None:
        headers.remove_kinds(_XFCC)
    return trusted


def _introduce(headers: RequestHeaderMap, config: ConnectionManagerConfig, info: ConnectionInfo) -> None:
    if config.append_x_forwarded_port and not headers.seen & _XFPORT:
        _set_port(headers, info)
    _add_user_agent_and_via(headers, config)


def _set_port(headers: RequestHeaderMap, info: ConnectionInfo) -> None:
    local = info.local_address
    if local is not None and not local.path:
        headers.set(b"x-forwarded-port", b"%d" % local.port)


def _add_user_agent_and_via(headers: RequestHeaderMap, config: ConnectionManagerConfig) -> None:
    if config.user_agent is not None:
        headers.set(b"x-envoy-downstream-service-cluster", config.user_agent)
        if not headers.has(b"user-agent"):
            headers.set(b"user-agent", config.user_agent)
        if config.service_node:
            headers.set(b"x-envoy-downstream-service-node", config.service_node)
    if config.via:
        append(headers, b"via", config.via, b", ")


def _detect_original_ip(headers: RequestHeaderMap, config: ConnectionManagerConfig, peer: Address) -> Detection:
    found = NOT_DETECTED
    for detect in config.original_ip_detections:
        found = detect(headers, peer)
        if found.rejection is not None:
            return found
        if not found.skip_xff_append and not peer.path:
            append_xff(headers, config.local_address if peer.is_loopback else peer.host)
        if found.address is not None:
            break
    return found


def is_upgrade(headers: HeaderMap) -> bool:
    """`Utility::isUpgrade`: asks for another protocol, or grants it."""
    if not headers.seen & _UPGRADE or not headers.has(b"upgrade"):
        return False
    tokens = (headers.joined(b"connection") or b"").lower().split(b",")
    return any(token.strip() == b"upgrade" for token in tokens)


def is_edge_request(headers: RequestHeaderMap, config: ConnectionManagerConfig) -> bool:
    return config.use_remote_address and not headers.has(b"x-envoy-internal")


def set_request_id(headers: RequestHeaderMap, config: ConnectionManagerConfig) -> None:
    """`x-request-id`: made if there is none, and made anew at the edge."""
    anew = not config.preserve_external_request_id and is_edge_request(headers, config)
    if not anew and headers.get(b"x-request-id"):
        if config.packs_trace_reason and config.preserve_external_request_id and is_edge_request(headers, config):
            # The id may stay, but whether a request is traced is not for the outside to say.
            set_trace_digit(headers, b"4")
        return
    item = config.new_request_id()
    headers.set(item[0], item[1])


def append(headers: HeaderMap, name: bytes, value: bytes, separator: bytes) -> None:
    old = headers.get(name)
    headers.set(name, value if not old else old + separator + value)


def append_xff(headers: RequestHeaderMap, address: str) -> None:
    append(headers, b"x-forwarded-for", address.encode(), b",")


def last_address_from_xff(headers: RequestHeaderMap, hops_to_skip: int) -> tuple[Address | None, bool]:
    """(the address `hops_to_skip` from the right of x-forwarded-for or None, whether it was the only one)."""
    value = headers.get(b"x-forwarded-for")
    if value is None:
        return None, False
    addresses = value.decode("latin-1").split(",")
    if hops_to_skip >= len(addresses):
        return None, False
    text = addresses[len(addresses) - 1 - hops_to_skip].strip()
    try:
        return Address.ip(text, 0), len(addresses) == 1
    except ValueError:
        return None, False


def mutate_response_headers(headers: ResponseHeaderMap, upgrade: bool) -> None:
    """Drop what concerns only the upstream's connection."""
    if headers.seen & RESPONSE_HOP_BY_HOP:
        if upgrade and is_upgrade(headers):
            headers.remove_kinds(RESPONSE_HOP_BY_HOP & ~_CONNECTION)
        else:
            headers.remove_kinds(RESPONSE_HOP_BY_HOP)


# What became of a path.
PATH_OK, PATH_REJECTED, PATH_REDIRECT = 0, 1, 2


def normalize_path(headers: RequestHeaderMap, config: ConnectionManagerConfig) -> int:
    """Make the path what routes are to see; PATH_REDIRECT asks to send the client to the new one."""
    from .conn_manager_config import PathWithEscapedSlashesAction as Action

    path = headers.path
    redirect = False
    action = config.path_with_escaped_slashes
    if action is not Action.KEEP_UNCHANGED and has_escaped_slashes(path):
        path = unescape_slashes(path)
        if action is Action.REJECT_REQUEST:
            # Logs show it like this.
            headers.path = path
            return PATH_REJECTED
        redirect = action is Action.UNESCAPE_AND_REDIRECT
    if config.normalize_path:
        normal = canonical(path)
        if normal is None:
            return PATH_REJECTED
        path = normal
    if config.merge_slashes:
        path = merge_slashes(path)
    headers.path = path
    return PATH_REDIRECT if redirect else PATH_OK


def strip_host(headers: RequestHeaderMap, config: ConnectionManagerConfig) -> None:
    """`strip_trailing_host_dot`, `strip_any_host_port`, `strip_matching_host_port`."""
    host = headers.authority
    if config.strip_trailing_host_dot:
        name, colon, port = host.rpartition(b":") if host.rfind(b":") > host.rfind(b"]") else (host, b"", b"")
        if name.endswith(b"."):
            host = name[:-1] + colon + port
    if config.strip_any_host_port or config.strip_matching_host_port:
        at = host.rfind(b":")
        port = host[at + 1 :]
        has_port = at > host.rfind(b"]") and not port.strip(b"0123456789") and 0 < len(port) < 6
        if has_port and (config.strip_any_host_port or int(port) == config.strip_matching_host_port):
            host = host[:at]
    headers.authority = host
