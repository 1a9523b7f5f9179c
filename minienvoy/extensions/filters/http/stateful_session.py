"""`envoy.filters.http.stateful_session`: a client stays with the host that has answered it first.

Envoy: `Extensions::HttpFilters::StatefulSession::StatefulSession`; docs "Stateful session". The host that the client
tells goes before the choice of the balancer, if its health lets it (`override_host_status`); with `strict` no other
host will do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ....config.extension import create_extension, find_extension
from ....config.fields import honours
from ....http.filter import HTTP_FILTERS, FilterHeadersStatus, HttpFilterFactory, StreamFilter
from ....http.header_map import RequestHeaderMap, ResponseHeaderMap
from ....http.stateful_session import SESSION_STATES, SessionState, SessionStateFactory
from ....record import record
from ....router.filter_config import ROUTE_FILTER_CONFIGS, most_specific_config
from ....stats.store import CounterValue, Scope, StatsStruct
from ....stream_info import ResponseFlag
from ....upstream.load_balancer import OverrideHost

if TYPE_CHECKING:
    from ....server.factory_context import FactoryContext

NAME: Final = "envoy.filters.http.stateful_session"
_PACKAGE: Final = "envoy.extensions.filters.http.stateful_session.v3"
CONFIG_TYPE: Final = f"{_PACKAGE}.StatefulSession"
ROUTE_TYPE: Final = f"{_PACKAGE}.StatefulSessionPerRoute"
honours(CONFIG_TYPE, "session_state", "strict", "stat_prefix", "status_on_strict_destination_not_found")
honours(ROUTE_TYPE, "disabled", "stateful_session")


class StatefulSessionStats(StatsStruct):
    """`http.<stat_prefix>.stateful_session.<stat_prefix of the filter>.`"""

    failed_closed: CounterValue
    failed_open: CounterValue
    no_session: CounterValue
    routed: CounterValue


@record
class StatefulSessionConfig:
    """`create` makes the state of a request, None where there are no sessions; `stats` are None if nobody asks."""

    create: SessionStateFactory | None
    strict: bool
    status: int
    stats: StatefulSessionStats | None = None

    @classmethod
    def from_proto(
        cls, config: Any, dispatcher: Any, scope: Scope | None = None, path: str = ""
    ) -> StatefulSessionConfig:
        """From the filter's message; without a `scope`, as for a route, nothing is counted."""
        create: SessionStateFactory | None = None
        if config.HasField("session_state"):
            where = f"{path}.session_state" if path else "session_state"
            entry = find_extension(SESSION_STATES, config.session_state, where)
            create = create_extension(entry, config.session_state, where, dispatcher)
        stats = None
        if scope is not None and config.stat_prefix:
            stats = scope.scope(f"stateful_session.{config.stat_prefix}").struct(StatefulSessionStats)
        status = config.status_on_strict_destination_not_found if config.strict else 0
        return cls(create, config.strict, status or 503, stats)


class StatefulSessionFilter(StreamFilter):
    """One stream."""

    def __init__(self, config: StatefulSessionConfig, name: str) -> None:
        self._config = config
        self._name = name
        self._state: SessionState | None = None
        self._active = False

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        own = most_specific_config(self.decoder_callbacks, self._name)
        if own is not None:
            if own.disabled:
                return FilterHeadersStatus.CONTINUE
            self._config = own.config
        self._active = True
        config = self._config
        self._state = state = None if config.create is None else config.create(headers)
        if state is not None and state.upstream_address is not None:
            self.decoder_callbacks.stream_info.upstream_override_host = OverrideHost(
                state.upstream_address, config.strict, config.status
            )
        return FilterHeadersStatus.CONTINUE

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        config, stats, state = self._config, self._config.stats, self._state
        info = self.encoder_callbacks.stream_info
        host = info.upstream_host
        if host is None:
            if stats is not None and config.strict and info.has_response_flag(ResponseFlag.NO_HEALTHY_UPSTREAM):
                stats.failed_closed += 1
        elif state is None:
            if self._active and stats is not None:
                stats.no_session += 1
        elif not state.on_update(host.address.text, headers):
            if stats is not None:
                stats.routed += 1
        elif stats is not None and not config.strict:
            stats.failed_open += 1
        return FilterHeadersStatus.CONTINUE


@record
class StatefulSessionRoute:
    """What a route says: `config` in place of the filter's, unless sessions are `disabled` there."""

    disabled: bool
    config: StatefulSessionConfig


@HTTP_FILTERS.register(NAME, CONFIG_TYPE)
def create_stateful_session_filter(config: Any, context: FactoryContext) -> HttpFilterFactory:
    settings = StatefulSessionConfig.from_proto(config, context.server.dispatcher, context.http_scope)
    name = context.filter_name
    return lambda: StatefulSessionFilter(settings, name)


@ROUTE_FILTER_CONFIGS.register(NAME, ROUTE_TYPE)
def create_stateful_session_route(config: Any, path: str, server: Any) -> StatefulSessionRoute:
    inner = StatefulSessionConfig.from_proto(
        config.stateful_session, server.dispatcher, path=f"{path}.stateful_session"
    )
    return StatefulSessionRoute(config.disabled, inner)
