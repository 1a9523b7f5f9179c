"""`x-request-id`, as every request gets one.

Envoy: `Extensions::RequestId::UUIDRequestIDExtension`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from struct import Struct
from typing import Any, Final

from ..record import record
from ..registry import Registry
from .header_map import KIND, Entry, RequestHeaderMap


@record
class RequestIdSettings:
    """Attributes:
    packs_trace_reason: ids say why their requests are traced.
    decides_on_tracing: which requests are traced by chance goes by their ids, so that all proxies agree.
    """

    packs_trace_reason: bool = True
    decides_on_tracing: bool = True


REQUEST_ID: Final[Registry[Callable[..., RequestIdSettings]]] = Registry("envoy.request_id")

UUID_REQUEST_ID: Final = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"

AT_ONCE: Final = 32
"""As many are made together, which takes a third of the time of making them one by one."""
_BITS: Final = 128 * AT_ONCE
_RANDOM: Final = sum((2**128 - 1 - (0xF000 << 64 | 3 << 62)) << 128 * at for at in range(AT_ONCE))
_VERSION_AND_VARIANT: Final = sum((0x4000 << 64 | 2 << 62) << 128 * at for at in range(AT_ONCE))

_groups: Final = Struct("8s4s4s4s12s").iter_unpack
_KIND: Final = KIND[b"x-request-id"]


def request_id_maker(draw: Callable[[int], int]) -> Callable[[], Entry]:
    """Makes headers with random UUIDs (version 4, variant 1) from what `draw(bits)` gives, in one call."""
    return chain.from_iterable(_batches(draw)).__next__


def _batches(draw: Callable[[int], int]) -> Iterator[list[Entry]]:
    while True:
        digits = b"%0*x" % (_BITS // 4, draw(_BITS) & _RANDOM | _VERSION_AND_VARIANT)
        yield [
            (b"x-request-id", value, b"x-request-id: %b\r\n" % value, _KIND)
            for value in map(b"-".join, _groups(digits))
        ]


def is_uuid_request_id(extension: Any) -> str | None:
    """Whether a `RequestIDExtension` is the default one."""
    kind = extension.typed_config.type_url.rpartition("/")[2]
    return None if kind in ("", UUID_REQUEST_ID) else f"only {UUID_REQUEST_ID} is supported"


def set_trace_digit(headers: RequestHeaderMap, digit: bytes) -> None:
    """The digit of the id that says why the request is traced; an id that is no UUID stays as it is."""
    value = headers.get(b"x-request-id")
    if value is not None and len(value) == 36:
        headers.set(b"x-request-id", value[:14] + digit + value[15:])
