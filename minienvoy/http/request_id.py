"""`x-request-id`, as every request gets one.

Envoy: `Extensions::RequestId::UUIDRequestIDExtension`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from .header_map import KIND, Entry

UUID_REQUEST_ID: Final = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"

_KIND = KIND[b"x-request-id"]


def request_id_maker(draw: Callable[[int], int]) -> Callable[[], Entry]:
    """Makes headers with random UUIDs (version 4, variant 1) from what `draw(bits)` gives, in one call."""
    variants = "89ab"

    def make() -> Entry:
        digits = f"{draw(128):032x}"
        value = (
            f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variants[ord(digits[16]) & 3]}{digits[17:20]}-{digits[20:]}"
        ).encode()
        return (b"x-request-id", value, b"x-request-id: " + value + b"\r\n", _KIND)

    return make


def is_uuid_request_id(extension: Any) -> str | None:
    """Whether a `RequestIDExtension` is the default one, whose two settings concern traced requests only."""
    kind = extension.typed_config.type_url.rpartition("/")[2]
    return None if kind in ("", UUID_REQUEST_ID) else f"only {UUID_REQUEST_ID} is supported"
