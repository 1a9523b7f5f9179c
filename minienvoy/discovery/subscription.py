"""What every subscription to resources counts, and where resources come from.

Envoy: `Config::SubscriptionStats`, `Config::SubscriptionFactoryImpl`; docs "xDS configuration API overview".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from .. import logger
from ..config.api import unpack
from ..config.fields import declared_in, described, honours, require_supported
from ..config.leave_out import leave_out
from ..errors import ConfigError
from ..record import record
from ..stats.histogram import Histogram
from ..stats.store import CounterValue, GaugeValue, StatsStruct

if TYPE_CHECKING:
    from ..event.file_watcher import FileWatcher

honours(
    "envoy.config.core.v3.ConfigSource",
    "path",
    "path_config_source",
    "ads",
    "api_config_source",
    "initial_fetch_timeout",
    ignored={"resource_api_version": "there is one version"},
)
declared_in("minienvoy.discovery.api_config_source", "envoy.config.core.v3.ApiConfigSource")
honours("envoy.config.core.v3.PathConfigSource", "path", "watched_directory")
honours("envoy.config.core.v3.WatchedDirectory", "path")


log = logger.get("config")
RESOURCE: Final = "envoy.service.discovery.v3.Resource"


class SubscriptionStats(StatsStruct):
    """`listener_manager.lds.*`, `cluster_manager.cds.*`, `http.PREFIX.rds.NAME.*`, `cluster.NAME.*`"""

    init_fetch_timeout: CounterValue
    update_attempt: CounterValue
    update_failure: CounterValue
    update_rejected: CounterValue
    update_success: CounterValue
    update_time: GaugeValue
    version: GaugeValue
    update_duration: Histogram


OnConfigUpdate = Callable[[Sequence[Any], str], None]
"""(resources, version): makes them the ones in use (`SubscriptionCallbacks::onConfigUpdate`).

Raises ConfigError if they can not be used: they are rejected then, and what was in use before may stay.
"""


@record
class DecodedResource:
    """A resource as a control plane has sent it (`Config::DecodedResource`).

    Attributes:
        message: None if there is none: then it only tells that the one that is there goes on.
        ttl: seconds until it is gone, unless it is sent again; 0 for never.
    """

    name: str
    version: str
    message: Any
    ttl: float = 0.0


class SubscriptionCallbacks(Protocol):
    """Who wants resources (`Config::SubscriptionCallbacks`)."""

    def on_config_update(self, resources: Sequence[Any], version: str) -> None:
        """These are all that there are. Raises ConfigError if they can not be used."""

    def on_delta_config_update(self, added: Sequence[DecodedResource], removed: Sequence[str], version: str) -> None:
        """This is what has changed. Raises ConfigError if it can not be used."""

    def on_config_update_failed(self) -> None:
        """What came was rejected, or nothing came in time: whoever waits need not any longer."""


class Subscription(Protocol):
    """Resources of one type that may change (`Config::Subscription`)."""

    def start(self, resources: Collection[str] = ()) -> None:
        """Ask for the resources of these names, or for all."""

    def update_resource_interest(self, resources: Collection[str]) -> None:
        """Ask for these instead."""

    def stop(self) -> None:
        """Nobody wants them any more."""


def name_of(message: Any) -> str:
    """What a resource is called (`OpaqueResourceDecoder::resourceName`)."""
    name: str = message.cluster_name if "cluster_name" in message.DESCRIPTOR.fields_by_name else message.name
    return name


def decode_resource(packed: Any, resource_type: str, version: str, path: str) -> DecodedResource:
    """From an `Any` of a response that has the version, with or without a `Resource` around it.

    Raises:
        ConfigError: it is of another type, can not be read, or breaks a rule of the API.
    """
    if packed.type_url.rpartition("/")[2] != RESOURCE:
        message = _unpack_resource(packed, resource_type, path)
        return DecodedResource(name_of(message), version, message)
    wrapped = unpack(packed, path)
    return decode_wrapped(wrapped, resource_type, path)


def decode_wrapped(wrapped: Any, resource_type: str, path: str) -> DecodedResource:
    """From an `envoy.service.discovery.v3.Resource`; raises ConfigError as `decode_resource`."""
    ttl = wrapped.ttl.ToMilliseconds() / 1000 if wrapped.HasField("ttl") else 0.0
    message = _unpack_resource(wrapped.resource, resource_type, path) if wrapped.HasField("resource") else None
    return DecodedResource(wrapped.name, wrapped.version, message, ttl)


def _unpack_resource(packed: Any, resource_type: str, path: str) -> Any:
    if packed.type_url.rpartition("/")[2] != resource_type:
        raise ConfigError(f"type URL {packed.type_url} does not match type.googleapis.com/{resource_type}", path)
    return unpack(packed, path, validate=True)


def shown(message: Any, limit: int) -> str:
    """As text, as Envoy shows messages in errors; nothing if it is longer than `limit` bytes."""
    from google.protobuf.text_format import MessageToString

    if message.ByteSize() > limit:
        return ""
    return MessageToString(message, descriptor_pool=message.DESCRIPTOR.file.pool)


def require_supported_resource(resource: Any, path: str, *, warn: bool, source: Any = None) -> None:
    """Nothing that is set in a resource is ignored: it is refused, or left out with words in the log.

    Raises:
        ConfigError: something is set and not honoured, and `warn` is false.
    """
    found = require_supported(resource, source, path=path, warn=warn)
    for item in found:
        log.warning(f"not honoured: {described(item, source)}")
    leave_out(resource, found, path)


class FileContext:
    """What subscriptions to files ask of the server.

    Attributes:
        now: seconds since the epoch.
        warn: what is set in resources and not honoured is told in the log; otherwise the resources are rejected.
        on_unknown_fields: told how many fields of a file nobody knows.
    """

    __slots__ = ("now", "on_unknown_fields", "warn", "watcher")

    def __init__(
        self,
        watcher: FileWatcher,
        now: Callable[[], float],
        *,
        warn: bool = False,
        on_unknown_fields: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.watcher = watcher
        self.now = now
        self.warn = warn
        self.on_unknown_fields = on_unknown_fields


def is_file(source: Any) -> bool:
    """Whether the resources of a `ConfigSource` are in a file."""
    return source.WhichOneof("config_source_specifier") in ("path", "path_config_source")


def file_of(source: Any, path: str) -> tuple[str, str]:
    """(file, directory that is watched for it or empty) of a `ConfigSource` at `path` in the configuration.

    Raises:
        ConfigError: there is no such file.
    """
    name = source.path or source.path_config_source.path
    if not os.path.exists(name):  # noqa: PTH110
        raise ConfigError(f"paths must refer to an existing path in the system: '{name}' does not exist", path)
    return name, source.path_config_source.watched_directory.path


def require_node(node: Any, what: str, path: str) -> None:
    """Envoy wants to know who asks, even where a file answers (`Config::Utility::checkLocalInfo`).

    Raises:
        ConfigError: the node has no id or no cluster.
    """
    if not node.id or not node.cluster:
        raise ConfigError(
            f"{what}: node 'id' and 'cluster' are required. Set it either in 'node' config or via --service-node and "
            "--service-cluster options.",
            path,
        )
