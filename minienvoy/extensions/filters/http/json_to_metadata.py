"""`envoy.filters.http.json_to_metadata`: makes dynamic metadata of what bodies in JSON say.

Envoy: `Extensions::HttpFilters::JsonToMetadata::Filter`; docs "Envoy Json-To-Metadata Filter". A body is held until
it is complete. A rule without `on_present` tells that something is missing only if there is no object to look into.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from ....config.api import plain_value
from ....config.fields import honours
from ....errors import ConfigError
from ....http.ascii_number import double
from ....http.filter import (
    HTTP_FILTERS,
    FilterDataStatus,
    FilterHeadersStatus,
    FilterTrailersStatus,
    HttpFilterFactory,
    StreamFilter,
)
from ....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ....matchers.regex import compile_regex
from ....router.filter_config import ROUTE_FILTER_CONFIGS, most_specific_config
from ....server.factory_context import FactoryContext
from ....stats.store import CounterValue, StatsStruct
from ....stream_info import StreamInfo

NAME: Final = "envoy.filters.http.json_to_metadata"
TYPE: Final = "envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata"

honours(TYPE, "request_rules", "response_rules")
honours(f"{TYPE}.MatchRules", "rules", "allow_content_types", "allow_empty_content_type", "allow_content_types_regex")
honours(f"{TYPE}.Rule", "selectors", "on_present", "on_missing", "on_error")
honours(f"{TYPE}.Selector", "key")
honours(f"{TYPE}.KeyValuePair", "metadata_namespace", "key", "value", "type", "preserve_existing_metadata_value")

PROTOBUF_VALUE, STRING, NUMBER = range(3)
MAX_VALUE_LENGTH: Final = 8 * 1024
_BOM: Final = b"\xef\xbb\xbf"
_INT64: Final = 1 << 63


class JsonToMetadataStats(StatsStruct):
    """`json_to_metadata.rq.` and `json_to_metadata.resp.`"""

    success: CounterValue
    mismatched_content_type: CounterValue
    no_body: CounterValue
    invalid_json_body: CounterValue


class Target(NamedTuple):
    """What is put where; `value` is only there if `constant`."""

    namespace: str
    key: str
    constant: bool
    value: Any
    kind: int
    preserve: bool

    @classmethod
    def from_proto(cls, proto: Any) -> Target:
        constant = proto.HasField("value")
        value = plain_value(proto.value) if constant else None
        namespace = proto.metadata_namespace or NAME
        return cls(namespace, proto.key, constant, value, proto.type, proto.preserve_existing_metadata_value)


class Rule:
    __slots__ = ("error", "keys", "missing", "present")

    def __init__(self, proto: Any, path: str) -> None:
        """Raises ConfigError: there is nothing to do, or nothing to put."""
        if not proto.HasField("on_present") and not proto.HasField("on_missing"):
            raise ConfigError("json to metadata filter: neither `on_present` nor `on_missing` set", path)
        for name in ("on_missing", "on_error"):
            if proto.HasField(name) and not getattr(proto, name).HasField("value"):
                raise ConfigError(
                    f"json to metadata filter: cannot specify {name} rule with empty value", f"{path}.{name}"
                )
        self.keys: tuple[str, ...] = tuple(selector.key for selector in proto.selectors)
        self.present = Target.from_proto(proto.on_present) if proto.HasField("on_present") else None
        self.missing = Target.from_proto(proto.on_missing) if proto.HasField("on_missing") else None
        self.error = Target.from_proto(proto.on_error) if proto.HasField("on_error") else None


class MatchRules:
    """Of one direction."""

    __slots__ = ("_empty", "_expression", "_stats", "_types", "rules")

    def __init__(self, proto: Any, path: str, stats: JsonToMetadataStats) -> None:
        """Raises ConfigError: rules that make no sense."""
        self.rules = tuple(Rule(each, f"{path}.rules[{at}]") for at, each in enumerate(proto.rules))
        self._types = frozenset(each.encode() for each in proto.allow_content_types) or {b"application/json"}
        self._empty: bool = proto.allow_empty_content_type
        self._expression = (
            compile_regex(proto.allow_content_types_regex, f"{path}.allow_content_types_regex")
            if proto.HasField("allow_content_types_regex")
            else None
        )
        self._stats = stats

    def wants(self, headers: HeaderMap, stream: StreamInfo) -> bool:
        """Whether a body of that type is looked at; if not, that is an error."""
        content_type = headers.get(b"content-type") or b""
        wanted = (
            self._empty
            if not content_type
            else content_type in self._types
            or (self._expression is not None and self._expression.full_match(content_type))
        )
        if not wanted:
            self._stats.mismatched_content_type += 1
            _put(stream, ((rule.error, None) for rule in self.rules))
        return wanted

    def take(self, body: bytes, stream: StreamInfo) -> None:
        """The whole body."""
        if not body:
            self._stats.no_body += 1
            _put(stream, ((rule.missing, None) for rule in self.rules))
            return
        try:
            content = read_json(body)
        except (ValueError, RecursionError):
            self._stats.invalid_json_body += 1
            _put(stream, ((rule.error, None) for rule in self.rules))
            return
        if isinstance(content, (dict, list)):
            _put(stream, (_found(rule, content) for rule in self.rules))
        else:
            _put(stream, ((rule.missing, None) for rule in self.rules))
        self._stats.success += 1


def read_json(body: bytes) -> Any:
    """Raises ValueError for what Envoy's parser does not take, RecursionError for what is too deep."""
    text = body.removeprefix(_BOM).decode()
    value = json.loads(text, parse_int=_integer, parse_float=_float, parse_constant=_float)
    if "\\ud" in text or "\\uD" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _integer(text: str) -> int | float:
    if len(text) > 20:
        return _float(text)
    number = int(text)
    if _INT64 <= number < 2 * _INT64:
        raise ValueError("not a 64 bit integer with a sign")
    return number if -_INT64 <= number < _INT64 else float(number)


