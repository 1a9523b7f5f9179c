"""What an authorization server is told: the headers and the body of a request, and `CheckRequest` for gRPC.

Envoy: `Filters::Common::ExtAuthz::CheckRequestUtils`, `HeaderKeyMatcher`; `envoy.service.auth.v3.AttributeContext`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from .....config.api import message_class
from .....matchers.regex import BytesPredicate
from .....matchers.string import compile_string_matcher
from .....record import record

if TYPE_CHECKING:
    from .....http.header_map import RequestHeaderMap
    from .....network.address import Address
    from .....stream_info import ConnectionInfo, StreamInfo

PARTIAL_BODY: Final = b"x-envoy-auth-partial-body"
_ALWAYS: Final = (b"authorization", b":method", b":path", b":authority")

Metadata = Mapping[str, Mapping[str, Any]]


def sanitized(value: bytes | str) -> str:
    """As text, `!` in the place of each byte that is no UTF-8 (`MessageUtil::sanitizeUtf8String`)."""
    raw = value.encode("latin-1", "replace") if isinstance(value, str) else value
    text = raw.decode("utf-8", "surrogateescape")
    return text if text.isascii() else "".join("!" if "\udc80" <= each <= "\udcff" else each for each in text)


def compile_key_matchers(proto: Any, path: str, *, http: bool = False) -> BytesPredicate:
    """From a `ListStringMatcher`: whether one of them matches a name. With `http`, what such a server needs does, too.

    Raises:
        ConfigError: a pattern that is none.
    """
    tests = [compile_string_matcher(each, f"{path}.patterns[{at}]") for at, each in enumerate(proto.patterns)]
    if http:
        tests.append(_ALWAYS.__contains__)
    return lambda name: any(test(name) for test in tests)


@record
class HeaderRules:
    """Which headers the server is told of; None is no rule."""

    allowed: BytesPredicate | None = None
    disallowed: BytesPredicate | None = None

    def select(self, headers: RequestHeaderMap) -> Iterator[tuple[bytes, bytes]]:
        """Names and values, pseudo-headers first, as often as they are there."""
        for name in headers.pseudo_order:
            if self._lets(name):
                yield name, headers.get(name) or b""
        for item in headers.entries:
            if item[0] != PARTIAL_BODY and self._lets(item[0]):
                yield item[0], item[1]

    def joined(self, headers: RequestHeaderMap) -> dict[bytes, bytes]:
        """The same, those that come twice joined by commas."""
        found: dict[bytes, bytes] = {}
        for name, value in self.select(headers):
            found[name] = b"%b,%b" % (found[name], value) if name in found else value
        return found

    def _lets(self, name: bytes) -> bool:
        if self.disallowed is not None and self.disallowed(name):
            return False
        return self.allowed is None or self.allowed(name)


@record
class PeerSettings:
    """What is told of the two ends of a connection; `labels` are this proxy's."""

    include_certificate: bool
    include_tls_session: bool
    labels: Mapping[str, str]

    @classmethod
    def from_proto(cls, proto: Any, node: Any) -> PeerSettings:
        """From either filter's configuration."""
        labels: dict[str, str] = {}
        fields = node.metadata.fields
        if proto.bootstrap_metadata_labels_key in fields:
            found = fields[proto.bootstrap_metadata_labels_key].struct_value.fields
            labels = {key: value.string_value for key, value in found.items()}
        return cls(proto.include_peer_certificate, proto.include_tls_session, labels)

    def fill(self, attributes: Any, connection: ConnectionInfo, service: str, own_service: str) -> None:
        """Into an `AttributeContext`."""
        _fill_peer(attributes.source, connection.remote_address, connection.ssl, local=False)
        _fill_peer(attributes.destination, connection.local_address, connection.ssl, local=True)
        attributes.source.service = service
        attributes.destination.service = own_service
        if self.include_certificate and connection.ssl is not None:
            attributes.source.certificate = connection.ssl.url_encoded_pem_peer_certificate
        for key, value in self.labels.items():
            attributes.destination.labels[key] = value
        if self.include_tls_session:
            session = attributes.tls_session
            session.SetInParent()
            session.sni = (connection.ssl.sni if connection.ssl is not None else "") or connection.requested_server_name


