"""From a `ConfigSource` to a subscription: a file, a control plane of its own, or the one that everybody shares (ADS).

Envoy: `Config::SubscriptionFactoryImpl`, `Config::XdsManagerImpl`; docs "xDS configuration API overview".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigError
from ..upstream.duration import duration_of
from .subscription import (
    FileContext,
    Subscription,
    SubscriptionCallbacks,
    file_of,
    is_file,
)

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher
    from ..event.random import RandomGenerator
    from ..stats.store import Scope
    from ..upstream.async_client import AsyncClient
    from ..upstream.cluster_manager import ClusterManager
    from .api_config_source import MakeGrpcClient
    from .grpc_mux import GrpcMux

INITIAL_FETCH_TIMEOUT: Final = 15.0
CDS_TYPE: Final = "envoy.config.cluster.v3.Cluster"
EDS_TYPE: Final = "envoy.config.endpoint.v3.ClusterLoadAssignment"
LEDS_TYPE: Final = "envoy.config.endpoint.v3.LbEndpoint"
SDS_TYPE: Final = "envoy.extensions.transport_sockets.tls.v3.Secret"
RDS_TYPE: Final = "envoy.config.route.v3.RouteConfiguration"
LARGEST_RESPONSE: Final = 64 * 1024 * 1024
"""Bytes of one message of a control plane."""

_SERVICES: Final = {
    CDS_TYPE: ("cluster", "ClusterDiscoveryService", "Clusters"),
    EDS_TYPE: ("endpoint", "EndpointDiscoveryService", "Endpoints"),
    "envoy.config.listener.v3.Listener": ("listener", "ListenerDiscoveryService", "Listeners"),
    RDS_TYPE: ("route", "RouteDiscoveryService", "Routes"),
    "envoy.config.route.v3.ScopedRouteConfiguration": ("route", "ScopedRoutesDiscoveryService", "ScopedRoutes"),
    SDS_TYPE: ("secret", "SecretDiscoveryService", "Secrets"),
}
_AGGREGATED: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"


class SubscriptionFactory:
    """Attributes:
    ads: what `ads: {}` means; None if there is no `ads_config`.
    files: what subscriptions to files ask of the server.
    """

    def __init__(
        self,
        files: FileContext,
        dispatcher: Dispatcher,
        random: RandomGenerator,
        scope: Scope,
        node: Any,
        manager: ClusterManager,
        make_client: MakeGrpcClient,
        http_client: Callable[[], AsyncClient],
    ) -> None:
        """`scope` is that of the server, `node` what it says of itself; `make_client` makes clients of gRPC services,
        `http_client` is that of the server."""
        self.files = files
        self.ads: GrpcMux | None = None
        self.ads_cluster = ""
        self._dispatcher = dispatcher
        self._random = random.stream("xds.backoff")
        self._scope = scope
        self._node = node
        self._manager = manager
        self._make_client = make_client
        self._http_client = http_client

    def create_ads(self, source: Any, path: str) -> None:
        """The control plane of `ads_config`.

        Raises:
            ConfigError: it can not be used.
        """
        from .api_config_source import back_off_of, backing_cluster, check_ads

        check_ads(source, path)
        self.ads_cluster = backing_cluster(source, path)
        back_off_of(source, path, self._random)
        self.ads = self._mux(source, path, self._scope, _AGGREGATED, "AggregatedResources")

    def check_ads_cluster(self, path: str) -> None:
        """Raises ConfigError: the clusters are known now, and that of `ads_config` is not among them."""
        from .api_config_source import is_backing_cluster

        if not is_backing_cluster(self.ads_cluster, self._manager):
            raise ConfigError(f"Unknown gRPC client cluster '{self.ads_cluster}'", path)

    def stop(self) -> None:
        if self.ads is not None:
            self.ads.stop()

    def pause(self, resource_types: Sequence[str]) -> Callable[[], None]:
        """Until what is returned is called, nothing is asked of the shared control plane for these types."""
        return (lambda: None) if self.ads is None else self.ads.pause(resource_types)

    @contextmanager
    def paused(self, resource_types: Sequence[str]) -> Iterator[None]:
        """Nothing is asked of the shared control plane for these types meanwhile."""
        resume = self.pause(resource_types)
        try:
            yield
        finally:
            resume()

    def check(self, source: Any, path: str) -> None:
        """Raises ConfigError: there can be no subscription to a `ConfigSource`."""
        if is_file(source):
            file_of(source, path)
            return
        kind = source.WhichOneof("config_source_specifier")
        if kind == "ads":
            if self.ads is None:
                raise ConfigError("ADS must be configured to support an ADS config source", f"{path}.ads")
        elif kind == "api_config_source":
            from .api_config_source import back_off_of, check_api

            check_api(source.api_config_source, f"{path}.api_config_source", self._manager)
            back_off_of(source.api_config_source, f"{path}.api_config_source", self._random)
        elif kind == "self":
            raise ConfigError("resources come from a file, from ADS or from an API, not from self", f"{path}.self")
        else:
            raise ConfigError("Missing config source specifier in envoy::config::core::v3::ConfigSource", path)

    def subscribe(
        self,
        source: Any,
        path: str,
        resource_type: str,
        callbacks: SubscriptionCallbacks,
        scope: Scope,
        stats: Any,
        update_stats: Any = None,
        *,
        checks_support: bool = True,
    ) -> Subscription:
        """For a `ConfigSource` at `path`; it asks for nothing before it is started. `stats` is the struct to count in,
        `update_stats` that for attempts, failures, successes and versions, where these are counted elsewhere. Without
        `checks_support`, whoever takes the resources looks himself whether they are honoured.

        Raises:
            ConfigError: there is no such source.
        """
        self.check(source, path)
        update_stats = stats if update_stats is None else update_stats
        if is_file(source):
            from .filesystem import FilesystemSubscription

            return FilesystemSubscription(
                file_of(source, path),
                resource_type,
                self.files,
                scope,
                callbacks.on_config_update,
                stats,
                update_stats,
                callbacks.on_config_update_failed,
                checks_support=checks_support,
            )
        initial_fetch_timeout = duration_of(source, "initial_fetch_timeout", INITIAL_FETCH_TIMEOUT)
        if source.api_config_source.cluster_names:
            from .rest import HttpSubscription

            return HttpSubscription(
                self._http_client,
                source.api_config_source.cluster_names[0],
                source.api_config_source,
                resource_type,
                callbacks,
                self._dispatcher,
                self._random,
                self._node,
                scope,
                stats,
                update_stats,
                initial_fetch_timeout=initial_fetch_timeout,
                largest=LARGEST_RESPONSE,
                warn=self.files.warn,
                checks_support=checks_support,
                on_unknown_fields=self.files.on_unknown_fields,
            )
        from .grpc_subscription import GrpcSubscription

        aggregated = source.HasField("ads")
        if aggregated:
            assert self.ads is not None
            mux = self.ads
        else:
            package, service, method = _SERVICES[resource_type]
            mux = self._mux(
                source.api_config_source,
                f"{path}.api_config_source",
                scope,
                f"envoy.service.{package}.v3.{service}",
                method,
            )
        return GrpcSubscription(
            mux,
            resource_type,
            callbacks,
            self._dispatcher,
            scope,
            stats,
            update_stats,
            initial_fetch_timeout=initial_fetch_timeout,
            aggregated=aggregated,
            warn=self.files.warn,
            checks_support=checks_support,
        )

    def _mux(self, source: Any, path: str, scope: Scope, service: str, method: str) -> GrpcMux:
        from .api_config_source import DELTA_GRPC, back_off_of, backing_cluster, rate_limit_of
        from .grpc_mux import SotwGrpcMux
        from .grpc_stream import GrpcStream
        from .new_grpc_mux import DeltaGrpcMux

        delta = source.api_type == DELTA_GRPC
        proto = source.grpc_services[0]

        def make_stream(callbacks: Any) -> GrpcStream:
            return GrpcStream(
                callbacks,
                lambda: self._make_client(proto, f"{path}.grpc_services[0]", LARGEST_RESPONSE),
                backing_cluster(source, path),
                f"{service}/{'Delta' if delta else 'Stream'}{method}",
                self._dispatcher,
                back_off_of(source, path, self._random),
                scope,
                rate_limit_of(source),
            )

        return (DeltaGrpcMux if delta else SotwGrpcMux)(
            make_stream,
            self._dispatcher,
            self._node,
            node_in_first_message_only=source.set_node_on_first_message_only,
        )
