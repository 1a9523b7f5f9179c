"""Which streams a log wants to hear of.

Envoy: `AccessLog::FilterFactory` (`source/common/access_log/access_log_impl.cc`). A filter is compiled to a function
on the context of the line.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..config.fields import honours
from ..errors import ConfigError
from ..matchers.header import HeaderMatcher
from ..matchers.value import MISSING, MetadataMatcher
from ..stream_info import ResponseFlag
from .commands_http import grpc_status
from .commands_time import milliseconds_between
from .context import FormatterContext, Sources

if TYPE_CHECKING:
    from ..config.runtime import Loader

honours(
    "envoy.config.accesslog.v3.AccessLogFilter",
    "status_code_filter",
    "duration_filter",
    "not_health_check_filter",
    "traceable_filter",
    "runtime_filter",
    "and_filter",
    "or_filter",
    "header_filter",
    "response_flag_filter",
    "grpc_status_filter",
    "metadata_filter",
    "log_type_filter",
)
honours("envoy.config.accesslog.v3.StatusCodeFilter", "comparison")
honours("envoy.config.accesslog.v3.DurationFilter", "comparison")
honours("envoy.config.accesslog.v3.ComparisonFilter", "op", "value")
honours("envoy.config.accesslog.v3.NotHealthCheckFilter")
honours("envoy.config.accesslog.v3.TraceableFilter")
honours("envoy.config.accesslog.v3.RuntimeFilter", "runtime_key", "percent_sampled", "use_independent_randomness")
honours("envoy.config.accesslog.v3.AndFilter", "filters")
honours("envoy.config.accesslog.v3.OrFilter", "filters")
honours("envoy.config.accesslog.v3.HeaderFilter", "header")
honours("envoy.config.accesslog.v3.ResponseFlagFilter", "flags")
honours("envoy.config.accesslog.v3.GrpcStatusFilter", "statuses", "exclude")
honours("envoy.config.accesslog.v3.MetadataFilter", "matcher", "match_if_key_not_found")
honours("envoy.config.accesslog.v3.LogTypeFilter", "types", "exclude")

Filter = Callable[[FormatterContext], bool]
"""Tells whether the line is wanted."""

_OPERATIONS: Final[dict[str, Callable[[int, int], bool]]] = {
    "EQ": operator.eq,
    "GE": operator.ge,
    "LE": operator.le,
    "NE": operator.ne,
}


class ServerParts(Sources, Protocol):
    """As much of a `ServerContext` as filters need."""

    @property
    def runtime(self) -> Loader: ...


def compile_filter(proto: Any, server: ServerParts, path: str = "") -> Filter:
    """Compile an `envoy.config.accesslog.v3.AccessLogFilter`.

    Raises:
        ConfigError: a filter that is not supported, or has a wrong regular expression in it.
    """
    kind = proto.WhichOneof("filter_specifier") or ""
    maker = _MAKERS.get(kind)
    if maker is None:
        raise ConfigError(f"the access log filter {kind or '(none)'} is not supported", path)
    return maker(getattr(proto, kind), server, f"{path}.{kind}")


def _comparison(proto: Any, server: ServerParts) -> Callable[[int], bool]:
    compare = _OPERATIONS[_enum_name(proto, "op")]
    default, key = proto.value.default_value, proto.value.runtime_key
    runtime = server.runtime
    return lambda number: compare(number, min(runtime.snapshot.get_integer(key, default), 2**32 - 1))


def _enum_name(message: Any, field: str) -> str:
    enum = message.DESCRIPTOR.fields_by_name[field].enum_type
    return str(enum.values_by_number[getattr(message, field)].name)


def _enum_names(message: Any, field: str) -> frozenset[str]:
    enum = message.DESCRIPTOR.fields_by_name[field].enum_type
    return frozenset(enum.values_by_number[number].name for number in getattr(message, field))


def _status_code(proto: Any, server: ServerParts, path: str) -> Filter:
    test = _comparison(proto.comparison, server)
    return lambda context: test(context.stream_info.response_code or 0)


def _duration(proto: Any, server: ServerParts, path: str) -> Filter:
    test = _comparison(proto.comparison, server)
    now = server.dispatcher.monotonic_time

    def filter(context: FormatterContext) -> bool:
        info = context.stream_info
        end = info.request_complete_time
        return test(milliseconds_between(info.start_monotonic, now() if end is None else end) or 0)

    return filter


def _not_health_check(proto: Any, server: ServerParts, path: str) -> Filter:
    return lambda context: not context.stream_info.is_health_check


def _traceable(proto: Any, server: ServerParts, path: str) -> Filter:
    return lambda context: context.stream_info.is_traced


def _runtime(proto: Any, server: ServerParts, path: str) -> Filter:
    """Without `use_independent_randomness` the request id decides, so that all proxies on the way log the same ones.

    The key of the runtime is a number of what the denominator counts; a fraction in it is not looked at.
    """
    from ..config.runtime import FractionalPercent

    fraction, key = FractionalPercent.from_proto(proto.percent_sampled), proto.runtime_key
    draw = server.random.stream(f"access_log.runtime_filter.{proto.runtime_key}").getrandbits
    independent = proto.use_independent_randomness
    runtime = server.runtime

    def filter(context: FormatterContext) -> bool:
        value = None if independent else request_id_number(context.stream_info.request_id)
        drawn = draw(64) if value is None else value
        return runtime.snapshot.feature_enabled(key, fraction.numerator, drawn, fraction.denominator)

    return filter


def request_id_number(request_id: str) -> int | None:
    """The first 32 bits of a UUID (`UUIDRequestIDExtension::getInteger`); None if it is no UUID."""
    try:
        return int(request_id[:8], 16) if len(request_id) == 36 else None
    except ValueError:
        return None


def _several(protos: Any, server: ServerParts, path: str) -> tuple[Filter, ...]:
    return tuple(compile_filter(inner, server, f"{path}.filters[{index}]") for index, inner in enumerate(protos))


def _and(proto: Any, server: ServerParts, path: str) -> Filter:
    filters = _several(proto.filters, server, path)
    return lambda context: all(filter(context) for filter in filters)


def _or(proto: Any, server: ServerParts, path: str) -> Filter:
    filters = _several(proto.filters, server, path)
    return lambda context: any(filter(context) for filter in filters)


def _header(proto: Any, server: ServerParts, path: str) -> Filter:
    matches = HeaderMatcher.from_proto(proto.header, f"{path}.header").matches
    return lambda context: matches(context.request_headers)


def _response_flag(proto: Any, server: ServerParts, path: str) -> Filter:
    wanted = set(proto.flags)
    known = {short: 1 << bit for bit, (short, _) in enumerate(ResponseFlag.NAMES)}
    # Without names any flag will do.
    bits = sum(known[flag] for flag in wanted if flag in known) if wanted else -1
    return lambda context: bool(context.stream_info.response_flags & bits)


def _grpc_status(proto: Any, server: ServerParts, path: str) -> Filter:
    statuses: frozenset[int] = frozenset(proto.statuses)
    exclude: bool = proto.exclude

    def filter(context: FormatterContext) -> bool:
        status = grpc_status(context)
        # 2 is UNKNOWN, for a stream that ended without an answer.
        return ((2 if status is None else status) in statuses) != exclude

    return filter


def _metadata(proto: Any, server: ServerParts, path: str) -> Filter:
    of_missing: bool = proto.match_if_key_not_found.value if proto.HasField("match_if_key_not_found") else True
    if not proto.HasField("matcher"):
        return lambda context: of_missing
    matcher = MetadataMatcher.from_proto(proto.matcher, f"{path}.matcher")

    def filter(context: FormatterContext) -> bool:
        metadata = context.stream_info._dynamic_metadata
        if matcher.find(metadata) is MISSING:
            return of_missing
        return matcher.matches(metadata)

    return filter


def _log_type(proto: Any, server: ServerParts, path: str) -> Filter:
    types = _enum_names(proto, "types")
    exclude: bool = proto.exclude
    return lambda context: (context.access_log_type in types) != exclude


_MAKERS: Final[dict[str, Callable[[Any, ServerParts, str], Filter]]] = {
    "status_code_filter": _status_code,
    "duration_filter": _duration,
    "not_health_check_filter": _not_health_check,
    "traceable_filter": _traceable,
    "runtime_filter": _runtime,
    "and_filter": _and,
    "or_filter": _or,
    "header_filter": _header,
    "response_flag_filter": _response_flag,
    "grpc_status_filter": _grpc_status,
    "metadata_filter": _metadata,
    "log_type_filter": _log_type,
}
