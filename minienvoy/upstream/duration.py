"""Durations of protos as seconds.

Envoy: `PROTOBUF_GET_MS_OR_DEFAULT` (`source/common/protobuf/utility.h`).
"""

from __future__ import annotations

from typing import Any


def duration_of(message: Any, field: str, default: float) -> float:
    """Seconds of a `google.protobuf.Duration` field, `default` if it is not set."""
    if not message.HasField(field):
        return default
    duration = getattr(message, field)
    return float(duration.seconds + duration.nanos / 1e9)
