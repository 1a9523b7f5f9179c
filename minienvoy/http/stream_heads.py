"""What is done to the heads of a stream's messages, where that is more than in most.

Envoy: `Http::ConnectionManagerImpl::ActiveStream::decodeHeaders` and `encodeHeaders`, as far as they call upon
`ConnectionManagerUtility` for it. What every request needs is in `active_stream.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..stream_info import ConnectionInfo
from .conn_manager_config import ServerHeaderTransformation
from .conn_manager_utility import PATH_REDIRECT, PATH_REJECTED, append, normalize_path, strip_host
from .grpc import is_grpc
from .header_map import Entry, RequestHeaderMap, ResponseHeaderMap, entry
from .original_ip_detection import Rejection
from .stream_upgrade import UpgradableStream

if TYPE_CHECKING:
    from ..network.address import Address

_KEEP_ALIVE: Final = entry(b"connection", b"keep-alive")
_CLASSES: Final = (
    "",
    "downstream_rq_1xx",
    "downstream_rq_2xx",
    "downstream_rq_3xx",
    "downstream_rq_4xx",
    "downstream_rq_5xx",
)


class StreamHeads(UpgradableStream):
    """A stream whose messages may be told, and may tell, more than their sender said.

    Attributes:
        recreated: it goes on with a request that another stream began (`recreate_stream`).
    """

    recreated: bool = False
    _traced: bool

    def _rewrite_target(self, headers: RequestHeaderMap) -> bool:
        """Normalise path and host as configured; False if the request has been answered."""
        config = self.config
        if headers.path:
            outcome = normalize_path(headers, config)
            # gRPC clients do not follow redirects.
            if outcome == PATH_REJECTED or (outcome == PATH_REDIRECT and is_grpc(headers.get(b"content-type"))):
                config.stats.downstream_rq_failed_path_normalization += 1
                self.send_local_reply(400, "", "path_normalization_failed")
                return False
            if outcome == PATH_REDIRECT:
                config.stats.downstream_rq_redirected_with_normalized_path += 1
                location = headers.path
                self.send_local_reply(
                    307,
                    "",
                    "path_normalization_failed",
                    lambda response: response.set(b"location", location),
                )
                return False
        strip_host(headers, config)
        if not self.recreated:
            for mutate in config.early_header_mutations:
                mutate(headers, self)
        return True

    def _trust(self, found: Address | Rejection) -> bool:
        """What x-forwarded-for says replaces the peer, for this stream alone; False if it is a reason to refuse."""
        if isinstance(found, Rejection):
            self.config.stats.downstream_rq_rejected_via_ip_detection += 1
            self.send_local_reply(found.status, "", found.details)
            return False
        info = self.connection
        mine = ConnectionInfo(info.local_address, found, info.id)
        mine.direct_local_address = info.direct_local_address
        mine.direct_remote_address = info.direct_remote_address
        mine.requested_server_name = info.requested_server_name
        mine.ssl = info.ssl
        mine.ja3_hash, mine.ja4_hash = info.ja3_hash, info.ja4_hash
        mine.listener_metadata, mine.filter_chain_metadata = info.listener_metadata, info.filter_chain_metadata
        self.connection = mine
        return True

    def _set_date_and_server(self, headers: ResponseHeaderMap, date: Entry) -> None:
        """What the upstream says of the date stays; its `server` is replaced where it stands."""
        if not headers.has(b"date"):
            headers.add_entry(date)
        transformation = self.config.server_transformation
        if transformation is ServerHeaderTransformation.OVERWRITE or (
            transformation is ServerHeaderTransformation.APPEND_IF_ABSENT and not headers.has(b"server")
        ):
            headers.set(b"server", self.config.server_name)

    def _decide_on_connection(self, headers: ResponseHeaderMap) -> None:
        """Whether this response is its connection's last one, which is announced."""
        config, manager = self.config, self.manager
        if self.encoder.http_10 and not headers.has(b"content-length"):
            # There is no other end to it.
            self.saw_connection_close = True
        announced = manager.draining or manager.drain_announced
        if config.drain_state.active and not announced and config.drain_close():
            config.stats.downstream_cx_drain_close += 1
            manager.start_drain_sequence()
        if self.saw_connection_close and not manager.drain_announced:
            manager.draining = True
        if not self.remote_complete:
            # HTTP/1 can not wait for the rest of a request that has been answered, and has no use for a tunnel's end.
            manager.draining = True
            config.stats.downstream_rq_response_before_rq_complete += 1
        if (manager.draining or manager.drain_announced) and not (self._upgrade and self._opens_tunnel(headers)):
            headers.set(b"connection", b"close")
            self.encoder.last_response = manager.draining
        elif self.protocol == "HTTP/1.0":
            headers.add_entry(_KEEP_ALIVE)

    def drain_connection_upon_completion(self) -> None:
        self.saw_connection_close = True

    def _end_connection(self) -> None:
        """After this stream."""
        self.manager.draining = True

    def _complete_headers(self, headers: ResponseHeaderMap) -> None:
        """Tell the request id, by whom it has come and what has gone wrong, where that is wanted."""
        config = self.config
        self._tell_request_id(headers)
        if config.via:
            append(headers, b"via", config.via, b", ")
        if config.proxy_status is not None:
            config.proxy_status.add_to(headers, self)

    def _tell_request_id(self, headers: ResponseHeaderMap) -> None:
        if self.request_headers is not None and (self.config.always_set_request_id_in_response or self._traced):
            request_id = self.request_headers.get(b"x-request-id")
            if request_id is not None:
                headers.set(b"x-request-id", request_id)

    def _charge(self, status: int) -> None:
        if 100 <= status < 600:
            name = _CLASSES[status // 100]
            for stats in (self.config.stats, self.config.listener_stats):
                setattr(stats, name, getattr(stats, name) + 1)
