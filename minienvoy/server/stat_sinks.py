"""The stat sinks of a server.

Envoy: `Server::Configuration::StatsSinkFactory`, `MainImpl::initializeStatsConfig`; `Bootstrap.stats_sinks`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..config.extension import create_extensions
from ..config.fields import honours
from ..registry import Registry

if TYPE_CHECKING:
    from ..stats.flush import StatSink
    from ..stats.tag_extractor import TagProducer
    from .server import Server

honours("envoy.config.metrics.v3.StatsSink", "name", "typed_config")

STAT_SINKS: Final[Registry[Callable[[Any, Any], StatSink]]] = Registry("envoy.stats_sinks")
"""By the type of their configuration; called with that and the `Server`."""


def create_stat_sinks(bootstrap: Any, server: Server) -> list[StatSink]:
    """Raises ConfigError: below `stats_sinks`."""
    return create_extensions(STAT_SINKS, bootstrap.stats_sinks, "stats_sinks", server)


def tag_producer(server: Server) -> TagProducer:
    """What takes the tags out of the names of this server's statistics."""
    from ..stats.tag_extractor import TagProducer

    return TagProducer(server.tag_settings.tags, server.tag_settings.use_all_default_tags)
