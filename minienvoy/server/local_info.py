"""Who this server says it is.

Envoy: `LocalInfo::LocalInfo`, `VersionInfo::buildVersion`; what `InstanceBase::initialize` puts into the node. Control
planes decide by it what they send, so it names the Envoy that is imitated.
"""

from __future__ import annotations

from typing import Any, Final

from ..http.filter import HTTP_FILTERS
from ..registry import catalogue, import_home_of, registries
from ..router.filter_config import ROUTE_FILTER_CONFIGS
from ..upstream.host import Locality
from ..version import BUILD_TYPE, ENVOY_VERSION, REVISION, REVISION_STATUS, SSL_VERSION

_NOT_LISTED: Final = (
    "envoy.filters.http.admin",
    "envoy.matching.action.filter_chain",
    "envoy.matching.action.route",
    "envoy.matching.action.udp_route",
    "envoy.matching.udp.custom_matchers",
    "envoy.matching.udp.input",
    "envoy.resource_monitors.global_downstream_max_connections",
)
"""Extensions and categories that Envoy has as well and does not tell of."""

_FOUND_BY_NAME: Final = ("envoy.tls.cert_validator",)
"""Categories whose types Envoy does not tell: their factories make no message."""


def set_build_version(node: Any) -> None:
    """Fill `user_agent_name` and `user_agent_build_version` of an `envoy.config.core.v3.Node` in."""
    node.user_agent_name = "envoy"
    build = node.user_agent_build_version
    build.Clear()
    build.version.major_number, build.version.minor_number, build.version.patch = map(int, ENVOY_VERSION.split("."))
    fields = build.metadata.fields
    fields["build.type"].string_value = BUILD_TYPE
    fields["revision.sha"].string_value = REVISION
    fields["revision.status"].string_value = REVISION_STATUS
    fields["ssl.version"].string_value = SSL_VERSION


def locality_of(node: Any) -> Locality | None:
    """Where a node is; None if it does not say."""
    if not node.HasField("locality"):
        return None
    return Locality(node.locality.region, node.locality.zone, node.locality.sub_zone)


def add_extensions(node: Any) -> None:
    """Fill `extensions` in, if that has not been done: it takes the import of every one, so whoever shows the node asks
    for it."""
    if node.extensions:
        return
    for config_type in catalogue():
        import_home_of(config_type)
    made = registries()
    per_route = made.pop(ROUTE_FILTER_CONFIGS.category).entries()
    for category in _NOT_LISTED:
        made.pop(category, None)
    for category, registry in sorted(made.items()):
        by_name: dict[str, list[str]] = {}
        for entry in registry.entries():
            if entry.name not in _NOT_LISTED:
                is_message = ".v3." in entry.config_type and category not in _FOUND_BY_NAME
                by_name.setdefault(entry.name, []).extend([entry.config_type] if is_message else [])
        if category == HTTP_FILTERS.category:
            for entry in per_route:
                if entry.name in by_name and entry.config_type not in by_name[entry.name]:
                    by_name[entry.name].append(entry.config_type)
        for name, types in sorted(by_name.items()):
            node.extensions.add(name=name, category=category, type_urls=types)
