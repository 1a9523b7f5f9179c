"""Copies of requests for clusters that only watch.

Envoy: `Router::ShadowWriterImpl`, `ShadowPolicyImpl`; docs "Request mirroring". Fire and forget: a shadow is sent along
with the request, and nobody looks at the answer. What becomes of it is nothing to the request; but who is to be told a
large body twice is read no faster than the slower of the two takes it, as in Envoy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..config.fields import honours
from ..config.runtime import RuntimeFractionalPercent
from ..errors import ConfigError
from ..http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ..upstream.async_client import StreamOptions, new_async_stream
from .header_parser import HeaderParser

if TYPE_CHECKING:
    from ..http.filter_manager import FilterManager
    from ..upstream.cluster import Cluster
    from .common_virtual_host import CommonVirtualHost
    from .router_config import RouterConfig

honours(
    "envoy.config.route.v3.RouteAction.RequestMirrorPolicy",
    "cluster",
    "cluster_header",
    "runtime_fraction",
    "disable_shadow_host_suffix_append",
    "request_headers_mutations",
    "host_rewrite_literal",
    "trace_sampled",
)
honours("envoy.config.common.mutation_rules.v3.HeaderMutation", "append", "remove")


_MAX_DEPTH: Final = 4
"""Shadows of shadows of shadows; clusters that mirror each other would make them without an end."""


class ShadowPolicy:
    """One `RequestMirrorPolicy`.

    Attributes:
        cluster_name: where shadows go; empty if a header tells.
        local_address: what `x-forwarded-for` says of this machine.
        sampled: whether shadows of requests that have spans are sampled; None: as the request is.
    """

    __slots__ = (
        "_cluster_header",
        "_enabled",
        "_host",
        "_mutations",
        "_suffix",
        "cluster_name",
        "local_address",
        "sampled",
    )

    def __init__(self, proto: Any, path: str, common: CommonVirtualHost) -> None:
        """Raises ConfigError below `path`."""
        if bool(proto.cluster) == bool(proto.cluster_header):
            raise ConfigError("exactly one of cluster and cluster_header must be specified", path)
        self.cluster_name: str = proto.cluster
        self._cluster_header = proto.cluster_header.lower().encode()
        self._host = proto.host_rewrite_literal.encode()
        self.sampled = bool(proto.trace_sampled.value) if proto.HasField("trace_sampled") else None
        self._suffix = not proto.disable_shadow_host_suffix_append
        self.local_address = getattr(common.sources, "local_address", "127.0.0.1").encode()
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
    depth: int = 0,
) -> list[ShadowRequest]:
    """Send the shadows of a request on their way; those that want the rest of it are returned.

    Args:
        limit: bytes that may wait for a shadow's connection before the client has to.
        depth: of which shadow these are shadows: a cluster may have mirrors of its own, also for the shadows it gets.
    """
    started: list[ShadowRequest] = []
    if headers.method == b"CONNECT":
        # A tunnel can not be told twice.
        return started
    for policy in policies:
        cluster = config.get_cluster(policy.cluster_of(headers))
        if cluster is None:
            continue
        made = policy.shadow_headers(headers, stream)
        if stream.active_span is None:
            shadow = ShadowRequest(cluster, config, policy.local_address, stream, timeout, limit)
            shadow.start(made, end_stream)
        else:
            from .traced_shadow import TracedShadowRequest

            traced = TracedShadowRequest(cluster, config, policy.local_address, stream, timeout, limit)
            traced.start_traced(made, end_stream, policy.sampled)
            shadow = traced
        if not end_stream and not shadow.done:
            started.append(shadow)
        if cluster.route_policies is not None and depth < _MAX_DEPTH:
            others = cluster.route_policies.shadow_policies
            started += start_shadows(others, config, made, stream, timeout, end_stream, limit, depth + 1)
    return started


class ShadowRequest:
    """One shadow, from the host that is chosen for it to the end of an answer that is dropped."""

    __slots__ = ("_complete", "_paused", "_stream", "_upstream")

    def __init__(
        self, cluster: Cluster, config: RouterConfig, address: bytes, stream: FilterManager, timeout: float, limit: int
    ) -> None:
        """A shadow is sent by the rules of the router whose request it shadows."""
        self._stream = stream
        self._complete = self._paused = False
        options = StreamOptions(send_timeout=not config.suppress_envoy_headers, counts=config.dynamic_stats)
        self._upstream = new_async_stream(
            cluster, config.make_codec, self, timeout, address, limit, options, config.upstream_filters
        )
        self._upstream.above_watermark = self._on_watermark

    @property
    def done(self) -> bool:
        """It is complete, or was given up."""
        return self._upstream.done

    def start(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        self._upstream.send_headers(headers, end_stream)

    # -- the rest of the request

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        if self.done:
            return
        waits = not self._upstream.connected
        if end_stream and not waits:
            self._on_request_complete()
        self._upstream.send_data(data, end_stream)
        if end_stream and waits:
            self._on_request_complete()

    def encode_trailers(self, trailers: HeaderMap) -> None:
        if not self.done:
            self._on_request_complete()
            self._upstream.send_trailers(HeaderMap(trailers.entries[:], trailers.seen))

    def abandon(self) -> None:
        """The request is too large to be sent again; it is not too large to be passed on."""

    def reset(self) -> None:
        """Give it up."""
        self._upstream.reset()
        self._on_watermark(False)

    # -- the answer, for which nobody waits

    def on_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None: ...
    def on_data(self, data: bytes, end_stream: bool) -> None: ...
    def on_trailers(self, trailers: HeaderMap) -> None: ...

    def on_complete(self) -> None:
        self._on_watermark(False)

    def on_reset(self) -> None:
        self._on_watermark(False)

    # -- inside

    def _on_request_complete(self) -> None:
        self._complete = True
        self._on_watermark(False)

    def _on_watermark(self, high: bool) -> None:
        """A shadow that can not keep up makes the request wait, until that is complete."""
        if high != self._paused and not (high and self._complete):
            self._paused = high
            self._stream.pause_request(high)
