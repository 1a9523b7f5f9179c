"""A request that shares its connection with others.

Envoy: `Http::ConnectionManagerImpl::ActiveStream`, of which one class serves all protocols. What is different here:
the end of a stream says nothing about its connection, and every stream has its own timers.

A stream that has been given its whole response is not over before that has left: it waits for the client's window, or
for the end of the bytes at hand. Meanwhile nothing happens to it any more (to Envoy it is a zombie), but what the
client does is told in its log line. Only a stream whose request is not complete is over at once: it is reset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...stream_info import ResponseFlag
from ..active_stream import ActiveStream
from ..codec import StreamResetReason
from ..filtered_stream import FilteredStream
from ..header_map import ResponseHeaderMap
from ..shedding_stream import SheddingFilteredStream, SheddingStream
from ..traced_stream import SheddingTracedStream, TracedStream

if TYPE_CHECKING:
    from .conn_manager import Http2ConnectionManager
    from .server_connection import ServerStream


class Http2ActiveStream(ActiveStream):
    """Used where `FilterChain.factories` is empty."""

    protocol = "HTTP/2"
    zombie: bool = False
    """All has been said, and not all has left."""
    encoder: ServerStream
    manager: Http2ConnectionManager
    _finish = ActiveStream._end
    """As `super()._end`, which every stream would have to look for."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._finish = super()._end

    def _end_connection(self) -> None:
        """It goes on: other streams are none the worse."""

    def _decide_on_connection(self, headers: ResponseHeaderMap) -> None:
        config, manager = self.config, self.manager
        if config.drain_state.active and not manager.drain_announced and config.drain_close():
            config.stats.downstream_cx_drain_close += 1
            manager.start_drain_sequence()
        elif self.saw_connection_close or self.response_code_details == "upgrade_failed":
            manager.start_drain_sequence()
        if not self.remote_complete:
            config.stats.downstream_rq_response_before_rq_complete += 1

    def _end(self, now: float = 0.0) -> None:
        encoder = self.encoder
        if self.zombie:
            self.zombie = False
            encoder.zombie = None
            self._finish(now)
            return
        given = self.local_complete and self.remote_complete and not self._lost
        if not given or (encoder.waiting is None and not encoder.connection.dispatching):
            self._finish(now)
            return
        self.ended = self.zombie = True
        encoder.zombie = self
        self.stream_idle_timeout = 0.0
        self.response_timeout_callback = None
        self._disable_timers()

    def on_encode_complete(self) -> None:
        """The codec has sent the last of it, or sends no more (`onCodecEncodeComplete`, `onCodecLowLevelReset`)."""
        self._end()

    def on_reset_stream(self, reason: StreamResetReason, details: str) -> None:
        if self.zombie:
            self.ended = False
            if details or reason is StreamResetReason.CONNECTION_TERMINATION:
                self.response_code_details = None
        if self.ended:
            return
        self.manager.on_stream_reset(self, reason)
        if reason is StreamResetReason.REMOTE_RESET or reason is StreamResetReason.REMOTE_REFUSED_STREAM_RESET:
            self._lose(ResponseFlag.DOWNSTREAM_REMOTE_RESET if details else 0, details)
        elif reason is StreamResetReason.LOCAL_RESET:
            # What the peer sent could not be taken: the codec says why.
            self._lose(ResponseFlag.DOWNSTREAM_REMOTE_RESET, details)
        elif reason is StreamResetReason.PROTOCOL_ERROR:
            self._lose(ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR, details)
        else:
            super().on_reset_stream(reason, details)

    def on_protocol_error(self, details: str) -> None:
        """The whole connection ends for what the peer did."""
        if not self.ended or self.zombie:
            self._lose(ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR, details)

    def _lose(self, flag: int, details: str) -> None:
        self.set_response_flag(flag)
        if details:
            self.response_code_details = details
        self.config.stats.downstream_rq_rx_reset += 1
        self._lost = True
        self._end()


class Http2FilteredStream(Http2ActiveStream, FilteredStream):
    """Used where there are more filters than the terminal one."""


class Http2SheddingStream(SheddingStream, Http2ActiveStream):
    """Of a server that has an overload manager."""


class Http2SheddingFilteredStream(Http2SheddingStream, Http2FilteredStream):
    """Likewise, where there are more filters than the terminal one."""


class Http2TracedStream(TracedStream, Http2FilteredStream):
    """Of a connection manager that traces requests."""


class Http2SheddingTracedStream(Http2SheddingStream, Http2TracedStream):
    """Likewise, of a server that has an overload manager."""


STREAM_CLASSES: dict[type[ActiveStream], type[Http2ActiveStream]] = {
    ActiveStream: Http2ActiveStream,
    FilteredStream: Http2FilteredStream,
    SheddingStream: Http2SheddingStream,
    SheddingFilteredStream: Http2SheddingFilteredStream,
    TracedStream: Http2TracedStream,
    SheddingTracedStream: Http2SheddingTracedStream,
}
"""By the class that HTTP/1 uses for the same filter chain."""
