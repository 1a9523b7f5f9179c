"""Hosts that a header or metadata names go before what another policy would choose.

Envoy: `LoadBalancingPolicies::OverrideHost::OverrideHostLoadBalancer`,
`envoy.load_balancing_policies.override_host`. Each attempt of a request takes the next address of the list that is a
host of the cluster, whatever its health; when there are no more, the fallback policy chooses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ...config.api import validate_any_payload
from ...config.fields import honours
from ...errors import ConfigError
from ...explain.explanation import NO_EXPLANATION
from ...matchers.metadata_key import metadata_key
from ...upstream.host import Host
from ...upstream.load_balancer import (
    LOAD_BALANCERS,
    LoadBalancer,
    LoadBalancerContext,
    LoadBalancerFactory,
    LoadBalancerParams,
    stop_balancer,
)
from ...upstream.load_balancer_policy import child_policy

TYPE: Final = "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost"
honours(TYPE, "override_host_sources", "selected_host_key", "fallback_policy")
honours(f"{TYPE}.OverrideHostSource", "header", "metadata")

STATE: Final = "envoy.load_balancing_policies.override_host"
"""The key of a stream's filter state at which the addresses that are left stand."""
Path = tuple[str, ...]
Source = Callable[[LoadBalancerContext], "str | None"]


class OverrideHostLoadBalancer:
    __slots__ = ("_fallback", "_priority_set", "_selected", "_sources", "on_orca_load_report")

    def __init__(
        self, params: LoadBalancerParams, fallback: LoadBalancer, sources: tuple[Source, ...], selected: Path | None
    ) -> None:
        self._priority_set = params.priority_set
        self._fallback = fallback
        self._sources = sources
        self._selected = selected
        self.on_orca_load_report = getattr(fallback, "on_orca_load_report", None)

    def stop(self) -> None:
        stop_balancer(self._fallback)

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        stream = None if context is None else context.request_stream_info()
        if context is None or stream is None:
            return self._fallback.choose_host(context)
        addresses = stream.filter_state.get(STATE)
        if addresses is None:
            addresses = stream.filter_state[STATE] = self._addresses(context)
        host = self._next(addresses)
        if host is None:
            host = self._fallback.choose_host(context)
        elif context.explain is not NO_EXPLANATION:
            context.explain.decided("host", host, "the request names it")
        if host is not None and self._selected is not None:
            put_metadata(stream.dynamic_metadata, self._selected, host.address.text)
        return host

    def _addresses(self, context: LoadBalancerContext) -> list[str]:
        found: list[str] = []
        for source in self._sources:
            listed = source(context)
            if listed is not None:
                found.extend(each.strip() for each in listed.split(",") if each.strip())
        return found

    def _next(self, addresses: list[str]) -> Host | None:
        """The first of the addresses that is a host's; it and those before are taken off the list."""
        while addresses:
            host = self._priority_set.host_map().get(addresses.pop(0))
            if host is not None:
                return host
        return None


def put_metadata(metadata: dict[str, Any], path: Path, value: Any) -> None:
    """Set the value at `path`, whose first step is the name of a filter."""
    *outer, last = path
    for step in outer:
        inner = metadata.get(step)
        if not isinstance(inner, dict):
            inner = metadata[step] = {}
        metadata = inner
    metadata[last] = value


def _path_to_write(key: Any, path: str) -> Path:
    for at, segment in enumerate(key.path):
        if segment.WhichOneof("segment") != "key":
            raise ConfigError("an element of a list can not be written to", f"{path}.path[{at}]")
    return (key.key, *(segment.key for segment in key.path))


def _source(config: Any, path: str) -> Source:
    if not config.header and not config.HasField("metadata"):
        raise ConfigError("Empty override source", path)
    if config.header and config.HasField("metadata"):
        raise ConfigError("Only one override source must be set", path)
    if config.header:
        name = config.header.lower().encode()

        def of_header(context: LoadBalancerContext) -> str | None:
            headers = context.downstream_headers()
            value = None if headers is None else headers.get(name)
            return None if value is None else value.decode("latin-1")

        return of_header
    find = metadata_key(config.metadata)

    def of_metadata(context: LoadBalancerContext) -> str | None:
        stream = context.request_stream_info()
        value = None if stream is None else find(stream.dynamic_metadata)
        return value if isinstance(value, str) else None

    return of_metadata


@LOAD_BALANCERS.register("envoy.load_balancing_policies.override_host", TYPE)
def create_override_host(config: Any, context: Any) -> LoadBalancerFactory:
    validate_any_payload(config, context.path)
    sources = tuple(
        _source(each, f"{context.path}.override_host_sources[{index}]")
        for index, each in enumerate(config.override_host_sources)
    )
    selected: Path | None = None
    if config.HasField("selected_host_key"):
        selected = _path_to_write(config.selected_host_key, f"{context.path}.selected_host_key")
    fallback = child_policy(
        config.fallback_policy,
        context,
        "dynamic forwarding LB: didn't find a registered fallback load balancer factory with names from {}",
    )
    return lambda params: OverrideHostLoadBalancer(params, fallback(params), sources, selected)
