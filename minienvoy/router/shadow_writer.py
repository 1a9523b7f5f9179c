"""Copies of requests for clusters that only watch.

Envoy: `Router::ShadowWriterImpl`, `ShadowPolicyImpl`; docs "Request mirroring". Fire and forget: a shadow is sent along
with the request, and nobody looks at the answer. What becomes of it is nothing to the request; but who is to be told a
large body twice is read no faster than the slower of the two takes it, as in Envoy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..config.fields import honours
from ..config.runtime import RuntimeFractionalPercent
from ..errors import ConfigError
from ..http.codec import RequestEncoder, StreamResetReason
from ..http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ..upstream.conn_pool import PoolFailureReason
from ..upstream.http_conn_pool import PendingStream, http_conn_pool
from .header_parser import HeaderParser

if TYPE_CHECKING:
    from ..event.dispatcher import Timer
    from ..http.filter_manager import FilterManager
    from ..upstream.cluster import Cluster
    from ..upstream.codec_client import CodecClient
    from ..upstream.host import Host
    from .route_entry import CommonVirtualHost
    from .router_config import RouterConfig

honours(
    "envoy.config.route.v3.RouteAction.RequestMirrorPolicy",
    "cluster",
    "cluster_header",
    "runtime_fraction",
    "disable_shadow_host_suffix_append",
    "request_headers_mutations",
    "host_rewrite_literal",
    ignored={"trace_sampled": "shadows are not traced"},
)
honours("envoy.config.common.mutation_rules.v3.HeaderMutation", "append", "remove")


class ShadowPolicy:
    """One `RequestMirrorPolicy`.

    Attributes:
        cluster_name: where shadows go; empty if a header tells.
    """

    __slots__ = ("_cluster_header", "_enabled", "_host", "_local_address", "_mutations", "_suffix", "cluster_name")

    def __init__(self, proto: Any, path: str, common: CommonVirtualHost) -> None:
        """Raises ConfigError below `path`."""
        if bool(proto.cluster) == bool(proto.cluster_header):
            raise ConfigError("exactly one of cluster and cluster_header must be specified", path)
        self.cluster_name: str = proto.cluster
        self._cluster_header = proto.cluster_header.lower().encode()
        self._host = proto.host_rewrite_literal.encode()
        self._suffix = not proto.disable_shadow_host_suffix_append
        self._local_address = getattr(common.sources, "local_address", "127.0.0.1").encode()
        self._enabled: Callable[[], bool] = lambda: True
        if proto.HasField("runtime_fraction"):
            self._enabled = _fraction(proto.runtime_fraction, common)
        found = [
            HeaderParser.from_proto(
                [each.append] if each.HasField("append") else (),
                [each.remove] if each.remove else (),
                f"{path}.request_headers_mutations[{at}].headers",
                common.sources,
            )
            for at, each in enumerate(proto.request_headers_mutations)
        ]
        self._mutations = tuple(parser for parser in found if parser is not None)

    def cluster_of(self, headers: RequestHeaderMap) -> str:
        """Where the shadow of this request goes; empty if it has none."""
        if not self._enabled():
            return ""
        if self._cluster_header:
            return (headers.get(self._cluster_header) or b"").decode("latin-1")
        return self.cluster_name

    def shadow_headers(self, headers: RequestHeaderMap, stream: FilterManager) -> RequestHeaderMap:
        """A copy of what the upstream is sent, marked as a shadow."""
        made = headers.copy()
        if self._mutations:
            stream.describe()
            for parser in self._mutations:
                parser.evaluate(made, stream, headers, None)
        if self._host:
            made.authority = self._host
        elif self._suffix:
            made.authority = shadow_host(made.authority)
        made.set(b"x-envoy-internal", b"true")
        before = made.get(b"x-forwarded-for")
        address = self._local_address
        made.set(b"x-forwarded-for", b"%b,%b" % (before, address) if before else address)
        return made


def shadow_host(host: bytes) -> bytes:
    """`a.test:80` is shadowed by `a.test-shadow:80`."""
    name, colon, port = host.rpartition(b":")
    if colon and (port.isdigit() or not port):
        return b"%b-shadow:%b" % (name, port)
    return host + b"-shadow"


def shadow_policies(protos: Sequence[Any], path: str, common: CommonVirtualHost) -> tuple[ShadowPolicy, ...]:
    """Of a repeated field; raises ConfigError below `path`."""
    return tuple(ShadowPolicy(proto, f"{path}[{at}]", common) for at, proto in enumerate(protos))


def _fraction(proto: Any, common: CommonVirtualHost) -> Callable[[], bool]:
    fraction, runtime, random = RuntimeFractionalPercent.from_proto(proto), common.runtime, common.random
    if runtime is None:
        return lambda: fraction.default.enabled(random())
    return lambda: runtime.snapshot.fraction_enabled(fraction, random())


def start_shadows(
    policies: tuple[ShadowPolicy, ...],
    config: RouterConfig,
    headers: RequestHeaderMap,
    stream: FilterManager,
    timeout: float,
    end_stream: bool,
    limit: int,
) -> list[ShadowRequest]:
    """Send the shadows of a request on their way; those that want the rest of it are returned.

    Args:
        limit: bytes that may wait for a shadow's connection before the client has to.
    """
    started: list[ShadowRequest] = []
    if headers.method == b"CONNECT":
        # A tunnel can not be told twice.
        return started
    for policy in policies:
        cluster = config.get_cluster(policy.cluster_of(headers))
        if cluster is None:
            continue
        shadow = ShadowRequest(cluster, policy.shadow_headers(headers, stream), stream, timeout, limit)
        shadow.start(config, end_stream)
        if not end_stream and not shadow.done:
            started.append(shadow)
    return started


class ShadowRequest:
    """One shadow, from the host that is chosen for it to the end of an answer that is dropped.

    Attributes:
        done: it is complete, or was given up.
    """

    __slots__ = (
        "_client",
        "_cluster",
        "_complete",
        "_encoder",
        "_headers",
        "_host",
        "_limit",
        "_paused",
        "_pending",
        "_start",
        "_stream",
        "_timeout",
        "_timer",
        "_trailers",
        "_waiting",
        "_waiting_size",
        "dispatcher",
        "done",
    )

    def __init__(
        self, cluster: Cluster, headers: RequestHeaderMap, stream: FilterManager, timeout: float, limit: int
    ) -> None:
        self._cluster = cluster
        self._headers = headers
        self.dispatcher = stream.dispatcher
        self._stream = stream
        self._limit = limit
        self._start = stream.dispatcher.monotonic_time()
        self._client: CodecClient | None = None
        self._encoder: RequestEncoder | None = None
        self._pending: PendingStream | None = None
        self._host: Host | None = None
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        self._trailers: HeaderMap | None = None
        self._complete = self._paused = self.done = False
        self._timer: Timer | None = None
        self._timeout = timeout

    def start(self, config: RouterConfig, end_stream: bool) -> None:
        if end_stream:
            self._on_request_complete()
        cluster = self._cluster
        host = self._host = cluster.load_balancer.choose_host(None)
        if host is None:
            cluster.stats.traffic.upstream_cx_none_healthy += 1
            self._finish(503)
            return
        pool = host.http_pools.get(0) or http_conn_pool(cluster, host, config.make_codec, headers=self._headers)
        if pool is None:
            self._finish(503)
            return
        pending = pool.new_stream(self)
        if pending is not None and not self.done:
            self._pending = pending

    # -- the rest of the request

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        if self.done:
            return
        if self._encoder is None:
            self._waiting.append(data)
            self._waiting_size += len(data)
            if self._waiting_size - len(data) <= self._limit < self._waiting_size:
                self._cluster.stats.traffic.upstream_flow_control_backed_up_total += 1
                self._on_watermark(True)
        if end_stream:
            self._on_request_complete()
        if self._encoder is not None:
            self._encoder.encode_data(data, end_stream)

    def abandon(self) -> None:
        """The request is too large to be sent again; it is not too large to be passed on."""

    def encode_trailers(self, trailers: HeaderMap) -> None:
        if self.done:
            return
        self._on_request_complete()
        copy = HeaderMap(trailers.entries[:], trailers.seen)
        if self._encoder is not None:
            self._encoder.encode_trailers(copy)
        else:
            self._trailers = copy

    def reset(self) -> None:
        """Give it up."""
        if self.done:
            return
        client, pending = self._client, self._pending
        self._finish(0)
        if pending is not None:
            pending.cancel()
        if client is not None:
            client.watermark = None
            client.reset_stream(StreamResetReason.LOCAL_RESET)

    # -- from the pool

    def on_pool_ready(self, client: CodecClient) -> None:
        self._pending = None
        self._client = client
        if self._host is not None and self._host.outlier is not None:
            self._host.outlier.put_connected()
        client.watermark = self._on_watermark
        encoder = self._encoder = client.codec.new_stream(self)
        waiting, self._waiting = self._waiting, []
        trailers = self._trailers
        encoder.encode_headers(self._headers, self._complete and not waiting and trailers is None)
        self._drain()
        if waiting:
            encoder.encode_data(b"".join(waiting), self._complete and trailers is None)
        if trailers is not None:
            encoder.encode_trailers(trailers)

    def on_pool_failure(self, reason: PoolFailureReason, details: str, host: Host | None) -> None:
        self._pending = None
        if host is not None:
            host.stats.rq_error += 1
            if host.outlier is not None and reason is not PoolFailureReason.OVERFLOW:
                host.outlier.put_connect_failure()
        self._finish(503)

    # -- from the codec

    def on_request_refused(self, problem: str) -> None:
        self.reset()

    def decode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        """Nobody waits for it."""

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        status = headers.status
        self._cluster.code_stats.charge_response(status, True)
        if self._host is not None:
            if status >= 500:
                self._host.stats.rq_error += 1
            else:
                self._host.stats.rq_success += 1
            if self._host.outlier is not None:
                self._host.outlier.put_http_response_code(status)
        if end_stream:
            self._on_response_complete()

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        if end_stream:
            self._on_response_complete()

    def decode_trailers(self, trailers: HeaderMap) -> None:
        self._on_response_complete()

    def on_reset_stream(self, reason: StreamResetReason, details: str) -> None:
        if self.done:
            return
        if self._host is not None:
            self._host.stats.rq_error += 1
            if self._host.outlier is not None:
                self._host.outlier.put_connect_failure()
        self._finish(502 if reason is StreamResetReason.PROTOCOL_ERROR else 503)

    # -- inside

    def _on_request_complete(self) -> None:
        """The time that the answer may take counts from here."""
        self._complete = True
        self._on_watermark(False)
        self._start = self.dispatcher.monotonic_time()
        if self._timeout:
            self._timer = self.dispatcher.create_timer(self._on_timeout)
            self._timer.enable(self._timeout)

    def _on_response_complete(self) -> None:
        now = self.dispatcher.monotonic_time()
        client = self._client
        self._cluster.code_stats.charge_timing(int((now - self._start) * 1000), True)
        self._finish(0)
        if client is not None:
            client.watermark = None
            client.pool.on_stream_complete(client, now)

    def _on_watermark(self, high: bool) -> None:
        """A shadow that can not keep up makes the request wait, until that is complete."""
        if high != self._paused and not (high and self._complete):
            self._paused = high
            self._stream.pause_request(high)

    def _drain(self) -> None:
        """What waited for a connection waits no longer."""
        if self._waiting_size > self._limit:
            self._waiting_size = 0
            self._cluster.stats.traffic.upstream_flow_control_drained_total += 1
            self._on_watermark(False)

    def _on_timeout(self) -> None:
        self._cluster.stats.traffic.upstream_rq_timeout += 1
        self._cluster.code_stats.charge_response(504, True)
        if self._host is not None:
            self._host.stats.rq_timeout += 1
            if self._host.outlier is not None:
                self._host.outlier.put_timeout()
        self.reset()

    def _finish(self, status: int) -> None:
        """It is over; `status` is that of an answer that Envoy would have made up, 0 if there is none."""
        self.done = True
        self._drain()
        self._on_watermark(False)
        self._client = self._pending = self._encoder = None
        self._waiting = []
        if self._timer is not None:
            self._timer.disable()
        if status:
            self._cluster.code_stats.charge_response(status, True)
