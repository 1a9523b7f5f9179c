"""Permissions and principals, compiled to functions.

Envoy: `Filters::Common::RBAC::Matcher` and its children (`matchers.h`). A function takes the headers (none, for a
connection), the stream, and the connection below it, whose addresses no header changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from .....config.extension import create_extension, find_extension
from .....config.fields import honours
from .....errors import ConfigError
from .....http.header_map import RequestHeaderMap
from .....matchers.header import HeaderMatcher
from .....matchers.string import compile_string_matcher
from .....matchers.value import MetadataMatcher
from .....network.cidr import CidrRange
from .....registry import Registry
from .....router.route_matcher import compile_filter_state_matcher, compile_path_matcher
from .....stream_info import ConnectionInfo, StreamInfo

_TYPE: Final = "envoy.config.rbac.v3"

honours(
    f"{_TYPE}.Permission",
    "and_rules",
    "or_rules",
    "not_rule",
    "any",
    "header",
    "url_path",
    "destination_ip",
    "destination_port",
    "destination_port_range",
    "metadata",
    "sourced_metadata",
    "requested_server_name",
    "matcher",
    "uri_template",
)
honours(f"{_TYPE}.Permission.Set", "rules")
honours(
    f"{_TYPE}.Principal",
    "and_ids",
    "or_ids",
    "not_id",
    "any",
    "header",
    "url_path",
    "authenticated",
    "source_ip",
    "direct_remote_ip",
    "remote_ip",
    "metadata",
    "sourced_metadata",
    "filter_state",
    "custom",
)
honours(f"{_TYPE}.Principal.Set", "ids")
honours(f"{_TYPE}.Principal.Authenticated", "principal_name")
honours(f"{_TYPE}.SourcedMetadata", "metadata_matcher", "metadata_source")
honours("envoy.type.matcher.v3.PathMatcher", "path")
honours("envoy.type.v3.Int32Range", "start", "end")

Rule = Callable[[RequestHeaderMap, StreamInfo, ConnectionInfo], bool]

PERMISSION_MATCHERS: Registry[Callable[[Any], Rule]] = Registry("envoy.rbac.matchers")
PRINCIPALS: Registry[Callable[[Any], Rule]] = Registry("envoy.rbac.principals")

_DYNAMIC = 0


def compile_permissions(protos: Iterable[Any], path: str) -> Rule:
    """One of them is enough. Raises ConfigError as the matchers in them do."""
    return any_of([_permission(each, f"{path}[{at}]") for at, each in enumerate(protos)])


def compile_principals(protos: Iterable[Any], path: str) -> Rule:
    """One of them is enough. Raises ConfigError as the matchers in them do."""
    return any_of([_principal(each, f"{path}[{at}]") for at, each in enumerate(protos)])


def any_of(rules: list[Rule]) -> Rule:
    if len(rules) == 1:
        return rules[0]

    def holds(headers: RequestHeaderMap, stream: StreamInfo, below: ConnectionInfo) -> bool:
        return any(rule(headers, stream, below) for rule in rules)

    return holds


def all_of(rules: list[Rule]) -> Rule:
    def holds(headers: RequestHeaderMap, stream: StreamInfo, below: ConnectionInfo) -> bool:
        return all(rule(headers, stream, below) for rule in rules)

    return holds


def _not(rule: Rule) -> Rule:
    return lambda headers, stream, below: not rule(headers, stream, below)


def always(headers: RequestHeaderMap, stream: StreamInfo, below: ConnectionInfo) -> bool:
    return True


def _permission(proto: Any, path: str) -> Rule:
    kind = proto.WhichOneof("rule")
    here = f"{path}.{kind}"
    if kind in ("and_rules", "or_rules"):
        rules = [_permission(each, f"{here}.rules[{at}]") for at, each in enumerate(getattr(proto, kind).rules)]
        return all_of(rules) if kind == "and_rules" else any_of(rules)
    if kind == "not_rule":
        return _not(_permission(proto.not_rule, here))
    if kind == "destination_ip":
        destinations = _range(proto.destination_ip, here)
        return lambda headers, stream, below: stream.connection.local_address in destinations
    if kind == "destination_port":
        return _port(proto.destination_port, proto.destination_port + 1)
    if kind == "destination_port_range":
        return _port_range(proto.destination_port_range, here)
    if kind == "requested_server_name":
        test = compile_string_matcher(proto.requested_server_name, here)
        return lambda headers, stream, below: test(below.requested_server_name.encode())
    if kind == "matcher":
        return create_extension(find_extension(PERMISSION_MATCHERS, proto.matcher, here), proto.matcher, here)
    if kind == "uri_template":
        matches = compile_path_matcher(proto.uri_template, here).matches
        return lambda headers, stream, below: matches(path_of(headers))
    return _either(proto, kind, here)


def _principal(proto: Any, path: str) -> Rule:
    kind = proto.WhichOneof("identifier")
    here = f"{path}.{kind}"
    if kind in ("and_ids", "or_ids"):
        ids = [_principal(each, f"{here}.ids[{at}]") for at, each in enumerate(getattr(proto, kind).ids)]
        return all_of(ids) if kind == "and_ids" else any_of(ids)
    if kind == "not_id":
        return _not(_principal(proto.not_id, here))
    if kind == "authenticated":
        return _authenticated(proto.authenticated, here)
    if kind in ("source_ip", "direct_remote_ip", "remote_ip"):
        return _address(kind, _range(getattr(proto, kind), here))
    if kind == "filter_state":
        state = compile_filter_state_matcher(proto.filter_state, here)
        return lambda headers, stream, below: state(stream)
    if kind == "custom":
        return create_extension(find_extension(PRINCIPALS, proto.custom, here), proto.custom, here)
    return _either(proto, kind, here)


def _either(proto: Any, kind: str | None, path: str) -> Rule:
    """What permissions and principals have in common."""
    if kind == "any":
        return always
    if kind == "header":
        matches = HeaderMatcher.from_proto(proto.header, path).matches
        return lambda headers, stream, below: matches(headers)
    if kind == "url_path":
        fits = compile_string_matcher(proto.url_path.path, f"{path}.path")
        return lambda headers, stream, below: headers.path != b"" and fits(path_of(headers))
    if kind == "metadata":
        return _metadata(MetadataMatcher.from_proto(proto.metadata, path))
    if kind == "sourced_metadata":
        sourced = proto.sourced_metadata
        matcher = MetadataMatcher.from_proto(sourced.metadata_matcher, f"{path}.metadata_matcher")
        if sourced.metadata_source == _DYNAMIC:
            return _metadata(matcher)
        return lambda headers, stream, below: matcher.matches(stream.route_metadata)
    raise ConfigError("a rule needs to say what it asks for", path)


def path_of(headers: RequestHeaderMap) -> bytes:
    """Without query and fragment."""
    return headers.path.partition(b"?")[0].partition(b"#")[0]


def _range(proto: Any, path: str) -> CidrRange:
    try:
        return CidrRange.from_proto(proto, path)
    except ConfigError as error:
        raise ConfigError(f"Failed to create CIDR range: {error.problem}", error.path) from None


def _port(start: int, end: int) -> Rule:
    def holds(headers: RequestHeaderMap, stream: StreamInfo, below: ConnectionInfo) -> bool:
        local = stream.connection.local_address
        return local is not None and not local.path and start <= local.port < end

    return holds


def _port_range(proto: Any, path: str) -> Rule:
    start, end = proto.start, proto.end
    for name, number in (("start", start), ("end", end)):
        if not 0 <= number <= 65536:
            raise ConfigError(f"range {name} {number} is out of bounds", f"{path}.{name}")
    if start >= end:
        raise ConfigError(f"range start {start} cannot be greater or equal than range end {end}", path)
    return _port(start, end)


def _address(kind: str, addresses: CidrRange) -> Rule:
    if kind == "remote_ip":
        return lambda headers, stream, below: stream.connection.remote_address in addresses
    if kind == "direct_remote_ip":
        return lambda headers, stream, below: below.direct_remote_address in addresses
    return lambda headers, stream, below: below.remote_address in addresses


def _metadata(matcher: MetadataMatcher) -> Rule:
    def holds(headers: RequestHeaderMap, stream: StreamInfo, below: ConnectionInfo) -> bool:
        metadata = stream._dynamic_metadata
        if headers is NO_HEADERS and below.dynamic_metadata is not None:
            # A connection has what its listener filters have said, too.
            metadata = {**below.dynamic_metadata, **(metadata or {})}
        return matcher.matches(metadata)

    return holds


NO_HEADERS: Final = RequestHeaderMap(b"", b"", b"")
"""Of a connection."""


def _authenticated(proto: Any, path: str) -> Rule:
    """Every connection that is encrypted, with or without a certificate; or one of the names in it, the URIs, the
    DNS names or else the subject, is the principal's."""
    if not proto.HasField("principal_name"):
        return lambda headers, stream, below: below.ssl is not None
    test = compile_string_matcher(proto.principal_name, f"{path}.principal_name")

    def holds(headers: RequestHeaderMap, stream: StreamInfo, below: ConnectionInfo) -> bool:
        ssl = below.ssl
        if ssl is None:
            return False
        for name in ssl.uri_san_peer_certificate:
            if test(name.encode()):
                return True
        for name in ssl.dns_sans_peer_certificate:
            if test(name.encode()):
                return True
        return test(ssl.subject_peer_certificate.encode())

    return holds
