"""`envoy.filters.listener.proxy_protocol`: who the client is, in the words of a load balancer in between.

Envoy: `Extensions::ListenerFilters::ProxyProtocol::Filter`; docs "Proxy Protocol"; haproxy's "The PROXY protocol",
versions 1 and 2.

The header is taken out of the socket; everything behind it stays. What is no header, or a wrong one, is the end.
"""

from __future__ import annotations

import codecs
import ipaddress
import json
import socket as kernel
from binascii import b2a_base64
from typing import Any, Final, NamedTuple

from ....config.fields import honours
from ....errors import ConfigError
from ....network.address import Address
from ....network.filter import LISTENER_FILTERS, FilterStatus, ListenerFilter, ListenerFilterFactory
from ....network.proxy_protocol_header import ProxyHeader, compile_pass_through
from ....network.socket import ConnectionSocket
from ....server.factory_context import FactoryContext
from ....stats.store import CounterValue, Scope, StatsStruct

TYPE: Final = "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
V1_PREFIX: Final = b"PROXY "
V2_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
MAX_V1: Final = 108
_V2_HEAD: Final = 16
MAX_V2_TLVS: Final = 65535
V1, V2 = 0, 1
"""`ProxyProtocolConfig.Version`."""

DYNAMIC_METADATA, FILTER_STATE = 0, 1
"""`ProxyProtocol.TlvLocation`."""
TLV_STATE: Final = "envoy.network.proxy_protocol.tlv"
_NAME: Final = "envoy.filters.listener.proxy_protocol"
_BASE64: Final = 2
"""`KeyValuePair.ValueStringEncoding`; the others are text, in which what is not UTF-8 becomes exclamation marks."""

honours(
    TYPE,
    "rules",
    "allow_requests_without_proxy_protocol",
    "pass_through_tlvs",
    "disallowed_versions",
    "stat_prefix",
    "tlv_location",
)
honours(f"{TYPE}.Rule", "tlv_type", "on_tlv_present")
honours(f"{TYPE}.KeyValuePair", "metadata_namespace", "key", "value_string_encoding")


class ProxyProtocolVersionStats(StatsStruct):
    disallowed: CounterValue
    error: CounterValue
    found: CounterValue


class ProxyProtocolCommonStats(StatsStruct):
    not_found_allowed: CounterValue
    not_found_disallowed: CounterValue


class LegacyProxyProtocolStats(StatsStruct):
    downstream_cx_proxy_proto_error: CounterValue


class ProxyProtocolStats:
    """`proxy_proto.*`"""

    def __init__(self, scope: Scope, prefix: str) -> None:
        self.legacy = scope.struct(LegacyProxyProtocolStats)
        own = scope.scope(f"proxy_proto.{prefix}" if prefix else "proxy_proto")
        self.common = own.struct(ProxyProtocolCommonStats)
        self.versions = tuple(own.scope(f"versions.v{at}").struct(ProxyProtocolVersionStats) for at in (1, 2))


class Malformed(Exception):
    """A header that is none."""


class Header(NamedTuple):
    """`remote` is None if the header says nothing of it (UNKNOWN, LOCAL)."""

    size: int
    remote: Address | None = None
    local: Address | None = None
    tlvs: tuple[tuple[int, bytes], ...] = ()


class Rule(NamedTuple):
    """Where a TLV goes."""

    namespace: str
    key: str
    base64: bool


class TlvSettings:
    """What becomes of TLVs."""

    def __init__(self, config: Any) -> None:
        # Of several rules for a type the last one counts.
        self._rules = {
            rule.tlv_type: Rule(
                rule.on_tlv_present.metadata_namespace or _NAME,
                rule.on_tlv_present.key,
                rule.on_tlv_present.value_string_encoding == _BASE64,
            )
            for rule in config.rules
            if rule.HasField("on_tlv_present")
        }
        self._in_state = config.tlv_location == FILTER_STATE
        self._passes = compile_pass_through(config.pass_through_tlvs if config.HasField("pass_through_tlvs") else None)

    def tell(self, socket: ConnectionSocket, header: Header) -> None:
        """Let others know of `header`."""
        assert header.remote is not None and header.local is not None
        passed = tuple(tlv for tlv in header.tlvs if self._passes(tlv[0]))
        socket.info.proxy_header = ProxyHeader(header.remote, header.local, passed)
        for kind, value in header.tlvs:
            rule = self._rules.get(kind)
            if rule is None:
                continue
            text = b2a_base64(value, newline=False).decode() if rule.base64 else _sanitized(value)
            if self._in_state:
                state = socket.info.filter_state = socket.info.filter_state or {}
                state.setdefault(TLV_STATE, TlvState())[rule.key] = text
            else:
                metadata = socket.info.dynamic_metadata = socket.info.dynamic_metadata or {}
                metadata.setdefault(rule.namespace, {}).setdefault(rule.key, text)


class TlvState(dict[str, str]):
    """Prints as JSON."""

    def __str__(self) -> str:
        return json.dumps(self, separators=(",", ":"), ensure_ascii=False)


def _sanitized(value: bytes) -> str:
    return value.decode("utf-8", "minienvoy_exclamation")


codecs.register_error("minienvoy_exclamation", lambda error: ("!", error.end))  # type: ignore[attr-defined]


NEED_MORE: Final = Header(-1)
NO_HEADER: Final = Header(0)


