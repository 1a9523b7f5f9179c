"""Which filter chain takes a connection.

Envoy: `Network::FilterChain`, `Server::FilterChainManagerImpl`; docs "Listeners > Filter chains", and
`envoy.config.listener.v3.FilterChainMatch` for the order of the criteria.

The criteria are tried in a fixed order: destination port, destination address, server name, transport protocol,
application protocol, directly connected source address, source type, source address, source port. Each narrows the
chains to those that are most specific about it, and what is lost at one step does not come back at a later one: if
nothing is left, the default filter chain takes the connection, if there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ConfigError
from ..explain.explanation import NO_EXPLANATION, Explanation
from ..record import record
from .address import Address
from .cidr import EVERYWHERE, CidrMap, CidrRange
from .filter import NetworkFilterFactory
from .socket import ConnectionSocket

if TYPE_CHECKING:
    from .connection import Connection
    from .transport_socket import TransportSocketFactory

ANY, SAME_IP_OR_LOOPBACK, EXTERNAL = 0, 1, 2
"""`FilterChainMatch.ConnectionSourceType`."""
_NO_IP = Address("255.255.255.255", 0)
"""What Envoy takes for the address of a unix socket where it looks for ranges."""


@record
class FilterChainMatch:
    """What a chain asks of a connection; an empty field asks for nothing."""

    destination_port: int = 0
    prefix_ranges: tuple[CidrRange, ...] = ()
    server_names: tuple[str, ...] = ()
    transport_protocol: str = ""
    application_protocols: tuple[str, ...] = ()
    direct_source_prefix_ranges: tuple[CidrRange, ...] = ()
    source_type: int = ANY
    source_prefix_ranges: tuple[CidrRange, ...] = ()
    source_ports: tuple[int, ...] = ()

    @classmethod
    def from_proto(cls, match: Any, path: str, chain_name: str = "") -> FilterChainMatch:
        """From `envoy.config.listener.v3.FilterChainMatch`; `path` leads errors to it.

        Raises:
            ConfigError: a prefix that is not an address, or a wildcard that is not a whole first label.
        """
        if match.address_suffix or match.HasField("suffix_len"):
            raise ConfigError(f"filter chain '{chain_name}' contains unimplemented fields", path)
        for index, name in enumerate(match.server_names):
            if "*" in name and ("*" in name[1:] or not name.startswith("*.")):
                raise ConfigError(
                    'partial wildcards are not supported in "server_names"', f"{path}.server_names[{index}]"
                )

        def ranges(field: str) -> tuple[CidrRange, ...]:
            return tuple(
                CidrRange.from_proto(config, f"{path}.{field}[{index}]")
                for index, config in enumerate(getattr(match, field))
            )

        return cls(
            match.destination_port.value,
            ranges("prefix_ranges"),
            tuple(match.server_names),
            match.transport_protocol,
            tuple(match.application_protocols),
            ranges("direct_source_prefix_ranges"),
            match.source_type,
            ranges("source_prefix_ranges"),
            tuple(match.source_ports),
        )


class FilterChain:
    """The filters of a connection, made anew for each.

    Attributes:
        name: as configured; may be empty.
        filters: what makes the read filters, in order.
        transport_socket_connect_timeout: seconds for the handshake of the transport socket; 0 for no limit.
        transport_socket: makes its connections more than plain; None if they are plain.
        metadata: `filter_metadata` as plain values, for logs and headers; None if there is none.
    """

    __slots__ = ("filters", "match", "metadata", "name", "transport_socket", "transport_socket_connect_timeout")

    def __init__(
        self,
        name: str,
        filters: Sequence[NetworkFilterFactory],
        match: FilterChainMatch | None = None,
        transport_socket_connect_timeout: float = 0.0,
        metadata: Mapping[str, Mapping[str, Any]] | None = None,
        transport_socket: TransportSocketFactory | None = None,
    ) -> None:
        self.name = name
        self.filters = tuple(filters)
        self.match = match or FilterChainMatch()
        self.transport_socket_connect_timeout = transport_socket_connect_timeout
        self.metadata = metadata
        self.transport_socket = transport_socket

    def create_filters(self, connection: Connection) -> None:
        """Give `connection` its filters (`FilterChainFactory::createNetworkFilterChain`)."""
        for make in self.filters:
            connection.add_read_filter(make())

    def __str__(self) -> str:
        return self.name or "(unnamed)"


class _Point(NamedTuple):
    """One combination of values that a chain matches: a path through the criteria. None is no range: any address."""

    destination_port: int
    destination: CidrRange | None
    server_name: str
    transport_protocol: str
    application_protocol: str
    direct_source: CidrRange | None
    source_type: int
    source: CidrRange | None
    source_port: int


def _points(match: FilterChainMatch) -> Iterator[_Point]:
    for values in product(
        (match.destination_port,),
        match.prefix_ranges or (None,),
        # The suffix of `*.example.com` is kept with its dot: no name begins with one.
        tuple(name.lower().removeprefix("*") for name in match.server_names) or ("",),
        (match.transport_protocol,),
        match.application_protocols or ("",),
        match.direct_source_prefix_ranges or (None,),
        (match.source_type,),
        match.source_prefix_ranges or (None,),
        match.source_ports or (0,),
    ):
        yield _Point(*values)


_Step = Callable[[ConnectionSocket], "FilterChain | None"]
FindChain = Callable[[ConnectionSocket], "tuple[bool, FilterChain | None]"]
"""Whether there is a match, and with which chain: it may be one that there is not."""


class FilterChainManager:
    """The filter chains of a listener, compiled.

    Raises:
        ConfigError: two chains ask for the same.
    """

    def __init__(
        self,
        filter_chains: Iterable[FilterChain],
        default_filter_chain: FilterChain | None = None,
        matcher: FindChain | None = None,
    ) -> None:
        self.filter_chains = tuple(filter_chains)
        self.default_filter_chain = default_filter_chain
        self._matcher = matcher
        if matcher is not None:
            # It is asked alone, whatever the chains say themselves.
            self._only = None
            return
        by_point: dict[_Point, FilterChain] = {}
        for chain in self.filter_chains:
            for point in _points(chain.match):
                if point in by_point:
                    raise ConfigError("multiple filter chains with overlapping matching rules are defined")
                by_point[point] = chain
        unconditional = [chain for chain in self.filter_chains if chain.match == FilterChainMatch()]
        self._only = unconditional[0] if unconditional and len(self.filter_chains) == 1 else None
        self._match = _by_destination_port(by_point)

    def find(self, socket: ConnectionSocket, explain: Explanation = NO_EXPLANATION) -> FilterChain | None:
        """The chain for an accepted socket; None if no chain wants it, and it is to be closed."""
        chain = self._only
        because = "it is the only filter chain and matches everything"
        if chain is None:
            matched = False
            if self._matcher is not None:
                matched, chain = self._matcher(socket)
                because = "filter_chain_matcher"
            else:
                chain = self._match(socket)
                because = "filter_chain_match"
            if chain is None and not matched and self.default_filter_chain is not None:
                chain = self.default_filter_chain
                because = "no filter chain matched: default_filter_chain"
        if explain is not NO_EXPLANATION:
            others = tuple(each.name or f"#{at}" for at, each in enumerate(self.filter_chains) if each is not chain)
            if chain is None:
                explain.decided("filter_chain", None, "filter_chain_not_found", others)
            else:
                explain.decided("filter_chain", chain.name or "(unnamed)", because, others)
        return chain


# Each function below compiles one criterion over what the criteria after it compile to, in Envoy's order.


def _grouped(points: Mapping[_Point, FilterChain], field: str) -> dict[Any, dict[_Point, FilterChain]]:
    groups: dict[Any, dict[_Point, FilterChain]] = {}
    for point, chain in points.items():
        groups.setdefault(getattr(point, field), {})[point] = chain
    return groups


def _nothing(socket: ConnectionSocket) -> FilterChain | None:
    return None


def _exactly(
    points: Mapping[_Point, FilterChain],
    field: str,
    value: Callable[[ConnectionSocket], Any],
    then: Callable[[Mapping[_Point, FilterChain]], _Step],
    anything: Any,
) -> _Step:
    steps = {key: then(group) for key, group in _grouped(points, field).items()}
    otherwise = steps.pop(anything, _nothing)
    if not steps:
        return otherwise

    def match(socket: ConnectionSocket) -> FilterChain | None:
        return steps.get(value(socket), otherwise)(socket)

    return match


def _in_range(
    points: Mapping[_Point, FilterChain],
    field: str,
    address: Callable[[ConnectionSocket], Any],
    then: Callable[[Mapping[_Point, FilterChain]], _Step],
) -> _Step:
    steps_of = {cidr: then(group) for cidr, group in _grouped(points, field).items()}
    anywhere = steps_of.pop(None, None)
    if not steps_of and anywhere is not None:
        return anywhere  # nobody asks for this: the address is not even looked at
    if anywhere is not None:
        # Who asks for 0.0.0.0/0 comes before who asks for nothing; Envoy leaves that to the order of a hash table.
        steps_of = dict.fromkeys(EVERYWHERE, anywhere) | steps_of
    steps: CidrMap[_Step] = CidrMap(steps_of.items())
    no_ip = steps.find(_NO_IP) or _nothing

    def match(socket: ConnectionSocket) -> FilterChain | None:
        where = address(socket)
        if where.path:
            return no_ip(socket)
        step = steps.find(where)
        return None if step is None else step(socket)

    return match


def _by_destination_port(points: Mapping[_Point, FilterChain]) -> _Step:
    return _exactly(points, "destination_port", lambda socket: socket.local_address.port, _by_destination, 0)


def _by_destination(points: Mapping[_Point, FilterChain]) -> _Step:
    return _in_range(points, "destination", lambda socket: socket.local_address, _by_server_name)


def _by_server_name(points: Mapping[_Point, FilterChain]) -> _Step:
    steps = {key: _by_transport_protocol(group) for key, group in _grouped(points, "server_name").items()}
    otherwise = steps.pop("", _nothing)
    if not steps:
        return otherwise

    def match(socket: ConnectionSocket) -> FilterChain | None:
        name = socket.requested_server_name
        at = 0
        while name and at >= 0:
            # The name itself, then `.b.c`, `.c`: suffixes from the longest on.
            step = steps.get(name[at:])
            if step is not None:
                return step(socket)
            at = name.find(".", at + 1)
        return otherwise(socket)

    return match


def _by_transport_protocol(points: Mapping[_Point, FilterChain]) -> _Step:
    return _exactly(
        points,
        "transport_protocol",
        lambda socket: socket.detected_transport_protocol,
        _by_application_protocol,
        "",
    )


def _by_application_protocol(points: Mapping[_Point, FilterChain]) -> _Step:
    steps = {key: _by_direct_source(group) for key, group in _grouped(points, "application_protocol").items()}
    otherwise = steps.pop("", _nothing)
    if not steps:
        return otherwise

    def match(socket: ConnectionSocket) -> FilterChain | None:
        for protocol in socket.requested_application_protocols:
            if protocol in steps:
                return steps[protocol](socket)
        return otherwise(socket)

    return match


def _by_direct_source(points: Mapping[_Point, FilterChain]) -> _Step:
    return _in_range(points, "direct_source", lambda socket: socket.info.direct_remote_address, _by_source_type)


def _by_source_type(points: Mapping[_Point, FilterChain]) -> _Step:
    return _exactly(points, "source_type", _source_type, _by_source, ANY)


def _source_type(socket: ConnectionSocket) -> int:
    remote = socket.remote_address
    if remote.is_internal:
        return EXTERNAL
    same = remote.host == socket.local_address.host or bool(remote.path) or remote.is_loopback
    return SAME_IP_OR_LOOPBACK if same else EXTERNAL


def _by_source(points: Mapping[_Point, FilterChain]) -> _Step:
    return _in_range(points, "source", lambda socket: socket.remote_address, _by_source_port)


def _by_source_port(points: Mapping[_Point, FilterChain]) -> _Step:
    return _exactly(points, "source_port", lambda socket: socket.remote_address.port, _found, 0)


def _found(points: Mapping[_Point, FilterChain]) -> _Step:
    (chain,) = set(points.values())
    return lambda socket: chain
