"""The hash policy of a balancer, which goes before that of the route.

Envoy: `Upstream::TypedHashLbConfigBase`, `ConsistentHashingLbConfig.hash_policy`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...upstream.load_balancer import LoadBalancerContext


def own_hash_policy(config: Any, path: str) -> Callable[[LoadBalancerContext], int | None] | None:
    """What a `RingHash` or `Maglev` message says; None if it leaves that to the route."""
    policies = config.consistent_hashing_lb_config.hash_policy
    if not policies:
        return None
    from ...router.hash_policy import HashPolicy

    policy = HashPolicy(policies, f"{path}.consistent_hashing_lb_config.hash_policy")

    def generate_hash(context: LoadBalancerContext) -> int | None:
        headers, stream = context.downstream_headers(), context.request_stream_info()
        if headers is None or stream is None:
            return None
        return policy.generate_hash(headers, stream, context.add_set_cookie)

    return generate_hash
