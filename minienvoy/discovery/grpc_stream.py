"""The stream to a control plane: opened again when it ends, and not asked more often than is allowed.

Envoy: `Config::GrpcStream`, `Config::ControlPlaneStats`; docs "xDS subscriptions > Control plane statistics".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from .. import logger
from ..event.token_bucket import TokenBucket
from ..stats.store import CounterValue, GaugeValue, StatsStruct

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..event.dispatcher import Dispatcher, Timer
    from ..stats.store import Scope
    from ..upstream.backoff_strategy import BackOffStrategy
    from ..upstream.grpc_client import GrpcStream as Call
    from .api_config_source import ControlPlaneClient

log = logger.get("config")
_OK = 0
_RETRIABLE = (1, 4, 14)
"""CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE: what ends by itself, if it does not last."""
_LASTS = 30.0
"""Seconds after which even those are worth a warning."""


class ControlPlaneStats(StatsStruct):
    """`control_plane.*`, below what is subscribed to if that has a stream of its own."""

    rate_limit_enforced: CounterValue
    connected_state: GaugeValue
    pending_requests: GaugeValue


class GrpcStreamCallbacks(Protocol):
    """Who speaks the protocol that the stream carries."""

    def on_stream_established(self) -> None: ...
    def on_establishment_failure(self) -> None: ...
    def on_discovery_response(self, data: bytes) -> None:
        """Raises ValueError if that is no response."""

    def on_writeable(self) -> None: ...


class GrpcStream:
    """Attributes:
    stats: of the control plane.
    identifier: what it calls itself.
    """

    def __init__(
        self,
        callbacks: GrpcStreamCallbacks,
        client: Callable[[], ControlPlaneClient],
        destination: str,
        method: str,
        dispatcher: Dispatcher,
        back_off: BackOffStrategy,
        scope: Scope,
        rate_limit: tuple[float, float] | None = None,
    ) -> None:
        """`method` is `package.Service/Method`, `destination` the cluster, for the log; `client` is asked for when the
        stream is opened first. `rate_limit` is (how many requests at once, how many a second)."""
        self._callbacks = callbacks
        self._make_client = client
        self._client: ControlPlaneClient | None = None
        self._destination = destination
        self._method = method
        self._dispatcher = dispatcher
        self._back_off = back_off
        self._retry: Timer = dispatcher.create_timer(self.establish)
        self._drain: Timer = dispatcher.create_timer(callbacks.on_writeable)
        self._drain_armed = False
        self._bucket = (
            None if rate_limit is None else TokenBucket(rate_limit[0], rate_limit[1], dispatcher.monotonic_time)
        )
        self._scope = scope.scope("control_plane")
        self.stats = self._scope.struct(ControlPlaneStats)
        self.identifier = self._scope.text_readout("identifier")
        self._call: Call | None = None
        self._number = 0
        self._blocked = False
        self._stopped = False
        self._closed_with: tuple[int, str, float] | None = None
        self._pending_told = False

    @property
    def available(self) -> bool:
        """There is a stream."""
        return self._call is not None

    def establish(self) -> None:
        """Open the stream, unless it is open."""
        if self._call is not None or self._stopped:
            return
        log.debug(f"Establishing new gRPC bidi stream to {self._destination} for {self._method}")
        if self._client is None:
            self._client = self._make_client()
        self._number += 1
        heard = _Heard(self, self._number)
        self._blocked = False
        call = self._client.start(self._method, heard)
        if heard.closed is not None:
            self._on_closed(*heard.closed)
            return
        heard.opened = True
        self._call = call
        if call.stream is not None:
            call.stream.above_watermark = self._on_watermark
        self.stats.connected_state = 1
        self._callbacks.on_stream_established()

    def stop(self) -> None:
        """Nothing is asked any more."""
        self._stopped = True
        self._retry.disable()
        self._drain.disable()
        call, self._call = self._call, None
        if call is not None:
            call.reset()
        self._scope.remove()

    def send(self, message: Any) -> None:
        if self._call is not None:
            self._call.send(message.SerializeToString())

    def may_send(self) -> bool:
        """Whether a request may be sent now; if not, `on_writeable` is called when it may."""
        if self._blocked:
            return False
        if self._bucket is None or self._bucket.consume(1.0):
            return True
        self.stats.rate_limit_enforced += 1
        if not self._drain.enabled:
            self._drain.enable(self._bucket.next_token_available())
        return False

    def count_pending(self, count: int) -> None:
        """So many requests wait."""
        self.stats.pending_requests = count

    # -- from the call

    def on_receive_message(self, number: int, message: bytes) -> None:
        if number != self._number or self._call is None:
            return
        self._back_off.reset()
        self._closed_with = None
        self.stats.connected_state = 1
        try:
            self._callbacks.on_discovery_response(message)
        except ValueError:
            # What comes is no message of the protocol: as for Envoy's decoder, that is the end of the stream.
            call, self._call = self._call, None
            if call is not None:
                call.reset()
                self._on_closed(13, "")

    def on_remote_close(self, number: int, status: int, message: str) -> None:
        if number == self._number and self._call is not None:
            self._call = None
            self._on_closed(status, message)

    def _on_closed(self, status: int, message: str) -> None:
        self._log_close(status, message)
        self.stats.connected_state = 0
        self._callbacks.on_establishment_failure()
        if not self._stopped:
            self._retry.enable(self._back_off.next_back_off())

    def _on_watermark(self, above: bool) -> None:
        self._blocked = above
        if not above and not self._stopped:
            self._callbacks.on_writeable()

    def _log_close(self, status: int, message: str) -> None:
        name = self._method.rpartition("/")[2]
        told = f"{name} gRPC config stream to {self._destination} closed"
        if status == _OK:
            log.debug(f"{told}: {status}, {message}")
            return
        if status not in _RETRIABLE:
            log.warning(f"{told}: {status}, {message}")
            return
        now, before = self._dispatcher.monotonic_time(), self._closed_with
        if before is None:
            self._closed_with = (status, message, now)
            log.debug(f"{told}: {status}, {message}")
            return
        lasted = now - before[2]
        if status != before[0]:
            self._closed_with = (status, message, now)
            since = f"(previously {before[0]}, {before[1]} since {int(lasted)}s ago)"
            log.warning(f"{told}: {status}, {message} {since}")
        elif lasted > _LASTS:
            self._closed_with = (status, message, before[2])
            log.warning(f"{told} since {int(lasted)}s ago: {status}, {message}")
        else:
            self._closed_with = (status, message, before[2])
            log.debug(f"{told}: {status}, {message}")


class _Heard:
    """One call, told by its number: what a call that was given up still says is nothing."""

    def __init__(self, stream: GrpcStream, number: int) -> None:
        self._stream = stream
        self._number = number
        self.opened = False
        self.closed: tuple[int, str] | None = None

    def on_receive_message(self, message: bytes) -> None:
        self._stream.on_receive_message(self._number, message)

    def on_remote_close(self, status: int, message: str) -> None:
        if self.opened:
            self._stream.on_remote_close(self._number, status, message)
        else:
            self.closed = (status, message)
