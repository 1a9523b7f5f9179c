"""`envoy.filters.network.rbac`: closes connections that the policies do not let in.

Envoy: `Extensions::NetworkFilters::RBACFilter::RoleBasedAccessControlFilter`; docs "Role Based Access Control (RBAC)
Network Filter". It decides when the first bytes come, or whenever bytes come (`CONTINUOUS`): who is silent is neither
let in nor refused. `delay_deny` keeps a refused client waiting, and what it sends unread.
"""

from __future__ import annotations

from typing import Any, Final

from ....config.fields import forbids, honours
from ....errors import ConfigError
from ....event.dispatcher import Timer
from ....network.connection import ConnectionCallbacks, ConnectionCloseType, ConnectionEvent
from ....network.filter import NETWORK_FILTERS, FilterStatus, NetworkFilterFactory, ReadFilter
from ....server.factory_context import FactoryContext
from ..common.rbac.engine import Verdict, compile_engine, network_tree
from ..common.rbac.rules import NO_HEADERS
from ..common.rbac.statistics import Statistics, leave_hint, metadata_of, response_details

NAME: Final = "envoy.filters.network.rbac"
TYPE: Final = "envoy.extensions.filters.network.rbac.v3.RBAC"
CLOSE_REASON: Final = "rbac_deny_close"
CONTINUOUS: Final = 1

honours(
    TYPE,
    "rules",
    "matcher",
    "shadow_rules",
    "shadow_matcher",
    "shadow_rules_stat_prefix",
    "stat_prefix",
    "enforcement_type",
    "delay_deny",
)


@forbids(TYPE)
def _no_headers(proto: Any, path: str) -> None:
    """A connection has none, and Envoy takes no rule that asks for them."""
    for field in ("rules", "shadow_rules"):
        for name, policy in getattr(proto, field).policies.items():
            for of in ("permissions", "principals"):
                for at, each in enumerate(getattr(policy, of)):
                    where = f"{path}.{field}.policies[{name}].{of}[{at}]"
                    if found := _header_in(each, where.removeprefix(".")):
                        raise ConfigError("Found header rule, not supported by RBAC network filter", found)


def _header_in(rule: Any, path: str) -> str:
    if rule.HasField("header"):
        return f"{path}.header"
    for field in ("and_rules", "or_rules", "and_ids", "or_ids"):
        if field in rule.DESCRIPTOR.fields_by_name and rule.HasField(field):
            members = "rules" if field.endswith("rules") else "ids"
            for at, each in enumerate(getattr(getattr(rule, field), members)):
                if found := _header_in(each, f"{path}.{field}.{members}[{at}]"):
                    return found
    for field in ("not_rule", "not_id"):
        if field in rule.DESCRIPTOR.fields_by_name and rule.HasField(field):
            return _header_in(getattr(rule, field), f"{path}.{field}")
    return ""


class RbacConfig:
    """Shared by the connections of a filter chain; `delay` is in seconds."""

    __slots__ = ("continuous", "delay", "engine", "shadow", "shadow_key", "statistics")

    def __init__(self, proto: Any, context: FactoryContext) -> None:
        """Raises ConfigError: rules that can not be compiled."""
        tree = network_tree(context.server)
        self.engine = compile_engine(proto, "", "matcher", "rules", tree)
        self.shadow = compile_engine(proto, "", "shadow_matcher", "shadow_rules", tree)
        self.shadow_key = f"{proto.shadow_rules_stat_prefix}shadow_"
        scope = context.scope.scope(proto.stat_prefix.removesuffix(".")).scope("rbac")
        self.statistics = Statistics(scope, "", proto.shadow_rules_stat_prefix)
        self.continuous: bool = proto.enforcement_type == CONTINUOUS
        self.delay = proto.delay_deny.seconds + proto.delay_deny.nanos / 1e9


class RbacFilter(ReadFilter, ConnectionCallbacks):
    """One connection."""

    def __init__(self, config: RbacConfig) -> None:
        self._config = config
        self._verdict: Verdict | None = None
        self._shadow_done = config.shadow is None
        self._timer: Timer | None = None

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        config = self._config
        if self._timer is not None:
            # Envoy does not read on; here it is read and forgotten, because that tells when the client has gone.
            self.connection.bytes_received -= len(data)
            return FilterStatus.STOP_ITERATION
        if not self._shadow_done or config.continuous:
            self._ask_shadow()
        if config.engine is None:
            return FilterStatus.CONTINUE
        if self._verdict is None or config.continuous:
            self._ask(len(data))
        if self._verdict is None or self._verdict.allowed:
            return FilterStatus.CONTINUE
        return FilterStatus.STOP_ITERATION

    def _ask_shadow(self) -> None:
        shadow, connection = self._config.shadow, self.connection
        if shadow is None:
            return
        self._shadow_done = True
        verdict = shadow.judge(NO_HEADERS, connection.stream_info, connection.info)
        self._config.statistics.count_shadow(verdict, False)
        told = metadata_of(verdict, self._config.shadow_key)
        connection.stream_info.dynamic_metadata.setdefault(NAME, {}).update(told)
        connection.explain.decided(
            "rbac", "shadow allowed" if verdict.allowed else "shadow denied", f"policy {verdict.policy or 'none'}"
        )

    def _ask(self, size: int) -> None:
        config, connection = self._config, self.connection
        if config.engine is None:
            return
        stream = connection.stream_info
        verdict = self._verdict = config.engine.judge(NO_HEADERS, stream, connection.info)
        config.statistics.count(verdict, False)
        leave_hint(stream, verdict.hint)
        connection.explain.decided(
            "rbac", "allowed" if verdict.allowed else "denied", f"policy {verdict.policy or 'none'}"
        )
        if verdict.allowed:
            return
        connection.bytes_kept_back += size
        stream.connection_termination_details = response_details(verdict.policy)
        if not config.delay:
            self._close()
            return
        connection.add_callbacks(self)
        self._timer = connection.dispatcher.create_timer(self._close)
        self._timer.enable(config.delay)

    def on_event(self, event: ConnectionEvent) -> None:
        if event is not ConnectionEvent.CONNECTED and self._timer is not None:
            self._timer.disable()

    def _close(self) -> None:
        self.connection.close(ConnectionCloseType.NO_FLUSH, CLOSE_REASON)


@NETWORK_FILTERS.register(NAME, TYPE)
def create_rbac_filter(proto: Any, context: FactoryContext) -> NetworkFilterFactory:
    config = RbacConfig(proto, context)
    return lambda: RbacFilter(config)
