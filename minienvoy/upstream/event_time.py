"""A moment as the JSON of `google.protobuf.Timestamp`."""

from __future__ import annotations

from datetime import UTC, datetime


def timestamp(wall_time: float) -> str:
    """Of seconds since the epoch: 0, 3 or 6 digits of a second, as many as it needs."""
    moment = datetime.fromtimestamp(wall_time, UTC)
    digits = f"{moment.microsecond:06d}"
    if digits.endswith("000"):
        digits = digits[:3].replace("000", "")
    return f"{moment:%Y-%m-%dT%H:%M:%S}{'.' if digits else ''}{digits}Z"
