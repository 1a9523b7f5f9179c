"""The datagrams between one client and one host.

Envoy: `UdpProxyFilter::ActiveSession`, `UdpActiveSession`. A session has a socket of its own, connected to its host: by
the port of that socket answers find back, and the kernel tells it when nobody listens there.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

from ..... import logger
from .....network.address import Address
from .....network.udp_listener import PeerAddress, UdpListener, UdpRecvData, read_datagrams
from .....stream_info import AccessLogType, ConnectionInfo, StreamInfo

if TYPE_CHECKING:
    from .....event.dispatcher import LazyTimer, Timer
    from .....upstream.host import Host
    from .cluster_info import ClusterInfo

METADATA: Final = "udp.proxy.session"
"""In the dynamic metadata of a session, for its log: what it has passed on."""

log = logger.get("filter")


class ActiveSession:
    """Attributes:
    key: by what its cluster finds it again.
    """

    __slots__ = (
        "_bytes_received",
        "_bytes_sent",
        "_cluster",
        "_connected",
        "_datagrams_received",
        "_datagrams_sent",
        "_errors_sent",
        "_flush_timer",
        "_idle_timer",
        "_listener",
        "_local_host",
        "_peer",
        "_raw",
        "_stream_info",
        "host",
        "key",
    )

    def __init__(
        self,
        cluster: ClusterInfo,
        key: Any,
        datagram: UdpRecvData,
        host: Host,
        listener: UdpListener,
        id: int,
    ) -> None:
        """`datagram` is the first one, whose addresses are those of all."""
        self._cluster = cluster
        self.key = key
        self._peer, self._local_host = datagram.peer, datagram.local_host
        self.host = host
        self._listener = listener
        self._bytes_received = self._bytes_sent = 0
        self._datagrams_received = self._datagrams_sent = self._errors_sent = 0
        self._raw: socket.socket | None = None
        self._connected = False
        self._idle_timer: LazyTimer | None = None
        self._flush_timer: Timer | None = None
        stats = cluster.config.stats
        stats.downstream_sess_total += 1
        stats.downstream_sess_active += 1
        self._stream_info = self._describe(id) if cluster.config.session_access_logs else None

    def open(self) -> bool:
        """Be ready for datagrams; False if the process has no more sockets. `close` has to follow in any case."""
        dispatcher, config = self._listener.dispatcher, self._cluster.config
        try:
            raw = self._raw = socket.socket(self.host.address.family, socket.SOCK_DGRAM)
        except OSError as error:
            log.warning(f"no session with {self.host}: {error.strerror}")
            return False
        raw.setblocking(False)
        dispatcher.datagrams.add(raw, self._on_readable)
        self._idle_timer = dispatcher.create_lazy_timer(self._on_idle_timeout)
        if self._stream_info is not None:
            self._stream_info.upstream_host = self.host
            if config.flush_interval:
                self._flush_timer = dispatcher.create_timer(self._on_flush_interval)
                self._flush_timer.enable(config.flush_interval)
        return True

    def on_data(self, data: bytes) -> None:
        """From the client, for the host."""
        size = len(data)
        stats = self._cluster.config.stats
        stats.downstream_sess_rx_bytes += size
        stats.downstream_sess_rx_datagrams += 1
        self._bytes_received += size
        self._datagrams_received += 1
        raw = self._restart_idle_timer()
        cluster_stats = self._cluster.stats
        try:
            if not self._connected:
                raw.connect(self.host.address.sockaddr)
                self._connected = True
            raw.send(data)
        except OSError as error:
            log.debug(f"cannot send to {self.host}: {error.strerror}")
            cluster_stats.sess_tx_errors += 1
            return
        cluster_stats.sess_tx_datagrams += 1
        self._cluster.traffic.upstream_cx_tx_bytes_total += size

    def close(self) -> None:
        """Let the client's next datagram begin another session; who calls this has forgotten this one."""
        dispatcher, raw = self._listener.dispatcher, self._raw
        if self._idle_timer is not None:
            self._idle_timer.close()
        if self._flush_timer is not None:
            self._flush_timer.disable()
        if self._stream_info is not None:
            self._stream_info.request_complete_time = dispatcher.monotonic_time()
            self._log(self._stream_info, AccessLogType.UDP_SESSION_END)
        if raw is not None:
            dispatcher.datagrams.remove(raw)
            raw.close()
        self._cluster.config.stats.downstream_sess_active -= 1

    def _restart_idle_timer(self) -> socket.socket:
        assert self._raw is not None and self._idle_timer is not None, "open() comes first"
        self._idle_timer.enable(self._cluster.config.idle_timeout)
        return self._raw

    def _on_readable(self) -> None:
        raw = self._restart_idle_timer()
        error = read_datagrams(raw, self._cluster.config.rx_datagram_size, 0, self._take)
        if error is not None:
            log.debug(f"cannot receive from {self.host}: {error.strerror}")
            self._cluster.stats.sess_rx_errors += 1

    def _take(self, data: bytes, ancillary: Any, truncated: bool, peer: PeerAddress) -> None:
        """From the host, for the client."""
        if truncated:
            self._cluster.stats.sess_rx_datagrams_dropped += 1
            return
        size = len(data)
        self._cluster.stats.sess_rx_datagrams += 1
        self._cluster.traffic.upstream_cx_rx_bytes_total += size
        stats = self._cluster.config.stats
        if self._listener.send(data, self._local_host, self._peer):
            stats.downstream_sess_tx_bytes += size
            stats.downstream_sess_tx_datagrams += 1
            self._bytes_sent += size
            self._datagrams_sent += 1
        else:
            stats.downstream_sess_tx_errors += 1
            self._errors_sent += 1

    def _on_idle_timeout(self) -> None:
        self._cluster.config.stats.idle_timeout += 1
        self._cluster.remove_session(self)

    # -- the log

    def _describe(self, id: int) -> StreamInfo:
        dispatcher = self._listener.dispatcher
        info = StreamInfo()
        info.start_time = dispatcher.wall_time()
        info.start_monotonic = dispatcher.monotonic_time()
        peer = Address.from_sockaddr(self._listener.raw.family, self._peer)
        info.connection = ConnectionInfo(self._listener.address_of(self._local_host), peer, id)
        return info

    def _on_flush_interval(self) -> None:
        assert self._stream_info is not None and self._flush_timer is not None
        self._log(self._stream_info, AccessLogType.UDP_PERIODIC)
        self._flush_timer.enable(self._cluster.config.flush_interval)

    def _log(self, info: StreamInfo, kind: str) -> None:
        info.bytes_received, info.bytes_sent = self._bytes_received, self._bytes_sent
        if self._connected and self._raw is not None:
            local = Address.from_sockaddr(self._raw.family, self._raw.getsockname())
            info.upstream_connection = ConnectionInfo(local, self.host.address)
        info.dynamic_metadata[METADATA] = {
            "bytes_received": self._bytes_received,
            "bytes_sent": self._bytes_sent,
            "cluster_name": self._cluster.name,
            "datagrams_received": self._datagrams_received,
            "datagrams_sent": self._datagrams_sent,
            "errors_sent": self._errors_sent,
        }
        for access_log in self._cluster.config.session_access_logs:
            access_log.log(None, None, None, info, kind)
