"""`sessionAffinity: ClientIP`: the same client goes to the same pod.

No Envoy counterpart; what Kubernetes' own proxy does by remembering clients is done here by hashing their addresses.
Whether a Service asks for it is known only when the Service is; until then, and where it does not, the cluster's own
policy chooses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ...config.api import message_class
from ...upstream.host import Host
from ...upstream.load_balancer import (
    LOAD_BALANCERS,
    LoadBalancer,
    LoadBalancerContext,
    LoadBalancerFactory,
    LoadBalancerParams,
    OverrideHost,
    stop_balancer,
)
from ...upstream.xx_hash import xx_hash64

if TYPE_CHECKING:
    from ...http.header_map import RequestHeaderMap
    from ...stream_info import StreamInfo

_RING_HASH: Final = "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash"
_HASHING: Final = ("envoy.load_balancing_policies.ring_hash", "envoy.load_balancing_policies.maglev")


class ByClient:
    """A request as a hashing balancer sees it: the client's address is its hash."""

    __slots__ = ("_wrapped", "explain", "host_selection_retries", "retry_priority")

    def __init__(self, wrapped: LoadBalancerContext) -> None:
        self._wrapped = wrapped
        self.explain = wrapped.explain
        self.host_selection_retries = wrapped.host_selection_retries
        self.retry_priority = wrapped.retry_priority

    def compute_hash_key(self) -> int | None:
        stream = self._wrapped.request_stream_info()
        address = None if stream is None else stream.connection.remote_address
        if address is None or not address.host:
            return self._wrapped.compute_hash_key()
        return xx_hash64(address.host.encode())

    def should_select_another_host(self, host: Host) -> bool:
        return self._wrapped.should_select_another_host(host)

    def metadata_match_criteria(self) -> Any:
        return self._wrapped.metadata_match_criteria()

    def override_host(self) -> OverrideHost | None:
        return self._wrapped.override_host()

    def downstream_headers(self) -> RequestHeaderMap | None:
        return self._wrapped.downstream_headers()

    def request_stream_info(self) -> StreamInfo | None:
        return self._wrapped.request_stream_info()

    def add_set_cookie(self, value: bytes) -> None:
        self._wrapped.add_set_cookie(value)


class AffinityLoadBalancer:
    def __init__(self, own: LoadBalancer, by_hash: LoadBalancer, wanted: Callable[[], bool]) -> None:
        self._own = own
        self._by_hash = by_hash
        self._wanted = wanted

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        if context is not None and self._wanted():
            return self._by_hash.choose_host(ByClient(context))
        return self._own.choose_host(context)

    def stop(self) -> None:
        stop_balancer(self._own)
        if self._by_hash is not self._own:
            stop_balancer(self._by_hash)


def affinity_factory(
    name: str, factory: LoadBalancerFactory, context: Any, wanted: Callable[[], bool]
) -> LoadBalancerFactory:
    """`factory` is the cluster's own policy, `name` its name; a policy that hashes anyway is used for both."""
    if name in _HASHING:
        by_hash = None
    else:
        by_hash = LOAD_BALANCERS.find(_RING_HASH, context.path).factory(message_class(_RING_HASH)(), context)

    def create(params: LoadBalancerParams) -> LoadBalancer:
        own = factory(params)
        return AffinityLoadBalancer(own, own if by_hash is None else by_hash(params), wanted)

    return create
