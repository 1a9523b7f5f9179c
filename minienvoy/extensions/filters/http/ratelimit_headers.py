"""Headers that tell a client how much of its limits is left.

Envoy: `Extensions::HttpFilters::RateLimitFilter::XRateLimitHeaderUtils`; draft-polli-ratelimit-headers-03. The limit of
which the least is left is told, and whether it is told is for its own descriptor to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ....router.rate_limit import Descriptor

_SECONDS: Final = {1: 1, 2: 60, 3: 3600, 4: 86_400, 5: 2_592_000, 6: 31_536_000, 7: 604_800}
"""By `RateLimitResponse.RateLimit.Unit`: a week comes after a year."""
_OVER_LIMIT: Final = 2  # of `RateLimitResponse.Code`


def x_ratelimit_headers(
    statuses: Sequence[Any], descriptors: Sequence[Descriptor], default: bool
) -> list[tuple[bytes, bytes]]:
    """`default` is what the filter says where a descriptor does not."""
    least, shown, policies = None, False, ""
    for at, status in enumerate(statuses):
        if not status.HasField("current_limit"):
            continue
        own = descriptors[at].x_ratelimit_headers if at < len(descriptors) else None
        enabled = default if own is None else own
        if least is None or status.limit_remaining < least.limit_remaining:
            least, shown = status, enabled
        limit = status.current_limit
        window = _SECONDS.get(limit.unit, 0)
        if enabled and window:
            if limit.HasField("unit_multiplier"):
                window *= limit.unit_multiplier.value
            policies += f", {limit.requests_per_unit};w={window}"
            policies += f';name="{limit.name}"' if limit.name else ""
    if least is None or not shown:
        return []
    return [
        (b"x-ratelimit-limit", f"{least.current_limit.requests_per_unit}{policies}".encode()),
        (b"x-ratelimit-remaining", b"%d" % least.limit_remaining),
        (b"x-ratelimit-reset", b"%d" % least.duration_until_reset.seconds),
    ]


def retry_after(statuses: Sequence[Any]) -> tuple[bytes, bytes]:
    """When the last of the limits that are reached begins anew; whole seconds, and one at least."""
    seconds = [each.duration_until_reset.seconds for each in statuses if each.code == _OVER_LIMIT]
    return b"retry-after", b"%d" % max(1, *seconds, 1)
