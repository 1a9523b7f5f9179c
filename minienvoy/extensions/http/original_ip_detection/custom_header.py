"""Takes the client's address from a header of its own.

Envoy: `envoy.http.original_ip_detection.custom_header`
(`source/extensions/http/original_ip_detection/custom_header`).
"""

from __future__ import annotations

from typing import Any, Final

from ....config.fields import honours
from ....http.header_map import RequestHeaderMap
from ....http.original_ip_detection import NOT_DETECTED, ORIGINAL_IP_DETECTION, Detect, Detection, Rejection
from ....network.address import Address

CONFIG_TYPE: Final = "envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig"

honours(CONFIG_TYPE, "header_name", "allow_extension_to_set_address_as_trusted", "reject_with_status")
honours("envoy.type.v3.HttpStatus", "code")


@ORIGINAL_IP_DETECTION.register("envoy.http.original_ip_detection.custom_header", CONFIG_TYPE)
def create_custom_header_detection(config: Any) -> Detect:
    name = config.header_name.lower().encode()
    trusted = config.allow_extension_to_set_address_as_trusted
    failed = NOT_DETECTED
    if config.HasField("reject_with_status"):
        # What is no error would not stop anybody.
        status = config.reject_with_status.code
        rejection = Rejection(status if status >= 400 else 403, "rejecting_because_detection_failed")
        failed = Detection(None, rejection=rejection)

    def detect(headers: RequestHeaderMap, peer: Address) -> Detection:
        value = headers.get(name)
        if value is None:
            return failed
        try:
            return Detection(Address.ip(value.decode("latin-1"), 0), trusted)
        except ValueError:
            return failed

    return detect
