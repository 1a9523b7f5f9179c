"""PINGs that find out whether the peer is still there.

Envoy: `Http2::ConnectionImpl::sendKeepalive` and the two timers around it; `connection_keepalive` of
`Http2ProtocolOptions`.

Whatever comes shows that the peer is alive: it gives the answer its whole time again. Only the answer ends the wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...event.dispatcher import Dispatcher, Timer
    from .connection import Http2Connection
    from .settings import Http2Settings


class Keepalive:
    """Of one connection.

    Attributes:
        waiting: a PING is not answered yet.
    """

    def __init__(
        self,
        codec: Http2Connection,
        dispatcher: Dispatcher,
        draw: Callable[[], float],
        on_timeout: Callable[[], None],
    ) -> None:
        """`draw` is a number of 0 to 1, for the jitter; `on_timeout` closes the connection."""
        settings: Http2Settings = codec.settings
        self.waiting = False
        self._codec = codec
        self._dispatcher = dispatcher
        self._draw = draw
        self._on_timeout = on_timeout
        self._interval = settings.keepalive_interval
        self._timeout = settings.keepalive_timeout
        self._jitter = settings.keepalive_interval * settings.keepalive_jitter / 100
        self._idle_interval = settings.keepalive_idle_interval
        self._last_received = dispatcher.monotonic_time()
        self._answer_timer: Timer = dispatcher.create_timer(self._on_no_answer)
        self._send_timer: Timer | None = None
        if self._interval:
            self._send_timer = dispatcher.create_timer(self._send)
            self._schedule()

    def on_bytes(self) -> None:
        """Something came from the peer."""
        self._last_received = self._dispatcher.monotonic_time()
        if self.waiting:
            self._answer_timer.enable(self._timeout)

    def on_answer(self) -> None:
        self.waiting = False
        self._answer_timer.disable()
        if self._send_timer is not None:
            self._schedule()

    def on_new_stream(self) -> None:
        """A stream is about to be opened on a connection that may have been silent for long."""
        if self._idle_interval and self._dispatcher.monotonic_time() - self._last_received >= self._idle_interval:
            self._send()

    def stop(self) -> None:
        self._answer_timer.disable()
        if self._send_timer is not None:
            self._send_timer.disable()

    def _schedule(self) -> None:
        assert self._send_timer is not None
        self._send_timer.enable(self._interval + self._jitter * self._draw())

    def _send(self) -> None:
        if self.waiting:
            return
        self.waiting = True
        # Envoy puts its clock there; what is there means nothing to anybody else.
        self._codec.ping(int(self._dispatcher.monotonic_time() * 1000).to_bytes(8, "big"))
        self._answer_timer.enable(self._timeout)

    def _on_no_answer(self) -> None:
        self.stop()
        self._codec.stats.keepalive_timeout += 1
        self._on_timeout()
