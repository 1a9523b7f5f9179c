"""Filter chains that a match tree chooses (`filter_chain_matcher`).

Envoy: `Network::Matching::MatchingDataImpl`, `FilterChainManagerImpl::setupFilterChainMatcher`; docs "Matching filter
chains in listeners".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..config.api import unpack
from ..config.extension import find_extension
from ..errors import ConfigError
from ..matchers.match_tree import CandidatesRegistry, InputRegistry, MatchContext, compile_match_tree
from ..network.filter_chain import FilterChain, FindChain
from ..network.socket import ConnectionSocket
from ..registry import Registry
from ..stream_info import ConnectionInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NETWORK_INPUTS: Final[InputRegistry] = Registry("envoy.matching.network.input")
NETWORK_CUSTOM_MATCHERS: Final[CandidatesRegistry] = Registry("envoy.matching.network.custom_matchers")
FILTER_CHAIN_ACTIONS: Registry[Callable[[Any], str]] = Registry("envoy.matching.action.filter_chain")
"""Takes the configuration of an action; gives the name of the filter chain."""


@FILTER_CHAIN_ACTIONS.register("filter-chain-name", "google.protobuf.StringValue")
def _name(config: Any) -> str:
    return str(config.value)


class NetworkMatchingData:
    """An accepted socket for which a filter chain is looked for."""

    __slots__ = ("socket",)

    def __init__(self, socket: ConnectionSocket) -> None:
        self.socket = socket

    @property
    def info(self) -> ConnectionInfo:
        return self.socket.info

    @property
    def dynamic_metadata(self) -> dict[str, Any] | None:
        return self.socket.info.dynamic_metadata

    @property
    def filter_state(self) -> dict[str, Any] | None:
        return self.socket.info.filter_state


def compile_filter_chain_matcher(proto: Any, path: str, chains: Mapping[str, FilterChain], server: Any) -> FindChain:
    """What finds the chain of a socket; `chains` are those of the listener by name.

    Raises:
        ConfigError: as for every tree.
    """

    def compile_action(config: Any, where: str) -> _Chosen:
        entry = find_extension(FILTER_CHAIN_ACTIONS, config, where)
        name = entry.factory(unpack(config.typed_config, f"{where}.typed_config", validate=True))
        # A name that no chain has is no error: such connections are closed.
        return _Chosen(chains.get(name))

    try:
        match = compile_match_tree(
            proto, path, MatchContext(NETWORK_INPUTS, NETWORK_CUSTOM_MATCHERS, compile_action, server)
        )
    except ConfigError as error:
        if "ValidationError" in error.problem:
            raise
        raise ConfigError(f"cannot create a filter chain matcher: {error.problem}", error.path) from None

    def find(socket: ConnectionSocket) -> tuple[bool, FilterChain | None]:
        found = match(NetworkMatchingData(socket))
        return (True, found.chain) if isinstance(found, _Chosen) else (False, None)

    return find


class _Chosen(NamedTuple):
    """An action that was found, whether it leads anywhere or not."""

    chain: FilterChain | None
