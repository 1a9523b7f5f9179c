"""What an upstream tells of its load with a response (ORCA).

Envoy: `Envoy::Orca` (`source/common/orca`), `xds.data.orca.v3.OrcaLoadReport`. It stands in the header or trailer
`endpoint-load-metrics`, as text (`TEXT cpu_utilization=0.3,named_metrics.q=2`), JSON or base64 (`BIN ...`), or in
`endpoint-load-metrics-bin`, in base64.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

from ..config.api import message_class
from ..config.loader import load_dict
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..http.header_map import HeaderMap

TEXT_HEADER: Final = b"endpoint-load-metrics"
BINARY_HEADER: Final = b"endpoint-load-metrics-bin"
_MESSAGE: Final = "xds.data.orca.v3.OrcaLoadReport"
_NUMBERS: Final = (
    "cpu_utilization",
    "mem_utilization",
    "rps_fractional",
    "eps",
    "application_utilization",
)
_MAPS: Final = ("utilization", "request_cost", "named_metrics")
_MOST: Final = 4096
"""Bytes of a report that are looked at; an upstream could send many."""


@dataclass(frozen=True, slots=True)
class OrcaLoadReport:
    """The numbers as told; utilizations are fractions, which may be above 1."""

    cpu_utilization: float = 0.0
    mem_utilization: float = 0.0
    rps_fractional: float = 0.0
    eps: float = 0.0
    application_utilization: float = 0.0
    utilization: Mapping[str, float] = field(default_factory=dict)
    request_cost: Mapping[str, float] = field(default_factory=dict)
    named_metrics: Mapping[str, float] = field(default_factory=dict)

    def max_utilization(self, names: Iterable[str]) -> float:
        """The greatest of the metrics of these names, e.g. `named_metrics.queue`; `named_metrics.*` means all."""
        found = [0.0]
        for name in names:
            group, dot, key = name.partition(".")
            if not dot:
                found.append(getattr(self, name) if name in _NUMBERS else 0.0)
            elif group in _MAPS:
                metrics = getattr(self, group)
                found.extend(metrics.values() if key == "*" else [metrics.get(key, 0.0)])
        return max(found)


def orca_load_report(headers: HeaderMap) -> OrcaLoadReport | None:
    """The report in `headers`; None if there is none that can be read."""
    binary = headers.get(BINARY_HEADER)
    value = headers.get(TEXT_HEADER)
    if (binary is None and value is None) or len(binary or b"") + len(value or b"") > _MOST:
        return None
    try:
        if binary is not None:
            return read_report(base64.b64decode(binary, validate=True))
        assert value is not None
        kind, _, rest = value.partition(b" ")
        if kind == b"BIN":
            return read_report(base64.b64decode(rest, validate=True))
        if kind == b"JSON":
            import json

            return _from_message(load_dict(json.loads(rest), _MESSAGE).message)
        return _from_text(rest.decode()) if kind == b"TEXT" else None
    except (ValueError, ConfigError, ArithmeticError):  # what base64 can not decode is a ValueError
        return None


def read_report(data: bytes) -> OrcaLoadReport:
    """From the bytes of an `xds.data.orca.v3.OrcaLoadReport`.

    Raises:
        ValueError: they are none.
    """
    try:
        return _from_message(message_class(_MESSAGE).FromString(data))
    except DecodeError as error:
        raise ValueError(str(error)) from None


def _from_message(message: Any) -> OrcaLoadReport:
    return OrcaLoadReport(
        *(getattr(message, name) for name in _NUMBERS), *(dict(getattr(message, name)) for name in _MAPS)
    )


def _from_text(text: str) -> OrcaLoadReport | None:
    numbers: dict[str, float] = {}
    maps: dict[str, dict[str, float]] = {name: {} for name in _MAPS}
    for part in text.split(","):
        name, separator, shown = part.strip().partition("=" if "=" in part else ":")
        name = name.strip()
        if not separator or not name:
            return None
        value = float(shown)
        if not math.isfinite(value):
            return None
        group, dot, key = name.partition(".")
        if name in numbers or (dot and key in maps.get(group, {})):
            return None
        if dot and group in maps and key:
            maps[group][key] = value
        elif name in _NUMBERS:
            numbers[name] = value
        else:
            return None
    fields: dict[str, Any] = {**numbers, **maps}
    return OrcaLoadReport(**fields)
