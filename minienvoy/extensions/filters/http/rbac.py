"""`envoy.filters.http.rbac`: answers 403 to whom the policies do not let in.

Envoy: `Extensions::HttpFilters::RBACFilter::RoleBasedAccessControlFilter`; docs "Role Based Access Control (RBAC)
Filter". Shadow rules only count and tell what they would have done. A route has rules of its own, or none; what it
counts is counted where the filter counts.
"""

from __future__ import annotations

from typing import Any, Final

from ....config.fields import honours
from ....http.filter import HTTP_FILTERS, FilterHeadersStatus, HttpFilterFactory, StreamDecoderFilter
from ....http.header_map import RequestHeaderMap
from ....router.filter_config import ROUTE_FILTER_CONFIGS, most_specific_config
from ....server.factory_context import FactoryContext
from ..common.rbac.engine import compile_engine, http_tree
from ..common.rbac.statistics import Statistics, leave_hint, metadata_of, response_details

NAME: Final = "envoy.filters.http.rbac"
TYPE: Final = "envoy.extensions.filters.http.rbac.v3.RBAC"
ROUTE_TYPE: Final = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute"

honours(
    TYPE,
    "rules",
    "matcher",
    "rules_stat_prefix",
    "shadow_rules",
    "shadow_matcher",
    "shadow_rules_stat_prefix",
    "track_per_rule_stats",
)
honours(ROUTE_TYPE, "rbac")


class RbacSettings:
    """Of the filter, or of a route.

    Attributes:
        engine, shadow: None where there are no such rules.
        per_policy: count what each policy decides.
        enforced_key, shadow_key: how what is told begins.
    """

    __slots__ = ("enforced_key", "engine", "per_policy", "shadow", "shadow_key")

    def __init__(self, proto: Any, path: str, server: Any) -> None:
        """Raises ConfigError: rules that can not be compiled."""
        tree = http_tree(server)
        self.engine = compile_engine(proto, path, "matcher", "rules", tree)
        self.shadow = compile_engine(proto, path, "shadow_matcher", "shadow_rules", tree)
        self.per_policy: bool = proto.track_per_rule_stats
        self.enforced_key = f"{proto.rules_stat_prefix}enforced_"
        self.shadow_key = f"{proto.shadow_rules_stat_prefix}shadow_"


class RbacFilter(StreamDecoderFilter):
    """One stream."""

    def __init__(self, settings: RbacSettings, statistics: Statistics, name: str) -> None:
        self._settings = settings
        self._statistics = statistics
        self._name = name

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        callbacks = self.decoder_callbacks
        settings: RbacSettings = most_specific_config(callbacks, self._name, RbacSettings) or self._settings
        if settings.engine is None and settings.shadow is None:
            return FilterHeadersStatus.CONTINUE
        stream, below = callbacks.stream_info, callbacks.downstream_connection.info
        told: dict[str, Any] = {}
        if settings.shadow is not None:
            shadow = settings.shadow.judge(headers, stream, below)
            self._statistics.count_shadow(shadow, settings.per_policy)
            told.update(metadata_of(shadow, settings.shadow_key))
            callbacks.explain.decided(
                "rbac", "shadow allowed" if shadow.allowed else "shadow denied", f"policy {shadow.policy or 'none'}"
            )
        refused = None
        if settings.engine is not None:
            verdict = settings.engine.judge(headers, stream, below)
            self._statistics.count(verdict, settings.per_policy)
            told.update(metadata_of(verdict, settings.enforced_key))
            leave_hint(stream, verdict.hint)
            callbacks.explain.decided(
                "rbac", "allowed" if verdict.allowed else "denied", f"policy {verdict.policy or 'none'}"
            )
            if not verdict.allowed:
                refused = verdict
        stream.dynamic_metadata.setdefault(NAME, {}).update(told)
        if refused is None:
            return FilterHeadersStatus.CONTINUE
        callbacks.send_local_reply(403, "RBAC: access denied", response_details(refused.policy))
        return FilterHeadersStatus.STOP_ITERATION


@HTTP_FILTERS.register(NAME, TYPE)
def create_rbac_filter(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    settings, name = RbacSettings(proto, "", context.server), context.filter_name
    scope = context.http_scope.scope("rbac")
    statistics = Statistics(scope, proto.rules_stat_prefix, proto.shadow_rules_stat_prefix)
    return lambda: RbacFilter(settings, statistics, name)


@ROUTE_FILTER_CONFIGS.register(NAME, ROUTE_TYPE)
def create_rbac_settings(proto: Any, path: str, server: Any) -> RbacSettings:
    return RbacSettings(proto.rbac, f"{path}.rbac", server)
