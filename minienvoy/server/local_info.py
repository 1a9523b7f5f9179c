"""Who this server says it is.

Envoy: `LocalInfo::LocalInfo`, `VersionInfo::buildVersion`; what `InstanceBase::initialize` puts into the node. Control
planes decide by it what they send, so it names the Envoy that is imitated. `extensions` is left out: Envoy lists what
it was linked with, minienvoy imports an extension when it is needed.
"""

from __future__ import annotations

from typing import Any

from ..version import BUILD_TYPE, ENVOY_VERSION, REVISION, REVISION_STATUS, SSL_VERSION


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
