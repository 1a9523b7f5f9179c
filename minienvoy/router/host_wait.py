"""A request whose host is not known yet: the cluster looks for it, and the request waits.

Envoy: `Upstream::HostSelectionResponse` with an `AsyncHostSelectionHandle`, `Router::Filter::onAsyncHostSelection`.
Until then this stands where the attempt on a host will: it takes nothing, so the router keeps what comes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..network.address import Address
from ..upstream.host import Host

if TYPE_CHECKING:
    from ..http.codec import Metadata
    from ..http.header_map import HeaderMap
    from .router import Router


class HostWait:
    """Attributes:
    cancel: stops looking; it is called if the request ends first.
    host: nobody; what is counted of it is lost.
    """

    __slots__ = ("_router", "cancel", "done", "host", "pending")

    def __init__(self, router: Router) -> None:
        self._router = router
        self.cancel: Callable[[], None] | None = None
        self.host = Host(Address(""))
        self.pending = None
        self.done = False

    def encode_data(self, data: bytes, end_stream: bool) -> bool:
        return False

    def encode_trailers(self, trailers: HeaderMap) -> bool:
        return False

    def encode_metadata(self, metadata: Metadata) -> None:
        self._router.keep_metadata(metadata)

    def on_downstream_watermark(self, high: bool) -> None:
        """Nothing comes from upstream yet."""

    def reset(self) -> None:
        self.done = True
        cancel, self.cancel = self.cancel, None
        if cancel is not None:
            cancel()

    def on_host(self, details: str) -> None:
        """The search is over; `details` says why there is no host, empty if there is one."""
        router = self._router
        self.done = True
        self.cancel = None
        router.upstream = None
        if details:
            router.no_healthy_upstream(details, waited=True)
            return
        # The request begins anew, with what has come of it; it is the same one.
        router.config.stats.rq_total -= 1
        router.decode_headers(router.request_headers, router.request_complete)
