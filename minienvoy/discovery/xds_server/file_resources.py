"""Resources of a file, read again when it changes.

Envoy: the format is that of a filesystem subscription, a `DiscoveryResponse` in YAML or JSON; its resources may be of
several types.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ... import logger
from ...config.api import unpack
from ...config.loader import load_message
from ...errors import ConfigError
from .resources import PREFIX, Resources, in_order, name_of

if TYPE_CHECKING:
    from ...event.dispatcher import Dispatcher

log = logger.get("config")
INTERVAL: Final = 0.5
"""Seconds between two looks at the file."""


class FileResources:
    """`load` it once, then `start` to follow its changes; a file that can not be used changes nothing."""

    def __init__(self, path: str, resources: Resources, dispatcher: Dispatcher) -> None:
        self._path = path
        self._resources = resources
        self._names: dict[str, frozenset[str]] = {}
        self._seen: tuple[int, int] | None = None
        self._timer = dispatcher.create_timer(self._look)

    def load(self) -> None:
        """Raises ConfigError: it can not be read, or something in it can not be."""
        try:
            text = Path(self._path).read_text(encoding="utf-8")
            self._seen = self._state()
        except OSError as error:
            raise ConfigError(f"{self._path}: {error.strerror}") from None
        syntax = "json" if self._path.endswith(".json") else "yaml"
        loaded = load_message(
            text, "envoy.service.discovery.v3.DiscoveryResponse", name=self._path, syntax=syntax
        ).message
        found: dict[str, dict[str, Any]] = {}
        for at, packed in enumerate(loaded.resources):
            message = unpack(packed, f"resources[{at}]", validate=True)
            name = name_of(message)
            if not name:
                raise ConfigError("a resource without a name can not be asked for", f"resources[{at}]")
            found.setdefault(PREFIX + message.DESCRIPTOR.full_name, {})[name] = message
        # What is new is told before what names it, and what is gone after that: nobody is left with a route to a
        # cluster that is not there (make before break).
        type_urls = in_order(list({*found, *self._names}))
        for type_url in type_urls:
            self._resources.put(type_url, found.get(type_url, {}))
        for type_url in reversed(type_urls):
            gone = self._names.get(type_url, frozenset()) - found.get(type_url, {}).keys()
            self._names[type_url] = frozenset(found.get(type_url, {}))
            self._resources.put(type_url, {}, gone=gone)

    def start(self) -> None:
        self._timer.enable(INTERVAL)

    def stop(self) -> None:
        self._timer.disable()

    def _state(self) -> tuple[int, int]:
        state = os.stat(self._path)  # noqa: PTH116 (a path as it was given)
        return state.st_mtime_ns, state.st_size

    def _look(self) -> None:
        try:
            if self._state() != self._seen:
                self.load()
                log.info(f"xds: {self._path} was read again")
        except (ConfigError, OSError) as error:
            log.warning(f"xds: {self._path} stays as it was: {error}")
        self._timer.enable(INTERVAL)
