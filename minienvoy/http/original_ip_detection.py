"""Who the client is, where the peer may be a proxy and `x-forwarded-for` is not the way to know.

Envoy: `Http::OriginalIPDetection`, category `envoy.http.original_ip_detection`; docs "x-forwarded-for".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..network.address import Address
from ..record import record
from ..registry import Registry
from .header_map import RequestHeaderMap


@record
class Rejection:
    """The request is answered with `status`; `details` is `%RESPONSE_CODE_DETAILS%`."""

    status: int
    details: str


@record
class Detection:
    """What an extension has found.

    Attributes:
        address: of the client; None lets the next extension look.
        trusted: the address may count as internal.
        skip_xff_append: the peer is not added to `x-forwarded-for`.
    """

    address: Address | None
    trusted: bool = False
    skip_xff_append: bool = True
    rejection: Rejection | None = None


NOT_DETECTED: Final = Detection(None)

Detect = Callable[[RequestHeaderMap, Address], Detection]
"""The second argument is the peer's address."""

ORIGINAL_IP_DETECTION: Final[Registry[Callable[[Any], Detect]]] = Registry("envoy.http.original_ip_detection")