def _float(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError("no double")
    return number


def _found(rule: Rule, content: Any) -> tuple[Target | None, Any]:
    """Where something is to be put, and what if it is no constant."""
    *way, last = rule.keys
    for key in way:
        content = content.get(key) if isinstance(content, dict) else None
        if not isinstance(content, dict):
            return rule.missing, None
    if rule.present is None or rule.present.constant:
        return rule.present, None
    value = content.get(last) if isinstance(content, dict) else None
    if value is None or isinstance(value, (dict, list)):
        return rule.missing, None
    value = _converted(value, rule.present.kind)
    return (None if value is None else rule.present), value


def _converted(value: Any, kind: int) -> Any:
    """None if it can not be that."""
    if isinstance(value, str) and kind == NUMBER:
        return double(value.encode())
    if kind == NUMBER:
        return float(value)
    if kind == STRING and not isinstance(value, str):
        value = f"{value:f}" if isinstance(value, float) else str(int(value))
    if kind == STRING and not 0 < len(value.encode()) <= MAX_VALUE_LENGTH:
        return None
    return value


def _put(stream: StreamInfo, found: Iterable[tuple[Target | None, Any]]) -> None:
    made: dict[str, dict[str, Any]] = {}
    there = stream.dynamic_metadata
    for target, value in found:
        if target is None or (target.preserve and target.key in there.get(target.namespace, {})):
            continue
        made.setdefault(target.namespace, {})[target.key] = target.value if target.constant else value
    for namespace, values in made.items():
        there[namespace] = {**there.get(namespace, {}), **values}


class JsonToMetadataConfig:
    """Of the filter, or of a route; None for a direction without rules."""

    __slots__ = ("request", "response")

    def __init__(self, proto: Any, path: str, server: Any) -> None:
        """Raises ConfigError: rules that make no sense."""
        path = f"{path}." if path else ""
        scope = server.stats.scope("json_to_metadata")

        def rules(field: str, name: str) -> MatchRules | None:
            message = getattr(proto, field)
            return (
                MatchRules(message, path + field, scope.scope(name).struct(JsonToMetadataStats))
                if message.rules
                else None
            )

        self.request = rules("request_rules", "rq")
        self.response = rules("response_rules", "resp")


class JsonToMetadataFilter(StreamFilter):
    """One stream; `_request` and `_response` are there while a body is awaited."""

    def __init__(self, config: JsonToMetadataConfig, name: str) -> None:
        self._own = config
        self._name = name
        self._found: JsonToMetadataConfig | None = None
        self._request: MatchRules | None = None
        self._response: MatchRules | None = None

    def _config(self) -> JsonToMetadataConfig:
        """That of the route, which is looked for once."""
        if self._found is None:
            self._found = most_specific_config(self.decoder_callbacks, self._name) or self._own
        return self._found

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        rules, stream = self._config().request, self.decoder_callbacks.stream_info
        if rules is None or not rules.wants(headers, stream):
            return FilterHeadersStatus.CONTINUE
        if end_stream:
            rules.take(b"", stream)
            return FilterHeadersStatus.CONTINUE
        self._request = rules
        return FilterHeadersStatus.STOP_ITERATION

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        rules = self._request
        if rules is None:
            return FilterDataStatus.CONTINUE
        if not end_stream:
            return FilterDataStatus.STOP_ITERATION_AND_BUFFER
        self._request = None
        callbacks = self.decoder_callbacks
        rules.take(callbacks.decoding_buffer() + data, callbacks.stream_info)
        return FilterDataStatus.CONTINUE

    def decode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        rules, self._request = self._request, None
        if rules is not None:
            callbacks = self.decoder_callbacks
            rules.take(callbacks.decoding_buffer(), callbacks.stream_info)
        return FilterTrailersStatus.CONTINUE

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        rules, stream = self._config().response, self.encoder_callbacks.stream_info
        if rules is None or not rules.wants(headers, stream):
            return FilterHeadersStatus.CONTINUE
        if end_stream:
            rules.take(b"", stream)
            return FilterHeadersStatus.CONTINUE
        self._response = rules
        return FilterHeadersStatus.STOP_ITERATION

    def encode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        rules = self._response
        if rules is None:
            return FilterDataStatus.CONTINUE
        if not end_stream:
            return FilterDataStatus.STOP_ITERATION_AND_BUFFER
        self._response = None
        callbacks = self.encoder_callbacks
        rules.take(callbacks.encoding_buffer() + data, callbacks.stream_info)
        return FilterDataStatus.CONTINUE

    def encode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        rules, self._response = self._response, None
        if rules is not None:
            callbacks = self.encoder_callbacks
            rules.take(callbacks.encoding_buffer(), callbacks.stream_info)
        return FilterTrailersStatus.CONTINUE


@HTTP_FILTERS.register(NAME, TYPE)
def create_json_to_metadata(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    config, name = JsonToMetadataConfig(proto, "", context.server), context.filter_name
    return lambda: JsonToMetadataFilter(config, name)


@ROUTE_FILTER_CONFIGS.register(NAME, TYPE)
def create_route_json_to_metadata(proto: Any, path: str, server: Any) -> JsonToMetadataConfig:
    config = JsonToMetadataConfig(proto, path, server)
    if config.request is None and config.response is None:
        raise ConfigError(
            "json_to_metadata_filter: Per route configs must at least specify one of request_rules or response_rules.",
            path,
        )
    return config
