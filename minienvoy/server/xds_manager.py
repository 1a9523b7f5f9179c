"""What of a server comes from control planes and from files that change, wired together.

Envoy: `Config::XdsManagerImpl`, and the part of `ClusterManagerImpl` and `InstanceBase` that makes CDS, LDS and ADS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..discovery.subscription_factory import CDS_TYPE, EDS_TYPE, LEDS_TYPE, SDS_TYPE, SubscriptionFactory

if TYPE_CHECKING:
    from ..discovery.cds_api import CdsApi
    from ..discovery.subscription import FileContext
    from ..upstream.async_client import AsyncClient
    from ..upstream.grpc_client import GrpcClient
    from .factory_context import ServerContext
    from .lds_api import LdsApi
    from .listener_manager import ListenerManager

_ADS = "dynamic_resources.ads_config"


class XdsManager:
    """Attributes:
    subscriptions: where resources come from.
    cds, lds: None if the bootstrap has none.
    """

    def __init__(self, server: ServerContext, dynamic_resources: Any, files: FileContext) -> None:
        """`dynamic_resources` are those of the bootstrap.

        Raises:
            ConfigError: `ads_config` can not be used.
        """
        self._server = server
        self._dynamic = dynamic_resources
        self.cds: CdsApi | None = None
        self.lds: LdsApi | None = None
        manager = server.cluster_manager
        subscriptions = self.subscriptions = SubscriptionFactory(
            files,
            server.dispatcher,
            server.random,
            server.stats.scope(""),
            server.node,
            manager,
            self._client,
            self._http_client,
        )
        manager.pauses_hosts = lambda: subscriptions.paused((EDS_TYPE, LEDS_TYPE, SDS_TYPE))
        manager.pauses_clusters = lambda: subscriptions.pause((CDS_TYPE,))
        if dynamic_resources.HasField("ads_config"):
            subscriptions.create_ads(dynamic_resources.ads_config, _ADS)

    def create_cds(self) -> CdsApi | None:
        """Now that the clusters of the bootstrap are known.

        Raises:
            ConfigError: a control plane is none of them.
        """
        if self._dynamic.HasField("ads_config"):
            self.subscriptions.check_ads_cluster(_ADS)
        if self._dynamic.HasField("cds_config"):
            from ..discovery.cds_api import CdsApi

            server = self._server
            self.cds = CdsApi(
                self._dynamic.cds_config,
                "dynamic_resources.cds_config",
                server.cluster_manager,
                self.subscriptions,
                server.stats.scope(""),
                server.node,
            )
        return self.cds

    def create_lds(self, manager: ListenerManager) -> LdsApi | None:
        """Raises ConfigError: it can not be asked."""
        if self._dynamic.HasField("lds_config"):
            from .lds_api import LdsApi

            server = self._server
            self.lds = LdsApi(
                self._dynamic.lds_config,
                "dynamic_resources.lds_config",
                manager,
                self.subscriptions,
                server.stats.scope(""),
                server.node,
            )
        return self.lds

    def start(self, on_clusters: Callable[[], None]) -> None:
        """Look for the hosts of clusters, and then for clusters; `on_clusters` is called when all that is over."""
        self._server.cluster_manager.start(
            on_clusters, None if self.cds is None else self.cds.start, self._on_cluster_ready
        )

    def stop(self) -> None:
        """Nothing is asked any more; what there is stays."""
        for api in (self.cds, self.lds):
            if api is not None:
                api.stop()
        self.subscriptions.stop()

    def _on_cluster_ready(self, name: str) -> None:
        # The way to the control plane is there; what asks first is asked first.
        if self.subscriptions.ads is not None and name == self.subscriptions.ads_cluster:
            self.subscriptions.ads.start()

    def _http_client(self) -> AsyncClient:
        from .async_services import async_client

        return async_client(self._server)

    def _client(self, proto: Any, path: str, largest: int) -> GrpcClient:
        from ..record import replace
        from .async_services import GrpcServiceConfig

        config = GrpcServiceConfig.from_proto(proto, path, self._server)
        # How often a stream is opened again is for who has opened it to say.
        config = replace(config, max_message=config.max_message or largest, retry_policy=None)
        return config.client(self._server)
