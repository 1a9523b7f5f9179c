"""Resources that a control plane sends over gRPC.

Envoy: `Config::GrpcSubscriptionImpl`; docs "xDS configuration API overview".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from .. import logger
from ..upstream.xx_hash import xx_hash64_of_all
from .subscription import DecodedResource, SubscriptionCallbacks, require_supported_resource

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher
    from ..stats.store import Scope
    from .grpc_mux import GrpcMux, Watch

log = logger.get("config")


class GrpcSubscription:
    """Resources of one type, on a stream that may be shared (`aggregated`) or its own."""

    def __init__(
        self,
        mux: GrpcMux,
        resource_type: str,
        callbacks: SubscriptionCallbacks,
        dispatcher: Dispatcher,
        scope: Scope,
        stats: Any,
        update_stats: Any,
        *,
        initial_fetch_timeout: float,
        aggregated: bool,
        warn: bool,
        checks_support: bool = True,
    ) -> None:
        """`initial_fetch_timeout` in seconds, 0 for none. With `warn`, what is set and not honoured is left out;
        without `checks_support`, whoever takes the resources looks himself."""
        self._mux = mux
        self._resource_type = resource_type
        self._type_url = f"type.googleapis.com/{resource_type}"
        self._callbacks = callbacks
        self._dispatcher = dispatcher
        self._stats = stats
        self._update_stats = update_stats
        self._version_text = scope.text_readout("version_text")
        self._initial_fetch_timeout = initial_fetch_timeout
        self._timer = dispatcher.create_timer(self._on_fetch_timeout)
        self._aggregated = aggregated
        self._warn = warn
        self._checks_support = checks_support
        self._watch: Watch | None = None

    # -- who wants resources

    def start(self, resources: Collection[str] = ()) -> None:
        if self._initial_fetch_timeout:
            self._timer.enable(self._initial_fetch_timeout)
        self._watch = self._mux.add_watch(self._resource_type, resources, self)
        self._update_stats.update_attempt += 1
        if not self._aggregated:
            self._mux.start()

    def update_resource_interest(self, resources: Collection[str]) -> None:
        if self._watch is not None:
            self._watch.update(resources)
            self._update_stats.update_attempt += 1

    def stop(self) -> None:
        self._timer.disable()
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.remove()
        if not self._aggregated:
            self._mux.stop()

    # -- from the protocol

    def on_config_update(self, resources: Sequence[DecodedResource], version: str) -> None:
        self._timer.disable()
        begin = self._dispatcher.monotonic_time()
        self._check(resources)
        self._callbacks.on_config_update([each.message for each in resources], version)
        self._update_stats.update_attempt += 1
        self._accepted(version, begin)
        log.debug(f"gRPC config for {self._type_url} accepted with {len(resources)} resources with version {version}")

    def on_delta_config_update(self, added: Sequence[DecodedResource], removed: Sequence[str], version: str) -> None:
        self._timer.disable()
        begin = self._dispatcher.monotonic_time()
        self._update_stats.update_attempt += 1
        self._check(added)
        self._callbacks.on_delta_config_update(added, removed, version)
        self._accepted(version, begin)

    def on_connection_failure(self) -> None:
        self._update_stats.update_failure += 1
        log.debug(f"gRPC update for {self._type_url} failed")
        self._update_stats.update_attempt += 1

    def on_update_rejected(self, reason: str) -> None:
        self._timer.disable()
        self._stats.update_rejected += 1
        log.warning(f"gRPC config for {self._type_url} rejected: {reason.rstrip()}")
        self._callbacks.on_config_update_failed()
        self._update_stats.update_attempt += 1

    # -- inside

    def _on_fetch_timeout(self) -> None:
        self._stats.init_fetch_timeout += 1
        log.warning(f"gRPC config: initial fetch timed out for {self._type_url}")
        self._callbacks.on_config_update_failed()
        self._update_stats.update_attempt += 1

    def _check(self, resources: Sequence[DecodedResource]) -> None:
        if self._checks_support:
            for index, each in enumerate(resources):
                if each.message is not None:
                    require_supported_resource(each.message, f"resources[{index}]", warn=self._warn)

    def _accepted(self, version: str, begin: float) -> None:
        update = self._update_stats
        update.update_success += 1
        self._stats.update_time = int(self._dispatcher.wall_time() * 1000)
        update.version = xx_hash64_of_all((version.encode(),))
        self._version_text.set(version)
        self._stats.update_duration.record(int((self._dispatcher.monotonic_time() - begin) * 1000))
