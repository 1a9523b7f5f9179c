"""`envoy.rbac.matchers.upstream_ip_port`: where a forward proxy goes to.

Envoy: `Filters::Common::RBAC::Matchers::UpstreamIpPortMatcher`. It looks at the address that the dynamic forward proxy
has left with the stream (`save_upstream_address`), so its filter stands before this one.
"""

from __future__ import annotations

from typing import Any, Final

from ...config.fields import honours
from ...errors import ConfigError
from ...network.address import Address
from ...network.cidr import CidrRange
from ...stream_info import OpaqueState
from ..clusters.dynamic_forward_proxy import UPSTREAM_ADDRESS
from ..filters.common.rbac.rules import PERMISSION_MATCHERS, Rule

TYPE: Final = "envoy.extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher"

honours(TYPE, "upstream_ip", "upstream_port_range")


@PERMISSION_MATCHERS.register("envoy.rbac.matchers.upstream_ip_port", TYPE)
def create_upstream_ip_port(config: Any) -> Rule:
    if not config.HasField("upstream_ip") and not config.HasField("upstream_port_range"):
        problem = "Invalid UpstreamIpPortMatcher configuration - missing `upstream_ip` and/or `upstream_port_range`"
        raise ConfigError(problem, "")
    addresses = CidrRange.from_proto(config.upstream_ip, "upstream_ip") if config.HasField("upstream_ip") else None
    ports = config.upstream_port_range if config.HasField("upstream_port_range") else None
    start, end = (ports.start, ports.end) if ports is not None else (0, 65536)

    def holds(headers: Any, stream: Any, below: Any) -> bool:
        state = (stream._filter_state or {}).get(UPSTREAM_ADDRESS)
        if not isinstance(state, OpaqueState):
            return False
        address: Address = state.value
        return (addresses is None or address in addresses) and start <= address.port < end

    return holds
