"""Asks the peer from time to time whether it is still there.

Envoy: `Http2::ConnectionImpl::sendKeepalive`, `onKeepaliveResponse`; docs "HTTP/2 keepalive".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from ...event.dispatcher import Dispatcher
    from .connection import Http2Connection


class Keepalive:
    """Sends PINGs on one connection and waits for the answers.

    `on_timeout` is called when an answer has not come in time.
    """

    __slots__ = ("_codec", "_dispatcher", "_number", "_on_timeout", "_random", "_send_timer", "_timeout_timer")

    def __init__(
        self, codec: Http2Connection, dispatcher: Dispatcher, random: Random, on_timeout: Callable[[], None]
    ) -> None:
        self._codec = codec
        self._dispatcher = dispatcher
        self._random = random
        self._on_timeout = on_timeout
        self._number = 0
        self._send_timer = dispatcher.create_timer(self.ping)
        self._timeout_timer = dispatcher.create_timer(self._on_silence)
        self._wait()

    def ping(self) -> None:
        """Ask now; an answer that is waited for already is enough."""
        if self._timeout_timer.enabled:
            return
        self._number += 1
        self._codec.ping(self._number.to_bytes(8, "big"))
        self._timeout_timer.enable(self._codec.settings.keepalive_timeout)

    def on_ping_ack(self) -> None:
        """The peer is there."""
        if self._timeout_timer.enabled:
            self._timeout_timer.disable()
            self._wait()

    def stop(self) -> None:
        """The connection is gone."""
        self._send_timer.disable()
        self._timeout_timer.disable()

    def _wait(self) -> None:
        settings = self._codec.settings
        interval = settings.keepalive_interval
        if interval:
            jitter = interval * settings.keepalive_jitter / 100
            self._send_timer.enable(interval + self._random.random() * jitter)

    def _on_silence(self) -> None:
        self._codec.stats.keepalive_timeout += 1
        self._on_timeout()
