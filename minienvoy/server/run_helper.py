"""What ends a server, or makes it open its logs again: signals.

Envoy: `RunHelper` (`source/server/server.cc`). SIGTERM and SIGINT end the server as `/quitquitquit` does, SIGUSR1 opens
log files again after a rotation, SIGHUP is ignored.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import logger

if TYPE_CHECKING:
    import asyncio

_log = logger.get("main")


class RunHelper:
    """Takes the process's signals over until `close`. For the main thread of a process that is a server."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, shutdown: Callable[[], None], reopen_access_logs: Callable[[], None]
    ) -> None:
        """`shutdown` begins a graceful end, perhaps again; `reopen_access_logs` opens every access log by its name."""
        self._loop = loop
        self._shutdown = shutdown
        self._reopen_access_logs = reopen_access_logs
        loop.add_signal_handler(signal.SIGTERM, self._on_terminate, "ENVOY_SIGTERM")
        loop.add_signal_handler(signal.SIGINT, self._on_terminate, "SIGINT")
        loop.add_signal_handler(signal.SIGUSR1, self._on_reopen)
        loop.add_signal_handler(signal.SIGHUP, self._on_hang_up)

    def close(self) -> None:
        """Give the signals back."""
        for taken in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
            self._loop.remove_signal_handler(taken)

    def _on_terminate(self, name: str) -> None:
        _log.warning(f"caught {name}")
        self._shutdown()

    def _on_reopen(self) -> None:
        _log.info("caught SIGUSR1. Reopening access logs.")
        logger.reopen()
        self._reopen_access_logs()

    def _on_hang_up(self) -> None:
        _log.warning("caught and eating SIGHUP. See documentation for how to hot restart.")
