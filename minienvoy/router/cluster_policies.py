"""What a cluster says of the requests that go to it, over what their routes say.

Envoy: `HttpProtocolOptionsConfigImpl::retryPolicy`, `hashPolicy`, `shadowPolicies`, as `Router::Filter` takes them.
What the cluster says replaces what the route says as a whole; but how long an attempt may take, and whether a retry
goes to another of several clusters, stays with the route.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..record import record, replace
from .common_virtual_host import CommonVirtualHost
from .hash_policy import HashPolicy
from .retry_policy import RetryPolicy
from .shadow_writer import ShadowPolicy, shadow_policies

if TYPE_CHECKING:
    from ..upstream.cluster import ClusterContext
    from .route_entry import RouteEntry

_MAX_ROUTES: Final = 256
"""Routes whose other version is kept. Some are made for one request, so that they do not come again."""


@record
class ClusterPolicies:
    """None, or nothing: the route decides."""

    retry_policy: RetryPolicy | None
    hash_policy: HashPolicy | None
    shadow_policies: tuple[ShadowPolicy, ...]
    _routes: dict[int, tuple[RouteEntry, RouteEntry]]

    @classmethod
    def from_proto(cls, config: Any, path: str, context: ClusterContext) -> ClusterPolicies:
        """From `HttpProtocolOptions`; raises ConfigError below `path`."""
        retry = None
        if config.HasField("retry_policy"):
            retry = RetryPolicy.from_proto(config.retry_policy, f"{path}.retry_policy")
        common = CommonVirtualHost(
            "",
            random=partial(context.random.stream(f"cluster.{context.cluster_name}.mirror").getrandbits, 64),
            runtime=context.runtime,
            sources=context.sources,
        )
        return cls(
            retry,
            HashPolicy(config.hash_policy, f"{path}.hash_policy") if config.hash_policy else None,
            shadow_policies(config.request_mirror_policies, f"{path}.request_mirror_policies", common),
            {},
        )

    @property
    def names(self) -> list[str]:
        """What there is."""
        there = {
            "retry_policy": self.retry_policy is not None,
            "hash_policy": self.hash_policy is not None,
            "request_mirror_policies": bool(self.shadow_policies),
        }
        return [name for name, said in there.items() if said]

    def over(self, route: RouteEntry) -> RouteEntry:
        """The route, as it is for requests to this cluster."""
        found = self._routes.get(id(route))
        if found is not None:
            return found[1]
        made = self._made_of(route)
        if len(self._routes) >= _MAX_ROUTES:
            self._routes.clear()
        # The route is kept, too, so that no other one gets its id.
        self._routes[id(route)] = route, made
        return made

    def _made_of(self, route: RouteEntry) -> RouteEntry:
        made = route.copied()
        if self.retry_policy is not None:
            old = route.attempts.retry_policy
            policy = replace(
                self.retry_policy,
                per_try_timeout=old.per_try_timeout,
                per_try_idle_timeout=old.per_try_idle_timeout,
                refresh_cluster=old.refresh_cluster,
            )
            made.attempts = replace(route.attempts, retry_policy=policy)
            made.tries_once = made.attempts.plain
        if self.hash_policy is not None:
            made.hash_policy = self.hash_policy
        if self.shadow_policies:
            made.shadow_policies = self.shadow_policies
            made.copies_request = True
        return made
