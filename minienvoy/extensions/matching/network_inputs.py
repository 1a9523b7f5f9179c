"""Inputs of match trees that read what is known of the connection.

Envoy: `source/common/network/matching/inputs.h`, `source/extensions/matching/common_inputs/network`. Nearly all of them
can be used for connections and for requests, some for datagrams.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...config.fields import honours
from ...http.matching import HTTP_INPUTS, ConnectionData
from ...matchers.match_tree import MatchInput
from ...matchers.value import MISSING
from ...network.address import Address
from ...server.filter_chain_matcher import NETWORK_INPUTS, NetworkMatchingData
from ...server.udp_matching import UDP_INPUTS

_TYPE = "envoy.extensions.matching.common_inputs.network.v3"

honours(f"{_TYPE}.FilterStateInput", "key")
honours(f"{_TYPE}.DynamicMetadataInput", "filter", "path")
honours(f"{_TYPE}.DynamicMetadataInput.PathSegment", "key")


def _ip(address: Address | None) -> bytes | None:
    return None if address is None or address.path else address.host.encode()


def _port(address: Address | None) -> bytes | None:
    return None if address is None or address.path else b"%d" % address.port


def _source_type(data: ConnectionData) -> bytes | None:
    local, remote = data.info.local_address, data.info.remote_address
    if local is None or remote is None:
        return None
    same = remote.host == local.host or bool(remote.path) or remote.is_loopback
    return b"local" if same else None


def _application_protocols(data: NetworkMatchingData) -> bytes | None:
    protocols = data.socket.requested_application_protocols
    return ",".join(f"'{each}'" for each in protocols).encode() if protocols else None


def _text(value: Any) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return str(value).encode()


_PLAIN: dict[str, tuple[str, Callable[[ConnectionData], bytes | None]]] = {
    "DestinationIPInput": ("destination_ip", lambda data: _ip(data.info.local_address)),
    "DestinationPortInput": ("destination_port", lambda data: _port(data.info.local_address)),
    "SourceIPInput": ("source_ip", lambda data: _ip(data.info.remote_address)),
    "SourcePortInput": ("source_port", lambda data: _port(data.info.remote_address)),
    "DirectSourceIPInput": ("direct_source_ip", lambda data: _ip(data.info.direct_remote_address)),
    "SourceTypeInput": ("source_type", _source_type),
    # No listener has a network namespace of its own.
    "NetworkNamespaceInput": ("network_namespace", lambda data: None),
    "ServerNameInput": ("server_name", lambda data: data.info.requested_server_name.encode() or None),
}


def _always(read: MatchInput) -> Callable[[Any, Any], MatchInput]:
    return lambda config, server: read


for _name, (_short, _read) in _PLAIN.items():
    honours(f"{_TYPE}.{_name}")
    for _inputs in (HTTP_INPUTS, NETWORK_INPUTS):
        _inputs.register(f"envoy.matching.inputs.{_short}", f"{_TYPE}.{_name}")(_always(_read))

for _name, _of_datagram in (
    ("DestinationIPInput", lambda data: _ip(data.local_address)),
    ("DestinationPortInput", lambda data: _port(data.local_address)),
    ("SourceIPInput", lambda data: _ip(data.peer_address)),
    ("SourcePortInput", lambda data: _port(data.peer_address)),
):
    UDP_INPUTS.register(f"envoy.matching.inputs.{_PLAIN[_name][0]}", f"{_TYPE}.{_name}")(_always(_of_datagram))

honours(f"{_TYPE}.TransportProtocolInput")
NETWORK_INPUTS.register("envoy.matching.inputs.transport_protocol", f"{_TYPE}.TransportProtocolInput")(
    _always(lambda data: data.socket.detected_transport_protocol.encode() or None)
)
honours(f"{_TYPE}.ApplicationProtocolInput")
NETWORK_INPUTS.register("envoy.matching.inputs.application_protocol", f"{_TYPE}.ApplicationProtocolInput")(
    _always(_application_protocols)
)


@HTTP_INPUTS.register("envoy.matching.inputs.filter_state", f"{_TYPE}.FilterStateInput")
@NETWORK_INPUTS.register("envoy.matching.inputs.filter_state", f"{_TYPE}.FilterStateInput")
def create_filter_state_input(config: Any, server: Any) -> MatchInput:
    """An object that filters share, as text."""
    key = config.key
    return lambda data: _text((data.filter_state or {}).get(key))


@HTTP_INPUTS.register("envoy.matching.inputs.dynamic_metadata", f"{_TYPE}.DynamicMetadataInput")
def create_dynamic_metadata_input(config: Any, server: Any) -> MatchInput:
    """A plain value, for the metadata matcher; `MISSING` if there is none."""
    keys = (config.filter, *(segment.key for segment in config.path))

    def read(data: ConnectionData) -> Any:
        value: Any = data.dynamic_metadata
        for key in keys:
            if not isinstance(value, dict) or key not in value:
                return MISSING
            value = value[key]
        return value

    return read
