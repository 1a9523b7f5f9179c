"""Objects of the filter state, made of formats.

Envoy: `Extensions::Filters::Common::SetFilterState::Config`, `StreamInfo::FilterState::ObjectFactory`; docs "Well Known
Filter State Objects".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ....access_log.context import FormatterContext
from ....access_log.substitution_format_string import compile_substitution_format
from ....config.fields import honours
from ....errors import ConfigError
from ....http.ascii_number import unsigned
from ....network.address import Address
from ....stream_info import StreamInfo, TextState
from ...clusters.dynamic_forward_proxy import DYNAMIC_HOST, DYNAMIC_PORT
from ...clusters.original_dst import FILTER_STATE as ORIGINAL_DST_ADDRESS
from ..network.tcp_proxy import DISABLE_TUNNELING, PER_CONNECTION_CLUSTER

_V3: Final = "envoy.extensions.filters.common.set_filter_state.v3"
MAX_PORT: Final = 2**32


def _text(value: str) -> Any:
    return value


def _address(value: str) -> Address | None:
    try:
        return Address.ip(value, 0)
    except ValueError:
        return None


def _address_and_port(value: str) -> Address | None:
    host, colon, port = value.rpartition(":")
    number = unsigned(port.encode("latin-1", "replace"), 65536) if colon else None
    if number is None or (":" in host) != (host[:1] == "[" and host[-1:] == "]"):
        return None
    try:
        return Address.ip(host.strip("[]"), number)
    except ValueError:
        return None


FACTORIES: Final[Mapping[str, Callable[[str], Any]]] = {
    "envoy.string": _text,
    "envoy.hashable_string": _text,
    "envoy.network.ip": _address,
    PER_CONNECTION_CLUSTER: TextState,
    DISABLE_TUNNELING: lambda value: value == "true",
    DYNAMIC_HOST: _text,
    DYNAMIC_PORT: lambda value: unsigned(value.encode("utf-8", "surrogateescape"), MAX_PORT),
    ORIGINAL_DST_ADDRESS: _address_and_port,
}
"""What makes an object of a text, by its name; None if that is no such object."""
OTHERS: Final = frozenset(
    {
        "envoy.network.upstream_server_name",
        "envoy.network.application_protocols",
        "envoy.network.upstream_subject_alt_names",
        "envoy.filters.listener.original_dst.local_ip",
        "envoy.filters.listener.original_dst.remote_ip",
        "envoy.tcp_proxy.per_connection_idle_timeout_ms",
        "envoy.network.network_namespace",
        "envoy.ratelimit.hits_addend",
    }
)
"""Objects that Envoy knows and nobody asks for here."""


def _factory_of(proto: Any) -> str:
    return proto.factory_key or proto.object_key  # type: ignore[no-any-return]


def _known(proto: Any) -> str | None:
    name = proto.object_key
    return f"nothing here asks for {name}" if name in OTHERS or _factory_of(proto) in OTHERS else None


honours(
    f"{_V3}.FilterStateValue",
    "factory_key",
    "format_string",
    "read_only",
    "skip_if_empty",
    values={"shared_with_upstream": ("NONE",)},
    when={"object_key": _known},
)


class Value:
    """One object that is made."""

    __slots__ = ("_format", "_make", "_skip_if_empty", "key")

    def __init__(self, proto: Any, path: str, server: Any) -> None:
        """Raises ConfigError: nobody makes such an object, or a wrong format."""
        self.key: str = proto.object_key
        factory = _factory_of(proto)
        if factory not in FACTORIES and factory not in OTHERS:
            raise ConfigError(f"'{self.key}' does not have an object factory", path)
        self._make = FACTORIES.get(factory, _text)
        self._format = compile_substitution_format(proto.format_string, server, f"{path}.format_string")
        self._skip_if_empty: bool = proto.skip_if_empty

    def create(self, context: FormatterContext) -> Any:
        """None if there is nothing to set."""
        text = self._format.format(context)
        if not text and self._skip_if_empty:
            return None
        return self._make(text.encode("latin-1").decode("utf-8", "surrogateescape"))


class FilterStateConfig:
    """Several objects, in order: a format may ask for what came before it."""

    __slots__ = ("_values", "clears_route_cache")

    def __init__(self, protos: Any, path: str, server: Any, clears_route_cache: bool = False) -> None:
        """Raises ConfigError: see `Value`."""
        self._values = tuple(Value(each, f"{path}[{at}]", server) for at, each in enumerate(protos))
        self.clears_route_cache = clears_route_cache

    def update(self, state: dict[str, Any], stream: StreamInfo, headers: Any = None) -> None:
        """Put the objects into `state`: of a stream, where an object of its connection stays as it is, or of that."""
        shared = stream.connection.filter_state
        for value in self._values:
            made = value.create(FormatterContext(stream, headers, None))
            if made is not None and (shared is None or state is shared or value.key not in shared):
                state[value.key] = made
