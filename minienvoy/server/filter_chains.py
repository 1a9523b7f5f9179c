"""The filter chains of a listener, compiled; those that do not change are kept when the others do.

Envoy: `Server::FilterChainManagerImpl::addFilterChains`, `ListenerFilterChainFactoryBuilder`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..network.address import Address
from ..network.filter import NETWORK_FILTERS, TERMINAL_FILTERS
from ..network.filter_chain import FilterChain, FilterChainManager, FilterChainMatch
from ..network.transport_socket import DOWNSTREAM_TRANSPORT_SOCKETS, create_transport_socket
from ..upstream.load_assignment import plain_metadata
from .filter_chain_factory import create_filter_factories

if TYPE_CHECKING:
    from .factory_context import FactoryContext


class FilterChains:
    """Attributes:
    manager: chooses among them.
    """

    def __init__(
        self,
        config: Any,
        address: Address,
        context: FactoryContext,
        path: str,
        origin: FilterChains | None = None,
    ) -> None:
        """Of a `Listener` at `path`, or of one that takes no connections (None); those that `origin` has as well are
        taken from there.

        Raises:
            ConfigError: they can not be used.
        """
        self._context = context
        self._origin: Mapping[bytes, FilterChain] = {} if origin is None else origin._by_config
        self._contexts: dict[FilterChain, FactoryContext] = {} if origin is None else dict(origin._contexts)
        self._by_config: dict[bytes, FilterChain] = {}
        try:
            self.manager = FilterChainManager(()) if config is None else self._manager(config, address, path)
        except BaseException:
            self.destroy(self.new_chains())
            raise
        kept = set(self._by_config.values())
        self._contexts = {chain: own for chain, own in self._contexts.items() if chain in kept}

    def new_chains(self) -> list[FilterChain]:
        """Those that the origin does not have."""
        before = set(self._origin.values())
        return [chain for chain in self._contexts if chain not in before]

    def without(self, other: FilterChains) -> list[FilterChain]:
        """Those that `other` does not have."""
        return [chain for chain in self._contexts if chain not in other._contexts]

    def destroy(self, chains: Iterable[FilterChain] | None = None) -> None:
        """These are not used any more, by default all."""
        for chain in tuple(self._contexts) if chains is None else chains:
            own = self._contexts.pop(chain, None)
            if own is not None:
                own.destroy()

    # -- inside

    def _manager(self, config: Any, address: Address, path: str) -> FilterChainManager:
        def adding(problem: str, where: str) -> ConfigError:
            return ConfigError(f"error adding listener '{address}': {problem}", where)

        if not config.filter_chains and not config.HasField("default_filter_chain"):
            raise adding("no filter chains specified", path)
        if config.HasField("filter_chain_matcher"):
            return self._matched_chains(config, path, adding)
        chains = []
        by_match: dict[bytes, str] = {}
        for index, chain in enumerate(config.filter_chains):
            where = f"{path}.filter_chains[{index}]"
            try:
                match = FilterChainMatch.from_proto(chain.filter_chain_match, f"{where}.filter_chain_match", chain.name)
            except ConfigError as error:
                raise adding(error.problem, error.path) from None
            key = chain.filter_chain_match.SerializeToString(deterministic=True)
            if key in by_match:
                from google.protobuf.json_format import MessageToJson

                text = MessageToJson(chain.filter_chain_match, preserving_proto_field_name=True, indent=None)
                raise adding(
                    f"filter chain '{chain.name}' has the same matching rules defined as '{by_match[key]}'. "
                    f"duplicate matcher is: {text.replace(': ', ':').replace(', ', ',')}",
                    where,
                )
            by_match[key] = chain.name
            chains.append(self._chain(chain, match, where))
        try:
            return FilterChainManager(chains, self._default_chain(config, path))
        except ConfigError as error:
            raise adding(error.problem, f"{path}.filter_chains") from None

    def _matched_chains(self, config: Any, path: str, adding: Callable[[str, str], ConfigError]) -> FilterChainManager:
        """Those of a listener with a `filter_chain_matcher`, which goes by their names and by nothing else."""
        by_name: dict[str, FilterChain] = {}
        for index, chain in enumerate(config.filter_chains):
            where = f"{path}.filter_chains[{index}]"
            if not chain.name:
                raise adding('"name" field is required when using a listener matcher', where)
            if chain.name in by_name:
                raise adding(f"\"name\" field is duplicated with value '{chain.name}'", f"{where}.name")
            by_name[chain.name] = self._chain(chain, FilterChainMatch(), where)
        from .filter_chain_matcher import compile_filter_chain_matcher

        matcher = compile_filter_chain_matcher(
            config.filter_chain_matcher, f"{path}.filter_chain_matcher", by_name, self._context.server
        )
        return FilterChainManager(by_name.values(), self._default_chain(config, path), matcher)

    def _default_chain(self, config: Any, path: str) -> FilterChain | None:
        if not config.HasField("default_filter_chain"):
            return None
        where = f"{path}.default_filter_chain"
        return self._chain(config.default_filter_chain, FilterChainMatch(), where, b"default")

    def _chain(self, config: Any, match: FilterChainMatch, path: str, kind: bytes = b"") -> FilterChain:
        key = kind + config.SerializeToString(deterministic=True)
        made = self._origin.get(key)
        if made is None:
            context = self._context.for_filter_chain()
            try:
                made = _compile(config, match, context, path)
            except BaseException:
                context.destroy()
                raise
            self._contexts[made] = context
        self._by_config[key] = made
        return made


def _compile(config: Any, match: FilterChainMatch, context: FactoryContext, path: str) -> FilterChain:
    transport_socket = None
    context.server_names = tuple(config.filter_chain_match.server_names)
    if config.HasField("transport_socket"):
        transport_socket = create_transport_socket(
            DOWNSTREAM_TRANSPORT_SOCKETS, config.transport_socket, context, f"{path}.transport_socket"
        )
    context.secure = transport_socket is not None and transport_socket.secure
    filters = f"{path}.filters"
    made = create_filter_factories(NETWORK_FILTERS, TERMINAL_FILTERS, config.filters, context, filters, "network")
    timeout = config.transport_socket_connect_timeout
    metadata = plain_metadata(config.metadata) if config.HasField("metadata") else None
    return FilterChain(config.name, made, match, timeout.ToTimedelta().total_seconds(), metadata, transport_socket)
