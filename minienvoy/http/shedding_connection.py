"""Connection managers of a server that has an overload manager: load is shed before bytes become requests.

Envoy: the part of `Http::ConnectionManagerImpl::onData` and of `Http1::ServerConnectionImpl::dispatch` that asks
`Server::LoadShedPoint`. A server without an overload manager uses the connection managers that these are made from.

Each time that bytes have come it is asked, in this order: may there be a codec at all (the first time); may this
connection go on; should it be told to go away; may HTTP/1 look at the bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ..errors import CodecProtocolError
from ..network.connection import ConnectionCloseType
from ..network.filter import FilterStatus
from ..network.overload_state import CREATING_CODEC, GO_AWAY, GO_AWAY_AND_CLOSE, HTTP1_ABORT_DISPATCH
from .conn_manager import ConnectionManager
from .http2.conn_manager import Http2ConnectionManager
from .shedding_stream import DETAILS

if TYPE_CHECKING:
    from .http1.server_connection import ServerConnection as Http1ServerConnection


class OverloadError(CodecProtocolError):
    """Nothing is wrong with what the peer sent; there is no room for it."""


class SheddingConnectionManager(ConnectionManager):
    """Of HTTP/1, or of a connection that has not said yet what it speaks."""

    @classmethod
    def http2_class(cls) -> type[ConnectionManager]:
        return Http2SheddingConnectionManager

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        overload, codec = self.config.overload, self.codec
        assert overload is not None
        if codec is None:
            if overload.sheds(CREATING_CODEC):
                self.config.stats.downstream_rq_overload_close += 1
                self.connection.close(ConnectionCloseType.FLUSH_WRITE_AND_DELAY, "codec_creation_overload")
                return FilterStatus.STOP_ITERATION
            codec = self._create_codec(data)
        if overload.sheds(GO_AWAY_AND_CLOSE):
            self._go_away_and_close()
            return FilterStatus.STOP_ITERATION
        if overload.sheds(GO_AWAY) and not self.drain_announced:
            self.start_drain_sequence()
        try:
            if not self.multiplexed and overload.sheds(HTTP1_ABORT_DISPATCH):
                cast("Http1ServerConnection", codec).abort(OverloadError(DETAILS, 500))
            codec.dispatch(data)
        except CodecProtocolError as error:
            self.on_codec_error(error)
        return FilterStatus.STOP_ITERATION

    def on_codec_error(self, error: CodecProtocolError) -> None:
        super().on_codec_error(error)
        if isinstance(error, OverloadError):
            self.config.stats.downstream_cx_protocol_error -= 1
            self.config.stats.downstream_rq_overload_close += 1

    def _go_away_and_close(self) -> None:
        self.end_streams("forced_goaway", 0)


class Http2SheddingConnectionManager(SheddingConnectionManager, Http2ConnectionManager):
    """Of HTTP/2."""

    def _go_away_and_close(self) -> None:
        self.codec.say_hello()
        self.codec.shutdown_notice()
        self.codec.go_away()
        self.codec.flush()
        super()._go_away_and_close()

    def start_drain_sequence(self) -> None:
        self.codec.say_hello()
        super().start_drain_sequence()
