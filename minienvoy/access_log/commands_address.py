"""Commands about the two ends of the connections on both sides.

Envoy: `StreamInfoAddressFormatterProvider`, `StreamInfo::Utility::formatDownstreamAddressNoPort`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_network
from typing import Final

from ..network.address import Address
from ..stream_info import HostDescription, StreamInfo
from .command import PARAMS_OPTIONAL, Arguments, Command, CommandTable, Maker, command, reads, simple, wire
from .context import FormatterContext

AddressOf = Callable[[StreamInfo], "Address | None"]


def _upstream_local(info: StreamInfo) -> Address | None:
    return None if info.upstream_connection is None else info.upstream_connection.local_address


def _upstream_remote(info: StreamInfo) -> Address | None:
    return None if info.upstream_connection is None else info.upstream_connection.remote_address


_ADDRESSES: Final[dict[str, AddressOf]] = {
    "UPSTREAM_LOCAL": _upstream_local,
    "UPSTREAM_REMOTE": _upstream_remote,
    "DOWNSTREAM_LOCAL": lambda info: info.connection.local_address,
    "DOWNSTREAM_DIRECT_LOCAL": lambda info: info.connection.direct_local_address,
    "DOWNSTREAM_REMOTE": lambda info: info.connection.remote_address,
    "DOWNSTREAM_DIRECT_REMOTE": lambda info: info.connection.direct_remote_address,
}


def _host_name(host: HostDescription) -> str:
    return wire(host.hostname) or host.address.text


def _without_port(name: str) -> str:
    """A host and port without the port (`Http::HeaderUtility::stripPortFromHost`)."""
    host, colon, port = name.rpartition(":")
    if not colon or not port.isdigit() or (":" in host and host[-1:] != "]"):
        return name
    return host


def _host_without_port(address: Address) -> str:
    """The address alone; the path of a unix socket (`formatDownstreamAddressNoPort`)."""
    return address.host or address.text


def _attempted(write: Callable[[HostDescription], str]) -> Callable[[StreamInfo], str | None]:
    return lambda info: ",".join(map(write, info.attempted_hosts)) or None


def _of_host(write: Callable[[HostDescription], str]) -> Callable[[StreamInfo], str | None]:
    return lambda info: None if info.upstream_host is None else write(info.upstream_host)


COMMANDS: Final[CommandTable] = reads(
    {
        "UPSTREAM_HOST_NAME": _of_host(_host_name),
        "UPSTREAM_HOST_NAME_WITHOUT_PORT": _of_host(lambda host: _without_port(_host_name(host))),
        "UPSTREAM_HOSTS_ATTEMPTED": _attempted(lambda host: host.address.text),
        "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT": _attempted(lambda host: _host_without_port(host.address)),
        "UPSTREAM_HOST_NAMES_ATTEMPTED": _attempted(_host_name),
        "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT": _attempted(lambda host: _without_port(_host_name(host))),
        # Only internal listeners have endpoint ids.
        "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID": lambda info: None if _upstream_remote(info) is None else "",
        "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID": lambda info: "",
        "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID": lambda info: "",
    }
)


@command(COMMANDS, "UPSTREAM_HOST")
def _upstream_host(arguments: Arguments) -> Command:
    def text(context: FormatterContext) -> str | None:
        host = context.stream_info.upstream_host
        return None if host is None else host.address.text

    return simple(text)


def _text_of(address_of: AddressOf) -> Callable[[StreamInfo], str | None]:
    def text(info: StreamInfo) -> str | None:
        address = address_of(info)
        return None if address is None else address.text

    return text


def _port_of(address_of: AddressOf) -> Callable[[StreamInfo], int | None]:
    def port(info: StreamInfo) -> int | None:
        address = address_of(info)
        return None if address is None or address.path else address.port

    return port


def _host_of(address_of: AddressOf) -> Maker:
    """`..._WITHOUT_PORT(PREFIX)`: with a prefix length, the network that the address is in."""

    def make(arguments: Arguments) -> Command:
        prefix = int(arguments.argument) if re.fullmatch(r"[-+]?[0-9]{1,9}", arguments.argument, re.ASCII) else None

        def text(info: StreamInfo) -> str | None:
            address = address_of(info)
            if address is None:
                return None
            if prefix is None or not address.host:
                return _host_without_port(address)
            if prefix < 0:
                return ""
            longest = 128 if ":" in address.host else 32
            return str(ip_network((address.host.partition("%")[0], min(prefix, longest)), strict=False))

        return simple(lambda context: text(context.stream_info))

    return make


for _name, _address_of in _ADDRESSES.items():
    COMMANDS.update(reads({f"{_name}_ADDRESS": _text_of(_address_of), f"{_name}_PORT": _port_of(_address_of)}))
    COMMANDS[f"{_name}_ADDRESS_WITHOUT_PORT"] = (PARAMS_OPTIONAL, _host_of(_address_of))