class ProxyProtocol(ListenerFilter):
    """One socket."""

    max_read_bytes = _V2_HEAD + MAX_V2_TLVS

    def __init__(
        self, stats: ProxyProtocolStats, optional: bool, disallowed: frozenset[int], tlvs: TlvSettings
    ) -> None:
        self._stats = stats
        self._tlvs = tlvs
        self._optional = optional
        self._disallowed = disallowed

    def on_accept(self, socket: ConnectionSocket) -> FilterStatus:
        return FilterStatus.STOP_ITERATION

    def on_data(self, socket: ConnectionSocket, peeked: bytes) -> FilterStatus:
        version = V2 if peeked[:1] == b"\r" else V1
        stats = self._stats.versions[version]
        try:
            header = parse_header(peeked, self._optional)
        except Malformed:
            stats.error += 1
            self._stats.legacy.downstream_cx_proxy_proto_error += 1
            return self._refuse()
        if header is NEED_MORE:
            return FilterStatus.STOP_ITERATION
        if header is NO_HEADER:
            if self._optional:
                self._stats.common.not_found_allowed += 1
                return FilterStatus.CONTINUE
            self._stats.common.not_found_disallowed += 1
            self._stats.legacy.downstream_cx_proxy_proto_error += 1
            return self._refuse()
        if version in self._disallowed:
            stats.disallowed += 1
            self._stats.legacy.downstream_cx_proxy_proto_error += 1
            return self._refuse()
        stats.found += 1
        try:
            socket.raw.recv(header.size)
        except OSError:
            return self._refuse()
        if header.remote is not None:
            if header.local != socket.info.local_address:
                socket.info.local_address_restored = True
            socket.info.remote_address, socket.info.local_address = header.remote, header.local
            self._tlvs.tell(socket, header)
        return FilterStatus.CONTINUE

    def _refuse(self) -> FilterStatus:
        self.callbacks.close()
        return FilterStatus.STOP_ITERATION


def parse_header(data: bytes, optional: bool = False) -> Header:
    """What is at the beginning of `data`, all that has come so far. If a header is `optional`, it is known to be
    missing as early as can be; otherwise when there are as many bytes as a header of version 2 has. A line is one of
    version 1 in any case.

    Raises:
        Malformed: the beginning of a header that can not go on like this.
    """
    if data.startswith(V2_SIGNATURE):
        return _parse_v2(data)
    if data.startswith(V1_PREFIX):
        return _parse_v1(data)
    if V2_SIGNATURE.startswith(data) or V1_PREFIX.startswith(data):
        return NEED_MORE
    if optional or len(data) >= _V2_HEAD:
        return NO_HEADER
    if b"\r\n" in data and not data.startswith(b"\r\n"):
        raise Malformed
    return NEED_MORE


def _parse_v1(data: bytes) -> Header:
    end = data.find(b"\r\n", 0, MAX_V1)
    if end < 0:
        if len(data) >= MAX_V1 - 1:
            raise Malformed
        return NEED_MORE
    size = end + 2
    parts = data[:end].decode("latin-1").split(" ")
    if parts[1] == "UNKNOWN":
        return Header(size)
    if len(parts) != 6 or parts[1] not in ("TCP4", "TCP6"):
        raise Malformed
    family = 4 if parts[1] == "TCP4" else 6
    remote, local = (_address(host, port, family) for host, port in ((parts[2], parts[4]), (parts[3], parts[5])))
    return Header(size, remote, local)


def _address(host: str, port: str, family: int) -> Address:
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        raise Malformed from None
    if ip.version != family or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise Malformed
    return Address(str(ip), int(port))


def _parse_v2(data: bytes) -> Header:
    if len(data) < _V2_HEAD:
        return NEED_MORE
    version, command = data[12] >> 4, data[12] & 15
    family, length = data[13] >> 4, int.from_bytes(data[14:16], "big")
    if version != 2 or command not in (0, 1):
        raise Malformed
    size = _V2_HEAD + length
    if command == 0:
        # About the balancer's own connection: whatever it says of addresses does not count.
        return Header(size) if len(data) >= size else NEED_MORE
    addresses = {1: 12, 2: 36}.get(family)
    if addresses is None or data[13] & 15 not in (1, 2) or length < addresses:
        raise Malformed
    if len(data) < size:
        return NEED_MORE
    tlvs = _tlvs(data[_V2_HEAD + addresses : size])
    body = data[_V2_HEAD : _V2_HEAD + addresses]
    width = 4 if family == 1 else 16
    form = kernel.AF_INET if family == 1 else kernel.AF_INET6
    ports = body[2 * width :]
    return Header(
        size,
        Address(kernel.inet_ntop(form, body[:width]), int.from_bytes(ports[:2], "big")),
        Address(kernel.inet_ntop(form, body[width : 2 * width]), int.from_bytes(ports[2:], "big")),
        tlvs,
    )


def _tlvs(data: bytes) -> tuple[tuple[int, bytes], ...]:
    found = []
    at = 0
    while at < len(data):
        end = at + 3 + int.from_bytes(data[at + 1 : at + 3], "big")
        if end > len(data):
            raise Malformed
        found.append((data[at], data[at + 3 : end]))
        at = end
    return tuple(found)


@LISTENER_FILTERS.register("envoy.filters.listener.proxy_protocol", TYPE)
def create_proxy_protocol(config: Any, context: FactoryContext) -> ListenerFilterFactory:
    stats = ProxyProtocolStats(context.scope, config.stat_prefix)
    optional = config.allow_requests_without_proxy_protocol
    disallowed = frozenset(config.disallowed_versions)
    if {V1, V2} <= disallowed:
        raise ConfigError(
            "Proxy Protocol filter is misconfigured: all proxy protocol versions are disallowed.",
            "disallowed_versions",
        )
    tlvs = TlvSettings(config)
    return lambda: ProxyProtocol(stats, optional, disallowed, tlvs)
