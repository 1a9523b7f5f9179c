"""What is counted of a gRPC call.

Envoy: `Grpc::ContextImpl` (`chargeStat`, `chargeRequestMessageStat`, ...), `Grpc::FrameInspector`.
"""

from __future__ import annotations

from typing import Any

from ....http.header_map import HeaderMap
from ....stats.store import Scope

_STATUSES = 17
_MAX_OTHER_STATUSES = 100
"""Statuses that gRPC does not know are counted by what they are, but an upstream can not make names without end."""


def counts_of(callbacks: Any, clusters: Any, protocol: str) -> Scope | None:
    """`cluster.NAME.PROTOCOL.` of the cluster that the request goes to; None if it goes to none."""
    route = callbacks.route()
    cluster = clusters().get(route.cluster_name) if route is not None else None
    scope: Scope | None = None if cluster is None else cluster.stats.scope.scope(protocol)
    return scope


def service_and_method(path: bytes) -> tuple[str, str] | None:
    """What the path of a call says is called; None if it is not that of a call."""
    parts = path.partition(b"?")[0].decode("latin-1").split("/")
    return (parts[1], parts[2]) if len(parts) == 3 and parts[1] and parts[2] else None


def charge(scope: Scope, prefix: str, headers: HeaderMap, others: set[bytes]) -> None:
    """Count a call by its `grpc-status`, if there is one; `others` are the statuses that are none, so far."""
    status = headers.get(b"grpc-status")
    if status is None:
        return
    known = status.isdigit() and len(status) < 3 and int(status) < _STATUSES
    if not known and status not in others:
        if len(others) >= _MAX_OTHER_STATUSES:
            status = b"unknown"
        else:
            others.add(status)
    scope.counter(f"{prefix}{status.decode('latin-1')}").inc()
    charge_outcome(scope, prefix, status == b"0")


def charge_outcome(scope: Scope, prefix: str, success: bool) -> None:
    """Count a call as a success or a failure."""
    scope.counter(f"{prefix}{'success' if success else 'failure'}").inc()
    scope.counter(f"{prefix}total").inc()


class FrameInspector:
    """Counts the messages of one direction; `last_flags` are those of the one that began last."""

    __slots__ = ("_head", "_left", "count", "last_flags")

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self.count = 0
        self.last_flags = 0

    def inspect(self, data: bytes) -> int:
        """How many have begun in `data`."""
        before = self.count
        at = 0
        while at < len(data):
            if self._left:
                taken = min(self._left, len(data) - at)
                self._left -= taken
            else:
                if not self._head:
                    # It has begun with its first byte.
                    self.last_flags = data[at]
                    self.count += 1
                taken = min(5 - len(self._head), len(data) - at)
                self._head += data[at : at + taken]
                if len(self._head) == 5:
                    self._left = int.from_bytes(self._head[1:], "big")
                    self._head = b""
            at += taken
        return self.count - before