def _fill_peer(peer: Any, address: Address | None, ssl: Any, *, local: bool) -> None:
    if address is not None and address.is_internal:
        peer.address.envoy_internal_address.server_listener_name = address.internal_listener
        peer.address.envoy_internal_address.endpoint_id = address.endpoint_id
    elif address is not None and address.path:
        peer.address.pipe.path = address.path
    elif address is not None:
        peer.address.socket_address.address = address.host
        peer.address.socket_address.port_value = address.port
    if ssl is not None:
        end = "local" if local else "peer"
        names = getattr(ssl, f"uri_san_{end}_certificate") or getattr(ssl, f"dns_sans_{end}_certificate")
        peer.principal = sanitized(names[0] if names else getattr(ssl, f"subject_{end}_certificate"))


def fill_metadata(metadata: Any, sources: Iterable[Metadata | None], namespaces: Iterable[str]) -> None:
    """Into a `core.v3.Metadata`: of each namespace what the first source has that knows it."""
    known = [source for source in sources if source]
    for name in namespaces:
        for source in known:
            if name in source:
                metadata.filter_metadata[name].update(source[name])
                break


class CheckRequests:
    """Makes the requests of a gRPC server; `raw_headers` and `raw_body`: as they are, not as text.

    `next_id` draws the id of a stream.
    """

    def __init__(
        self,
        peers: PeerSettings,
        rules: HeaderRules | None = None,
        *,
        raw_headers: bool = False,
        raw_body: bool = False,
        next_id: Callable[[], int] | None = None,
    ) -> None:
        self._make = message_class("envoy.service.auth.v3.CheckRequest")
        self._peers = peers
        self._rules = rules or HeaderRules()
        self._raw_headers = raw_headers
        self._raw_body = raw_body
        self._next_id = next_id

    def of_connection(self, connection: ConnectionInfo) -> Any:
        """`createTcpCheck`."""
        request = self._make()
        self._peers.fill(request.attributes, connection, "", connection.requested_server_name)
        return request

    def of_request(
        self,
        headers: RequestHeaderMap,
        stream: StreamInfo,
        connection: ConnectionInfo,
        body: bytes | None,
        partial: bool,
    ) -> Any:
        """`createHttpCheck`; a `body` of None is one that the server is not told of."""
        request = self._make()
        attributes = request.attributes
        service = headers.get(b"x-envoy-downstream-service-cluster")
        self._peers.fill(attributes, connection, sanitized(service or b""), "")
        attributes.request.time.FromNanoseconds(int(stream.start_time * 1e9))
        http = attributes.request.http
        http.id = str(self._next_id()) if self._next_id is not None else ""
        http.method = sanitized(headers.method)
        http.path = sanitized(headers.path)
        http.host = sanitized(headers.authority)
        http.scheme = sanitized(headers.scheme)
        http.size = stream.bytes_received
        http.protocol = stream.protocol or ""
        if self._raw_headers:
            http.header_map.SetInParent()
            for name, value in self._rules.select(headers):
                http.header_map.headers.add(key=sanitized(name), raw_value=value)
        else:
            for name, value in self._rules.joined(headers).items():
                http.headers[sanitized(name)] = sanitized(value)
        if body is not None:
            if self._raw_body:
                http.raw_body = body
            else:
                http.body = sanitized(body)
            told = "true" if partial else "false"
            if self._raw_headers:
                http.header_map.headers.add(key=PARTIAL_BODY.decode(), raw_value=told.encode())
            else:
                http.headers[PARTIAL_BODY.decode()] = told
        return request
