"""The settings of the Lua filter, and of routes.

Envoy: `FilterConfig`, `FilterConfigPerRoute`, `PerLuaCodeSetup`; `envoy.extensions.filters.http.lua.v3.Lua`,
`LuaPerRoute`.
"""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..... import logger
from .....config.api import plain_value
from .....config.data_source import read_data_source
from .....config.fields import honours
from .....errors import ConfigError
from .....stats.store import CounterValue, StatsStruct
from ...common.lua.state import LuaState
from .host import StreamHandles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .....server.factory_context import FactoryContext, ServerContext

TYPE: Final = "envoy.extensions.filters.http.lua.v3.Lua"
PER_ROUTE_TYPE: Final = "envoy.extensions.filters.http.lua.v3.LuaPerRoute"

honours(
    TYPE,
    "inline_code",
    "source_codes",
    "default_source_code",
    "stat_prefix",
    "clear_route_cache",
    "filter_context",
    "package_paths",
    "package_cpaths",
    "shared_vm_id",
)
honours(
    PER_ROUTE_TYPE,
    "disabled",
    "name",
    "source_code",
    "filter_context",
    "package_paths",
    "package_cpaths",
    "shared_vm_id",
)

_HANDLE: Final = Path(__file__).with_name("stream_handle.lua")
_THREADS: Final = 2
"""That have a machine of their own in Envoy: the main one and a worker."""

log = logger.get("lua")


class LuaFilterStats(StatsStruct):
    """`http.PREFIX.lua.*`, or `http.PREFIX.lua.STAT_PREFIX.*`."""

    errors: CounterValue
    executions: CounterValue


class PerLuaCodeSetup:
    """A machine with a script in it.

    Attributes:
        on_request, on_response: the functions of the script; None if it has no such one.
        handles: the streams that run it.
    """

    def __init__(self, code: bytes, proto: Any, server: ServerContext) -> None:
        """`proto` tells where modules are looked for.

        Raises:
            ConfigError: the script can not be loaded.
        """
        self.handles = StreamHandles(server)
        state = LuaState(
            code,
            _HANDLE,
            self.handles.functions(),
            ";".join(proto.package_paths),
            ";".join(proto.package_cpaths),
        )
        self.start, self.go_on, self.go_on_with_chunk, self.go_on_with_result, self.forget = state.functions
        self.on_request = state.function("envoy_on_request")
        if self.on_request is None:
            log.info("envoy_on_request() function not found. Lua filter will not hook requests.")
        self.on_response = state.function("envoy_on_response")
        if self.on_response is None:
            log.info("envoy_on_response() function not found. Lua filter will not hook responses.")
        gauge = server.stats.scope("lua").gauge("lua_vm_count")
        gauge.set(gauge.value + _THREADS)
        weakref.finalize(self, lambda: gauge.set(gauge.value - _THREADS))


def code_setup(code: bytes, proto: Any, server: ServerContext) -> PerLuaCodeSetup:
    """A machine for a script: of its own, or the one that others with the same `shared_vm_id` and script have.

    Raises:
        ConfigError: the script can not be loaded.
    """
    if not proto.shared_vm_id:
        return PerLuaCodeSetup(code, proto, server)
    shared: weakref.WeakValueDictionary[Any, PerLuaCodeSetup] = server.singleton(
        PerLuaCodeSetup, weakref.WeakValueDictionary
    )
    key = (proto.shared_vm_id, code, *proto.package_paths, "", *proto.package_cpaths)
    setup = shared.get(key)
    if setup is None:
        setup = shared[key] = PerLuaCodeSetup(code, proto, server)
    return setup


class LuaConfig:
    """Attributes:
    default: what runs where a route says nothing else; None for nothing.
    by_name: scripts that routes may name.
    context: what `filterContext()` gives where the route has none.
    stats_scope: where the statistics of scripts are.
    name: of the filter, by which it looks metadata up.
    """

    def __init__(self, proto: Any, context: FactoryContext) -> None:
        """Raises ConfigError: a script that can not be read or loaded."""
        server = self.server = context.server
        self.name = context.filter_name
        self.clears_route_cache: bool = proto.clear_route_cache.value if proto.HasField("clear_route_cache") else True
        self.context: Mapping[str, Any] = _struct(proto.filter_context)
        self.stats_scope = context.http_scope.scope("lua")
        if proto.stat_prefix:
            self.stats_scope = self.stats_scope.scope(proto.stat_prefix.removesuffix("."))
        self.stats = self.stats_scope.struct(LuaFilterStats)
        self.default: PerLuaCodeSetup | None = None
        if proto.HasField("default_source_code"):
            if proto.inline_code:
                raise ConfigError(
                    "Error: Only one of `inline_code` or `default_source_code` can be set for the Lua filter.",
                    "inline_code",
                )
            code = read_data_source(proto.default_source_code, "default_source_code")
            self.default = _located(code, proto, server, "default_source_code")
        elif proto.inline_code:
            self.default = _located(proto.inline_code.encode(), proto, server, "inline_code")
        self.by_name: dict[str, PerLuaCodeSetup] = {}
        for name in sorted(proto.source_codes):
            where = f"source_codes[{name}]"
            self.by_name[name] = _located(read_data_source(proto.source_codes[name], where), proto, server, where)


class LuaPerRoute:
    """Attributes:
    name: of the script that runs; empty if none is named.
    setup: the route's own script, or None.
    context: what `filterContext()` gives; None if the route says nothing.
    """

    def __init__(self, proto: Any, path: str, server: ServerContext) -> None:
        """Raises ConfigError: a script that can not be read or loaded."""
        self.disabled: bool = proto.disabled
        self.name: str = proto.name
        self.context = _struct(proto.filter_context) if proto.HasField("filter_context") else None
        self.setup: PerLuaCodeSetup | None = None
        if proto.HasField("source_code"):
            where = f"{path}.source_code"
            self.setup = _located(read_data_source(proto.source_code, where), proto, server, where)


def _located(code: bytes, proto: Any, server: ServerContext, where: str) -> PerLuaCodeSetup:
    try:
        return code_setup(code, proto, server)
    except ConfigError as error:
        raise error.below(where) from None


def _struct(proto: Any) -> Mapping[str, Any]:
    return {name: plain_value(value) for name, value in proto.fields.items()}
