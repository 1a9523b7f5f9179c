"""Where upstream connections come from.

Envoy: `Upstream::DefaultUpstreamLocalAddressSelector`, `ClusterInfoImpl::bindConfig`; docs "upstream_bind_config". With
two addresses it is that of the host's family; with one it is that one, whether it fits or not.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

from ..config.extension import create_extension, find_extension
from ..config.fields import honours
from ..errors import ConfigError
from ..network.address import Address
from ..network.socket_option import NO_OPTIONS, SocketOption, socket_options_from_proto
from ..record import record
from ..registry import Registry

honours(
    "envoy.config.core.v3.BindConfig",
    "additional_source_addresses",
    "extra_source_addresses",
    "freebind",
    "local_address_selector",
    "socket_options",
    "source_address",
)
honours("envoy.config.core.v3.ExtraSourceAddress", "address", "socket_options")
honours("envoy.config.core.v3.SocketOptionsOverride", "socket_options")
honours(
    "envoy.config.core.v3.SocketOption",
    "level",
    "name",
    "int_value",
    "buf_value",
    "state",
    ignored={"description": "a word for people"},
)

_IP_FREEBIND: Final = getattr(socket, "IP_FREEBIND", 15)
_FREEBIND: Final = SocketOption(socket.IPPROTO_IP, _IP_FREEBIND, 1)


@record
class UpstreamLocalAddress:
    """`address` is None where the kernel chooses."""

    address: Address | None = None
    options: tuple[SocketOption, ...] = NO_OPTIONS


ANYWHERE: Final = UpstreamLocalAddress()


class LocalAddressSelector:
    """Attributes:
    addresses: one, or one for each family; the first is what counts where none fits.
    """

    __slots__ = ("_addresses",)

    def __init__(self, addresses: tuple[UpstreamLocalAddress, ...]) -> None:
        self._addresses = addresses

    def select(self, host: Address) -> UpstreamLocalAddress:
        """For a connection to `host`; one to a unix socket comes from nowhere."""
        first = self._addresses[0]
        if host.path:
            return ANYWHERE
        if len(self._addresses) == 1:
            return first
        for each in self._addresses:
            if each.address is not None and each.address.family == host.family:
                return each
        return first


LOCAL_ADDRESS_SELECTORS: Registry[Callable[[Any, tuple[UpstreamLocalAddress, ...]], LocalAddressSelector]] = Registry(
    "envoy.upstream.local_address_selector"
)
"""(configuration message, the addresses of a `BindConfig`) -> LocalAddressSelector"""


def selector_from_proto(bind: Any, whose: str, path: str) -> LocalAddressSelector:
    """From `envoy.config.core.v3.BindConfig`; `whose` it is, is told by errors.

    Raises:
        ConfigError: below `path`.
    """
    addresses = _addresses(bind, whose, path)
    if not bind.HasField("local_address_selector"):
        return LocalAddressSelector(addresses)
    where = f"{path}.local_address_selector"
    found = find_extension(LOCAL_ADDRESS_SELECTORS, bind.local_address_selector, where)
    return create_extension(found, bind.local_address_selector, where, addresses)


def _addresses(bind: Any, whose: str, path: str) -> tuple[UpstreamLocalAddress, ...]:
    free = (_FREEBIND,) if bind.freebind.value else NO_OPTIONS
    common = free + socket_options_from_proto(bind.socket_options)
    extra, additional = list(bind.extra_source_addresses), list(bind.additional_source_addresses)
    if extra and additional:
        raise ConfigError(
            f"Can't specify both `extra_source_addresses` and `additional_source_addresses` in the {whose}'s "
            "upstream binding config",
            path,
        )
    if not bind.HasField("source_address"):
        if extra or additional:
            raise ConfigError(
                f"{whose}'s upstream binding config has extra/additional source addresses but no source_address. "
                "Extra/additional addresses cannot be specified if source_address is not set.",
                path,
            )
        return (UpstreamLocalAddress(None, common),)
    found = [UpstreamLocalAddress(_address(bind.source_address, f"{path}.source_address"), common)]
    for at, each in enumerate(extra):
        own = common
        if each.HasField("socket_options"):
            own = free + socket_options_from_proto(each.socket_options.socket_options)
        found.append(UpstreamLocalAddress(_address(each.address, f"{path}.extra_source_addresses[{at}]"), own))
    for at, each in enumerate(additional):
        found.append(UpstreamLocalAddress(_address(each, f"{path}.additional_source_addresses[{at}]"), common))
    if len(found) > 2:
        raise ConfigError(
            f"{whose}'s upstream binding config has more than one extra/additional source addresses. Only one "
            "extra/additional source can be supported in BindConfig's "
            "extra_source_addresses/additional_source_addresses field",
            path,
        )
    families = {each.address.family for each in found if each.address is not None}
    if len(families) < len(found):
        raise ConfigError(
            f"{whose}'s upstream binding config has two same IP version source addresses. Only two different IP "
            "version source addresses can be supported in BindConfig's source_address and "
            "extra_source_addresses/additional_source_addresses fields",
            path,
        )
    return tuple(found)


def local_address_selector(cluster: Any, of_cluster_manager: Any, path: str) -> LocalAddressSelector | None:
    """Of a cluster, or of the cluster manager if the cluster has no `upstream_bind_config`; None if neither has one."""
    if cluster.HasField("upstream_bind_config"):
        return selector_from_proto(
            cluster.upstream_bind_config, f"Cluster {cluster.name}", f"{path}.upstream_bind_config"
        )
    if of_cluster_manager is not None:
        return selector_from_proto(of_cluster_manager, "Bootstrap", "cluster_manager.upstream_bind_config")
    return None


def _address(proto: Any, path: str) -> Address:
    try:
        return Address.ip(proto.address, proto.port_value)
    except ValueError:
        raise ConfigError(f"malformed IP address: {proto.address}", f"{path}.address") from None
