"""What the `rate_limits` of routes make of a request: descriptors, by which filters count requests.

Envoy: `Router::RateLimitPolicyImpl`, `RateLimitPolicyEntryImpl` and their actions (source/common/router/
router_ratelimit.cc), `Extensions::Filters::Common::RateLimit::RateLimitConfig`; docs "Rate limiting". A descriptor is a
list of keys and values, one for each action; an action that has nothing to say about a request means that there is no
descriptor, unless it may be skipped. Not implemented: `extension` actions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..access_log.context import FormatterContext
from ..config.fields import honours
from ..errors import ConfigError
from ..http.header_map import RequestHeaderMap
from ..matchers.header import compile_header_matchers, matches_all
from ..matchers.metadata_key import metadata_key
from ..matchers.query_parameter import compile_query_parameter_matchers, parse_query
from ..network.cidr import CidrRange, CidrSet
from ..record import record

if TYPE_CHECKING:
    from ..access_log.formatter import Formatter
    from ..stream_info import StreamInfo

_TYPE: Final = "envoy.config.route.v3.RateLimit"
_WITHOUT_FORMAT: Final = {
    "default_value": "descriptor values are taken as they stand, as Envoy does unless a runtime guard is set"
}

honours(
    _TYPE,
    "stage",
    "disable_key",
    "actions",
    "limit",
    "hits_addend",
    "apply_on_stream_done",
    "x_ratelimit_option",
)
honours(
    f"{_TYPE}.Action",
    "source_cluster",
    "destination_cluster",
    "request_headers",
    "query_parameters",
    "remote_address",
    "masked_remote_address",
    "generic_key",
    "header_value_match",
    "query_parameter_value_match",
    "dynamic_metadata",
    "metadata",
    "remote_address_match",
    "extension",
)
for _empty in ("SourceCluster", "DestinationCluster", "RemoteAddress"):
    honours(f"{_TYPE}.Action.{_empty}")
honours(f"{_TYPE}.Action.RequestHeaders", "header_name", "descriptor_key", "skip_if_absent")
honours(f"{_TYPE}.Action.QueryParameters", "query_parameter_name", "descriptor_key", "skip_if_absent")
honours(f"{_TYPE}.Action.MaskedRemoteAddress", "v4_prefix_mask_len", "v6_prefix_mask_len")
honours(f"{_TYPE}.Action.GenericKey", "descriptor_value", "descriptor_key", ignored=_WITHOUT_FORMAT)
honours(
    f"{_TYPE}.Action.HeaderValueMatch",
    "descriptor_value",
    "descriptor_key",
    "expect_match",
    "headers",
    ignored=_WITHOUT_FORMAT,
)
honours(
    f"{_TYPE}.Action.QueryParameterValueMatch",
    "descriptor_value",
    "descriptor_key",
    "expect_match",
    "query_parameters",
    ignored=_WITHOUT_FORMAT,
)
honours(
    f"{_TYPE}.Action.RemoteAddressMatch",
    "descriptor_value",
    "descriptor_key",
    "address_matcher",
    ignored=_WITHOUT_FORMAT,
)
honours("envoy.type.matcher.v3.AddressMatcher", "ranges", "invert_match")
honours(f"{_TYPE}.Action.DynamicMetaData", "descriptor_key", "metadata_key", "default_value")
honours(
    f"{_TYPE}.Action.MetaData",
    "descriptor_key",
    "metadata_key",
    "default_value",
    "skip_if_absent",
    values={"source": ("DYNAMIC", "ROUTE_ENTRY", "CLUSTER_ENTRY")},
)
honours(f"{_TYPE}.Override", "dynamic_metadata", "rate_limit")
honours(f"{_TYPE}.Override.DynamicMetadata", "metadata_key")
honours(f"{_TYPE}.Override.RateLimitOverride", "requests_per_unit", "unit")
honours(f"{_TYPE}.HitsAddend", "number", "format", "is_negative_hits")

_UNITS: Final = {"UNKNOWN": 0, "SECOND": 1, "MINUTE": 2, "HOUR": 3, "DAY": 4, "MONTH": 5, "YEAR": 6}
_X_RATELIMIT_OPTIONS: Final = (None, False, True)
_MAX_HITS: Final = 10**9


class RateLimitOverride(NamedTuple):
    """What a limit service is to apply in place of its own: so many requests a unit (a `RateLimitUnit`)."""

    requests_per_unit: int
    unit: int


class Descriptor(NamedTuple):
    """Of one request, by one limit.

    Attributes:
        entries: keys and values.
        limit: in place of that of the limit service.
        hits: how many the request counts for; None if the limit does not say.
        negative_hits: they are given back, not taken.
        x_ratelimit_headers: whether the response is to tell of this limit; None leaves it to the filter.
    """

    entries: tuple[tuple[str, str], ...]
    limit: RateLimitOverride | None = None
    hits: int | None = None
    negative_hits: bool = False
    x_ratelimit_headers: bool | None = None


class Subject(NamedTuple):
    """What descriptors are made of."""

    headers: RequestHeaderMap
    stream: StreamInfo
    route: Any
    service_cluster: str


class _Skip:
    """The action adds no entry and is no reason to have no descriptor."""


SKIP: Final = _Skip()
Entry = tuple[str, str]
Action = Callable[[Subject], "Entry | _Skip | None"]
"""An entry, `SKIP`, or None: no descriptor."""
_DYNAMIC, _ROUTE_ENTRY = 0, 1  # of `RateLimit.Action.MetaData.Source`


@record
class RateLimitPolicyEntry:
    """One of the `rate_limits`."""

    stage: int
    disable_key: str
    actions: tuple[Action, ...]
    override: Callable[[Subject], RateLimitOverride | None] | None
    hits: int | Formatter | None
    negative_hits: bool
    apply_on_stream_done: bool
    x_ratelimit_headers: bool | None

    def descriptor(self, subject: Subject) -> Descriptor | None:
        """None if one of the actions does not apply to the request."""
        entries: list[Entry] = []
        for action in self.actions:
            entry = action(subject)
            if entry is None:
                return None
            if not isinstance(entry, _Skip):
                entries.append(entry)
        override = None if self.override is None else self.override(subject)
        return Descriptor(tuple(entries), override, x_ratelimit_headers=self.x_ratelimit_headers)

    def descriptor_with_hits(self, subject: Subject) -> Descriptor | None:
        """With what the request counts for; None also if that can not be told (`RateLimitConfig`)."""
        made = self.descriptor(subject)
        if made is None or self.hits is None:
            return made
        hits = self.hits
        if not isinstance(hits, int):
            text = hits.format(FormatterContext(subject.stream, subject.headers, None))
            if not (text.isascii() and text.isdigit()) or int(text) > _MAX_HITS:
                return None
            hits = int(text)
        return made._replace(hits=hits, negative_hits=self.negative_hits)

    @classmethod
    def from_proto(cls, proto: Any, path: str, sources: Any) -> RateLimitPolicyEntry:
        hits: int | Formatter | None = None
        if proto.hits_addend.HasField("number"):
            hits = proto.hits_addend.number.value
        elif proto.hits_addend.format:
            where = f"{path}.hits_addend.format"
            from ..access_log.formatter import compile_format

            hits = compile_format(proto.hits_addend.format, sources, omit_empty_values=True, path=where)
        return cls(
            proto.stage.value,
            proto.disable_key,
            tuple(_action(each, f"{path}.actions[{at}]", sources) for at, each in enumerate(proto.actions)),
            _override(proto.limit) if proto.HasField("limit") else None,
            hits,
            proto.hits_addend.is_negative_hits,
            proto.apply_on_stream_done,
            _X_RATELIMIT_OPTIONS[proto.x_ratelimit_option],
        )


class RateLimitPolicy:
    """The `rate_limits` of a route, a virtual host or a filter."""

    __slots__ = ("_by_stage", "entries")

    def __init__(self, entries: Iterable[RateLimitPolicyEntry]) -> None:
        self.entries = tuple(entries)
        self._by_stage: dict[int, tuple[RateLimitPolicyEntry, ...]] = {}
        for each in self.entries:
            self._by_stage[each.stage] = (*self._by_stage.get(each.stage, ()), each)

    def of_stage(self, stage: int) -> tuple[RateLimitPolicyEntry, ...]:
        return self._by_stage.get(stage, ())

    @classmethod
    def from_protos(cls, protos: Any, path: str, sources: Any) -> RateLimitPolicy | None:
        """None if there is nothing to limit.

        Raises:
            ConfigError: below `path`.
        """
        if not protos:
            return None
        return cls(RateLimitPolicyEntry.from_proto(each, f"{path}[{at}]", sources) for at, each in enumerate(protos))


def embedded_limits(protos: Any, path: str, sources: Any, *, may_override: bool = False) -> RateLimitPolicy | None:
    """The `rate_limits` of a filter, None if there are none. With `may_override` they may tell the service a limit.

    Raises:
        ConfigError: below `path`, also for what only those of routes may say.
    """
    for at, each in enumerate(protos):
        if each.HasField("stage") or each.disable_key:
            raise ConfigError("'stage' field and 'disable_key' field are not supported", f"{path}[{at}]")
        if each.HasField("limit") and not may_override:
            raise ConfigError("'limit' field is not supported", f"{path}[{at}].limit")
    return RateLimitPolicy.from_protos(protos, path, sources)


def _action(proto: Any, path: str, server: Any) -> Action:
    kind = proto.WhichOneof("action_specifier")
    if kind == "metadata":
        return _metadata(proto.metadata, server)
    if kind == "extension":
        from .rate_limit_input import input_action

        return input_action(proto.extension, f"{path}.extension", server)
    make = _ACTIONS.get(kind)
    if make is None:
        raise ConfigError(f"{kind} is not supported", path)
    return make(getattr(proto, kind), f"{path}.{kind}")


def _source_cluster(proto: Any, path: str) -> Action:
    return lambda subject: ("source_cluster", subject.service_cluster)


def _destination_cluster(proto: Any, path: str) -> Action:
    return lambda subject: None if subject.route is None else ("destination_cluster", subject.route.cluster_name)


def _request_headers(proto: Any, path: str) -> Action:
    name, key = proto.header_name.lower().encode(), proto.descriptor_key
    absent = SKIP if proto.skip_if_absent else None

    def action(subject: Subject) -> Entry | _Skip | None:
        value = subject.headers.get(name)
        return absent if value is None else (key, value.decode("latin-1"))

    return action


def _query_parameters(proto: Any, path: str) -> Action:
    from urllib.parse import unquote_to_bytes

    name, key = proto.query_parameter_name.encode(), proto.descriptor_key
    absent = SKIP if proto.skip_if_absent else None

    def action(subject: Subject) -> Entry | _Skip | None:
        for given, value in parse_query(subject.headers.path).items():
            if unquote_to_bytes(given) == name:
                return (key, unquote_to_bytes(value).decode("latin-1"))
        return absent

    return action


def _remote_address(proto: Any, path: str) -> Action:
    def action(subject: Subject) -> Entry | None:
        address = subject.stream.connection.remote_address
        return ("remote_address", address.host) if address is not None and address.host else None

    return action


def _masked_remote_address(proto: Any, path: str) -> Action:
    v4 = proto.v4_prefix_mask_len.value if proto.HasField("v4_prefix_mask_len") else 32
    v6 = proto.v6_prefix_mask_len.value if proto.HasField("v6_prefix_mask_len") else 128

    def action(subject: Subject) -> Entry | None:
        address = subject.stream.connection.remote_address
        if address is None or not address.host:
            return None
        length = v6 if ":" in address.host else v4
        return ("masked_remote_address", str(CidrRange.parse(address.host, length)))

    return action


def _generic_key(proto: Any, path: str) -> Action:
    entry = (proto.descriptor_key or "generic_key", proto.descriptor_value)
    return lambda subject: entry


def _header_value_match(proto: Any, path: str) -> Action:
    entry = (proto.descriptor_key or "header_match", proto.descriptor_value)
    matchers = compile_header_matchers(proto.headers, f"{path}.headers")
    wanted = not proto.HasField("expect_match") or proto.expect_match.value
    return lambda subject: entry if matches_all(matchers, subject.headers) is wanted else None


def _query_parameter_value_match(proto: Any, path: str) -> Action:
    entry = (proto.descriptor_key or "query_match", proto.descriptor_value)
    matchers = compile_query_parameter_matchers(proto.query_parameters, f"{path}.query_parameters")
    wanted = not proto.HasField("expect_match") or proto.expect_match.value

    def action(subject: Subject) -> Entry | None:
        parameters = parse_query(subject.headers.path)
        return entry if all(matcher.matches(parameters) for matcher in matchers) is wanted else None

    return action


def _remote_address_match(proto: Any, path: str) -> Action:
    entry = (proto.descriptor_key or "remote_address_match", proto.descriptor_value)
    ranges = CidrSet.from_protos(proto.address_matcher.ranges, f"{path}.address_matcher.ranges")
    wanted = not proto.address_matcher.invert_match

    def action(subject: Subject) -> Entry | None:
        address = subject.stream.connection.remote_address
        return entry if address is not None and (address in ranges) is wanted else None

    return action


def _dynamic_metadata(proto: Any, path: str) -> Action:
    return _metadata_action(proto, _of_stream, skip_if_absent=False)


def _metadata(proto: Any, server: Any) -> Action:
    if proto.source == _DYNAMIC:
        source = _of_stream
    elif proto.source == _ROUTE_ENTRY:
        source = _of_route
    else:

        def source(subject: Subject) -> Mapping[str, Any] | None:
            cluster = None if subject.route is None else server.cluster_manager.get(subject.route.cluster_name)
            return None if cluster is None else cluster.metadata

    return _metadata_action(proto, source, skip_if_absent=proto.skip_if_absent)


def _of_stream(subject: Subject) -> Mapping[str, Any] | None:
    return subject.stream.dynamic_metadata


def _of_route(subject: Subject) -> Mapping[str, Any] | None:
    return None if subject.route is None else subject.route.metadata


def _metadata_action(
    proto: Any, source: Callable[[Subject], Mapping[str, Any] | None], *, skip_if_absent: bool
) -> Action:
    key, default = proto.descriptor_key, proto.default_value
    find = metadata_key(proto.metadata_key)
    absent = SKIP if skip_if_absent else None

    def action(subject: Subject) -> Entry | _Skip | None:
        value = find(source(subject))
        if isinstance(value, str) and value:
            return (key, value)
        return (key, default) if default else absent

    return action


def _override(proto: Any) -> Callable[[Subject], RateLimitOverride | None]:
    if proto.WhichOneof("override_specifier") == "rate_limit":
        fixed = RateLimitOverride(proto.rate_limit.requests_per_unit, proto.rate_limit.unit)
        return lambda subject: fixed
    find = metadata_key(proto.dynamic_metadata.metadata_key)

    def of_metadata(subject: Subject) -> RateLimitOverride | None:
        value = find(subject.stream.dynamic_metadata)
        if not isinstance(value, Mapping):
            return None
        requests, unit = value.get("requests_per_unit"), value.get("unit")
        if not isinstance(requests, (int, float)) or not isinstance(unit, str) or unit not in _UNITS:
            return None
        return RateLimitOverride(int(requests), _UNITS[unit])

    return of_metadata


_ACTIONS: Final[dict[str | None, Callable[[Any, str], Action]]] = {
    "source_cluster": _source_cluster,
    "destination_cluster": _destination_cluster,
    "request_headers": _request_headers,
    "query_parameters": _query_parameters,
    "remote_address": _remote_address,
    "masked_remote_address": _masked_remote_address,
    "generic_key": _generic_key,
    "header_value_match": _header_value_match,
    "query_parameter_value_match": _query_parameter_value_match,
    "remote_address_match": _remote_address_match,
    "dynamic_metadata": _dynamic_metadata,
}
