"""Requests that want to speak something else: `upgrade`, CONNECT, and what else the `connection` header says.

Envoy: `Http::ConnectionManagerImpl::ActiveStream::decodeHeaders` and `FilterManager::createFilterChain`; docs "HTTP
upgrades".
"""

from __future__ import annotations

from typing import Final

from .conn_manager_utility import is_upgrade
from .filter_manager import FilterChain
from .header_map import KIND, RequestHeaderMap, ResponseHeaderMap
from .stream_timers import StreamTimers

_EXPECT: Final = KIND[b"expect"]
_UPGRADE: Final = KIND[b"upgrade"]


class UpgradableStream(StreamTimers):
    """A stream that may stop to be HTTP.

    Attributes:
        saw_connection_close: the client wants the connection closed after this stream.
    """

    protocol = "HTTP/1.1"
    saw_connection_close: bool
    _upgrade: bool
    _counted_upgrade: bool = False
    _upgrade_name: bytes = b""

    def _look_at_connection_headers(self, headers: RequestHeaderMap) -> None:
        """HTTP/1.0, `expect`, `connection` and `upgrade`."""
        if self.encoder.http_10:
            self.protocol = "HTTP/1.0"
        continues = headers.seen & _EXPECT and (headers.get(b"expect") or b"").lower() == b"100-continue"
        if continues and not self.config.proxy_100_continue:
            self._encode_1xx_headers(ResponseHeaderMap(100))
            headers.remove(b"expect")
        tokens = [token.strip() for token in (headers.joined(b"connection") or b"").lower().split(b",")]
        if self.protocol == "HTTP/1.0":
            self.saw_connection_close = b"keep-alive" not in tokens
        elif b"close" in tokens:
            self.saw_connection_close = True
        self._upgrade = bool(headers.seen & _UPGRADE) and b"upgrade" in tokens

    def _encode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        raise NotImplementedError

    def _on_upgrade_refused(self) -> None:
        """HTTP/1 ends the connection as the request has not come to its end."""

    def _opens_tunnel(self, headers: ResponseHeaderMap) -> bool:
        """What follows this response is no HTTP any more."""
        if self.request_headers is not None and self.request_headers.method == b"CONNECT":
            return headers.status == 200
        return is_upgrade(headers)

    def _upgrade_chain(self) -> FilterChain:
        """Some upgrades have filters of their own."""
        config = self.config
        return config.upgrade_filter_chains.get(self._upgrade_name, config.filter_chain)

    def _allow_upgrade(self, headers: RequestHeaderMap) -> bool:
        upgrade = b"connect" if headers.method == b"CONNECT" else (headers.get(b"upgrade") or b"").lower()
        route = self.route()
        allowed = route.upgrades.get(upgrade) if route is not None else None
        if allowed is None:
            allowed = upgrade in self.config.upgrades
        if allowed:
            self._upgrade_name = upgrade
            self._counted_upgrade = True
            self.config.stats.downstream_cx_upgrades_total += 1
            self.config.stats.downstream_cx_upgrades_active += 1
            return True
        if route is None:
            # It is for the filters to say so.
            return True
        self._upgrade = False
        self.config.stats.downstream_rq_ws_on_non_ws_route += 1
        self._on_upgrade_refused()
        self.send_local_reply(403, "", "upgrade_failed")
        return False
