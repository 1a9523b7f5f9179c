"""What is counted of a gRPC call that has ended.

Envoy: `Grpc::ContextImpl::chargeStat`.
"""

from __future__ import annotations

from typing import Any

from ....http.header_map import HeaderMap
from ....stats.store import Scope

_STATUSES = 17


def counts_of(callbacks: Any, clusters: Any, protocol: str) -> Scope | None:
    """`cluster.NAME.PROTOCOL.` of the cluster that the request goes to; None if it goes to none."""
    route = callbacks.route()
    cluster = clusters().get(route.cluster_name) if route is not None else None
    scope: Scope | None = None if cluster is None else cluster.stats.scope.scope(protocol)
    return scope


def method_prefix(path: bytes) -> str:
    """`SERVICE.METHOD.`; empty if the path is not that of a call."""
    parts = path.partition(b"?")[0].decode("latin-1").split("/")
    return f"{parts[1]}.{parts[2]}." if len(parts) == 3 and parts[1] and parts[2] else ""


def charge(scope: Scope, prefix: str, headers: HeaderMap) -> None:
    """Count a call by its `grpc-status`, if there is one."""
    status = headers.get(b"grpc-status")
    if status is None:
        return
    # No more names than there are statuses, whatever an upstream may say.
    name = str(int(status)) if status.isdigit() and len(status) < 4 and int(status) < _STATUSES else "unknown"
    scope.counter(f"{prefix}{name}").inc()
    scope.counter(f"{prefix}{'success' if name == '0' else 'failure'}").inc()
    scope.counter(f"{prefix}total").inc()
