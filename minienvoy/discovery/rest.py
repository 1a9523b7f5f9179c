"""Resources that a control plane is asked for over HTTP, again and again.

Envoy: `Config::HttpSubscriptionImpl`, `Http::RestApiFetcher`; docs "xDS REST and gRPC protocol > REST-JSON polling
subscriptions".
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final

from .. import logger
from ..config.loader import load_message
from ..config.schema import message_class
from ..errors import ConfigError
from ..http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ..upstream.duration import duration_of
from ..upstream.xx_hash import xx_hash64_of_all
from .subscription import SubscriptionCallbacks, decode_resource, require_supported_resource

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher
    from ..event.random import RandomStream
    from ..stats.store import Scope
    from ..upstream.async_client import AsyncClient, AsyncStream

log = logger.get("config")
_DISCOVERY: Final = "envoy.service.discovery.v3"
_REQUEST_TIMEOUT: Final = 1.0
PATHS: Final = {
    "envoy.config.cluster.v3.Cluster": b"/v3/discovery:clusters",
    "envoy.config.endpoint.v3.ClusterLoadAssignment": b"/v3/discovery:endpoints",
    "envoy.config.listener.v3.Listener": b"/v3/discovery:listeners",
    "envoy.config.route.v3.RouteConfiguration": b"/v3/discovery:routes",
    "envoy.extensions.transport_sockets.tls.v3.Secret": b"/v3/discovery:secrets",
}


class HttpSubscription:
    """Resources of one type."""

    def __init__(
        self,
        client: Callable[[], AsyncClient],
        cluster: str,
        source: Any,
        resource_type: str,
        callbacks: SubscriptionCallbacks,
        dispatcher: Dispatcher,
        random: RandomStream,
        node: Any,
        scope: Scope,
        stats: Any,
        update_stats: Any,
        *,
        initial_fetch_timeout: float,
        largest: int,
        warn: bool,
        checks_support: bool,
        on_unknown_fields: Callable[[int], None],
    ) -> None:
        """From an `ApiConfigSource`. `initial_fetch_timeout` in seconds, 0 for none; `largest` are the bytes that an
        answer may have. With `warn`, what is set and not honoured is left out; without `checks_support`, whoever takes
        the resources looks himself."""
        self._client = client
        self._cluster = cluster
        self._resource_type = resource_type
        self._callbacks = callbacks
        self._dispatcher = dispatcher
        self._random = random
        self._stats = stats
        self._update_stats = update_stats
        self._version_text = scope.text_readout("version_text")
        self._refresh_delay = duration_of(source, "refresh_delay", 0.0)
        self._request_timeout = duration_of(source, "request_timeout", _REQUEST_TIMEOUT)
        self._initial_fetch_timeout = initial_fetch_timeout
        self._largest = largest
        self._warn = warn
        self._checks_support = checks_support
        self._on_unknown_fields = on_unknown_fields
        self._request = message_class(f"{_DISCOVERY}.DiscoveryRequest")(
            type_url=f"type.googleapis.com/{resource_type}", node=node
        )
        self._fetch_timer = dispatcher.create_timer(self._on_fetch_timeout)
        self._refresh_timer = dispatcher.create_timer(self._refresh)
        self._under_way: AsyncStream | None = None
        self._stopped = False

    def start(self, resources: Collection[str] = ()) -> None:
        if self._initial_fetch_timeout:
            self._fetch_timer.enable(self._initial_fetch_timeout)
        self.update_resource_interest(resources)
        self._refresh()

    def update_resource_interest(self, resources: Collection[str]) -> None:
        del self._request.resource_names[:]
        self._request.resource_names.extend(sorted(resources))

    def stop(self) -> None:
        self._stopped = True
        self._fetch_timer.disable()
        self._refresh_timer.disable()
        stream, self._under_way = self._under_way, None
        if stream is not None:
            stream.reset()

    # -- from the client

    def on_success(self, headers: ResponseHeaderMap, body: bytes, trailers: HeaderMap | None) -> None:
        self._under_way = None
        if headers.status == 200:
            self._take(body)
        elif headers.status != 304:  # which says that nothing has changed
            self._failed(f"status {headers.status}")
        self._again()

    def on_failure(self) -> None:
        self._under_way = None
        self._failed("no answer")
        self._again()

    # -- inside

    def _refresh(self) -> None:
        from google.protobuf.json_format import MessageToJson

        self._update_stats.update_attempt += 1
        log.debug(f"Sending REST request for {PATHS[self._resource_type].decode()}")
        headers = RequestHeaderMap(b"POST", PATHS[self._resource_type], self._cluster.encode())
        headers.add(b"content-type", b"application/json")
        pool = self._request.DESCRIPTOR.file.pool
        text = MessageToJson(self._request, preserving_proto_field_name=True, indent=None, descriptor_pool=pool)
        stream = self._client().send(self._cluster, headers, text.encode(), self, self._request_timeout, self._largest)
        if not stream.done:
            self._under_way = stream

    def _again(self) -> None:
        if not self._stopped:
            self._refresh_timer.enable(self._refresh_delay * (1 + self._random.random()))

    def _on_fetch_timeout(self) -> None:
        self._stats.init_fetch_timeout += 1
        log.warning("REST config: initial fetch timed out for " + PATHS[self._resource_type].decode())
        self._callbacks.on_config_update_failed()

    def _failed(self, why: str) -> None:
        # Whoever waits waits on: there may be an answer the next time.
        self._update_stats.update_failure += 1
        log.debug(f"REST update for {PATHS[self._resource_type].decode()} failed: {why}")

    def _take(self, body: bytes) -> None:
        self._fetch_timer.disable()
        try:
            loaded = load_message(
                body.decode("utf-8", "replace"),
                f"{_DISCOVERY}.DiscoveryResponse",
                syntax="json",
                allow_unknown_fields=True,
            )
        except ConfigError as error:
            self._reject(error)
            return
        self._on_unknown_fields(len(loaded.warnings))
        begin, update = self._dispatcher.monotonic_time(), self._update_stats
        version: str = loaded.message.version_info
        try:
            resources = []
            for index, packed in enumerate(loaded.message.resources):
                path = f"resources[{index}]"
                resource = decode_resource(packed, self._resource_type, version, path).message
                if resource is None:
                    raise ConfigError("there is no resource in it", path)
                if self._checks_support:
                    require_supported_resource(resource, path, warn=self._warn)
                resources.append(resource)
            self._callbacks.on_config_update(resources, version)
        except ConfigError as error:
            self._reject(error)
            return
        self._request.version_info = version
        update.update_success += 1
        self._stats.update_time = int(self._dispatcher.wall_time() * 1000)
        update.version = xx_hash64_of_all((version.encode(),))
        self._version_text.set(version)
        self._stats.update_duration.record(int((self._dispatcher.monotonic_time() - begin) * 1000))

    def _reject(self, error: ConfigError) -> None:
        self._stats.update_rejected += 1
        log.warning(f"REST config for {PATHS[self._resource_type].decode()} rejected: {error.problem.rstrip()}")
        self._callbacks.on_config_update_failed()
