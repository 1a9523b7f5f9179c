"""The tracers of a server: one for each configuration, however many connection managers name it.

Envoy: `Tracing::TracerManagerImpl`, `Server::Configuration::TracerFactory`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from ..config.extension import create_extension, find_extension
from ..registry import Registry
from .span import Tracer


class ReportingTracer(Tracer, Protocol):
    """A tracer that tells somebody, between `start` and `close`."""

    def start(self) -> None: ...
    def close(self) -> None: ...


TRACERS: Final[Registry[Callable[..., ReportingTracer]]] = Registry("envoy.tracers")
"""By the type of the provider's configuration; called with that and the `ServerContext`."""


class TracerManager:
    """Of one server, which starts and closes it."""

    def __init__(self) -> None:
        self._tracers: dict[bytes, ReportingTracer] = {}
        self._started = False

    def start(self) -> None:
        """From now on what is found out is told."""
        self._started = True
        for tracer in self._tracers.values():
            tracer.start()

    def close(self) -> None:
        """Nothing more is told."""
        self._started = False
        for tracer in self._tracers.values():
            tracer.close()

    def get_or_create(self, provider: Any, path: str, server: Any) -> Tracer:
        """Of an `envoy.config.trace.v3.Tracing.Http`.

        Raises:
            ConfigError: below `path`: nobody knows such a tracer, or it refuses its settings.
        """
        key: bytes = provider.typed_config.SerializeToString(deterministic=True)
        tracer = self._tracers.get(key)
        if tracer is None:
            entry = find_extension(TRACERS, provider, path)
            tracer = self._tracers[key] = create_extension(entry, provider, path, server)
            if self._started:
                tracer.start()
        return tracer
