"""Takes the client's address from `x-forwarded-for`.

Envoy: `envoy.http.original_ip_detection.xff` (`source/extensions/http/original_ip_detection/xff`).
"""

from __future__ import annotations

from typing import Any, Final

from ....config.fields import honours
from ....errors import ConfigError
from ....http.conn_manager_utility import last_address_from_xff
from ....http.header_map import RequestHeaderMap
from ....http.original_ip_detection import ORIGINAL_IP_DETECTION, Detect, Detection
from ....network.address import Address
from ....network.cidr import CidrSet

CONFIG_TYPE: Final = "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig"
MAX_ENTRIES: Final = 20
"""Of `x-forwarded-for` where networks are trusted; a longer one is not looked at."""

honours(CONFIG_TYPE, "xff_num_trusted_hops", "xff_trusted_cidrs", "skip_xff_append")
honours("envoy.extensions.http.original_ip_detection.xff.v3.XffTrustedCidrs", "cidrs")


@ORIGINAL_IP_DETECTION.register("envoy.http.original_ip_detection.xff", CONFIG_TYPE)
def create_xff_detection(config: Any) -> Detect:
    """Raises ConfigError if both ways to trust are asked for, or a network is none."""
    hops = config.xff_num_trusted_hops
    skip = not config.HasField("skip_xff_append") or config.skip_xff_append.value
    if not config.HasField("xff_trusted_cidrs"):

        def detect(headers: RequestHeaderMap, peer: Address) -> Detection:
            address, single = last_address_from_xff(headers, hops)
            return Detection(address, single, skip)

        return detect
    if hops:
        raise ConfigError("Cannot set both xff_num_trusted_hops and xff_trusted_cidrs", "xff_num_trusted_hops")
    trusted = CidrSet.from_protos(config.xff_trusted_cidrs.cidrs, "xff_trusted_cidrs.cidrs")

    def detect_behind_trusted(headers: RequestHeaderMap, peer: Address) -> Detection:
        if peer not in trusted:
            return Detection(None, False, skip)
        address, single = last_untrusted_address(headers, trusted)
        return Detection(address, single, skip)

    return detect_behind_trusted


def last_untrusted_address(headers: RequestHeaderMap, trusted: CidrSet) -> tuple[Address | None, bool]:
    """(the last address that is not trusted, or the first if all are; whether there is only one)."""
    entries = (headers.get(b"x-forwarded-for") or b"").decode("latin-1").split(",")
    if len(entries) > MAX_ENTRIES:
        return None, False
    address: Address | None = None
    for each in reversed(entries):
        try:
            address = Address.ip(each.strip(), 0)
        except ValueError:
            return None, False
        if address not in trusted:
            break
    return address, len(entries) == 1
