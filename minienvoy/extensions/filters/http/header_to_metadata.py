"""`envoy.filters.http.header_to_metadata`: makes dynamic metadata of headers and cookies.

Envoy: `Extensions::HttpFilters::HeaderToMetadataFilter::HeaderToMetadataFilter`; docs "Envoy Header-To-Metadata
Filter". What a route says takes the place of what the filter says, in both directions.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, Final

from google.protobuf.message import DecodeError

from ....config.api import message_class, plain_value
from ....config.fields import honours
from ....errors import ConfigError
from ....http.ascii_number import double
from ....http.filter import HTTP_FILTERS, FilterHeadersStatus, HttpFilterFactory, StreamFilter
from ....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ....matchers.cookie import parse_cookies
from ....matchers.regex import compile_substitution
from ....router.filter_config import ROUTE_FILTER_CONFIGS, most_specific_config
from ....server.factory_context import FactoryContext
from ....stats.store import CounterValue, StatsStruct
from ....stream_info import StreamInfo

NAME: Final = "envoy.filters.http.header_to_metadata"
TYPE: Final = "envoy.extensions.filters.http.header_to_metadata.v3.Config"

honours(TYPE, "request_rules", "response_rules", "stat_prefix")
honours(f"{TYPE}.Rule", "header", "cookie", "on_header_present", "on_header_missing", "remove")
honours(f"{TYPE}.KeyValuePair", "metadata_namespace", "key", "value", "regex_value_rewrite", "type", "encode")

MAX_VALUE_LENGTH: Final = 8 * 1024
STRING, NUMBER, PROTOBUF_VALUE = range(3)


class HeaderToMetadataStats(StatsStruct):
    """`http_filter_name.<stat_prefix>.`, if there is a prefix."""

    request_rules_processed: CounterValue
    response_rules_processed: CounterValue
    request_metadata_added: CounterValue
    response_metadata_added: CounterValue
    request_header_not_found: CounterValue
    response_header_not_found: CounterValue
    base64_decode_failed: CounterValue
    header_value_too_long: CounterValue
    regex_substitution_failed: CounterValue


class _Failure(Exception):
    """The value can not be what it should be; the argument is the counter of that, if there is one."""


class KeyValue:
    """What is done when a header is there, or when it is not."""

    __slots__ = ("_base64", "_constant", "_kind", "_rewrite", "key", "namespace")

    def __init__(self, proto: Any, rewrite: Callable[[bytes], bytes] | None) -> None:
        self.namespace: str = proto.metadata_namespace or NAME
        self.key: str = proto.key
        self._constant: bytes = proto.value.encode()
        self._rewrite = rewrite
        self._kind: int = proto.type
        self._base64: bool = proto.encode == 1

    def value_of(self, value: bytes) -> Any:
        """What goes into the metadata; raises `_Failure` if nothing does."""
        if self._constant:
            value = self._constant
        elif self._rewrite is not None:
            before, value = value, self._rewrite(value)
            if before and not value:
                raise _Failure("regex_substitution_failed")
        if not value:
            raise _Failure("")
        if len(value) >= MAX_VALUE_LENGTH:
            raise _Failure("header_value_too_long")
        if self._base64:
            value = _decoded(value)
        if self._kind == STRING:
            return value.decode("utf-8", "surrogateescape")
        if self._kind == NUMBER:
            number = double(value)
            if number is None:
                raise _Failure("")
            return number
        message = message_class("google.protobuf.Value")()
        try:
            message.ParseFromString(value)
        except DecodeError:
            raise _Failure("") from None
        return plain_value(message)


def _decoded(value: bytes) -> bytes:
    try:
        decoded = base64.b64decode(value.rstrip(b"=") + b"=" * (-len(value.rstrip(b"=")) % 4), validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if not decoded:
        raise _Failure("base64_decode_failed")
    return decoded


class Rule:
    __slots__ = ("_cookie", "_header", "_remove", "missing", "present")

    def __init__(self, proto: Any, path: str) -> None:
        """Raises ConfigError: settings that contradict each other, or a wrong regular expression."""
        if proto.header and proto.cookie:
            raise ConfigError("Cannot specify both header and cookie in the same rule", path)
        if not proto.header and not proto.cookie:
            raise ConfigError("One of Cookie or Header option needs to be specified", path)
        self._header: bytes = proto.header.lower().encode()
        self._cookie: bytes = proto.cookie.encode()
        self._remove: bool = proto.remove
        if not proto.HasField("on_header_present") and not proto.HasField("on_header_missing"):
            what = f"header '{proto.header.lower()}'" if proto.header else f"cookie '{proto.cookie}'"
            raise ConfigError(
                f"header to metadata filter: rule for {what} has neither `on_header_present` nor "
                "`on_header_missing` set",
                path,
            )
        present = proto.on_header_present
        if present.value and present.HasField("regex_value_rewrite"):
            raise ConfigError("Cannot specify both value and regex_value_rewrite", f"{path}.on_header_present")
        if proto.cookie and proto.remove:
            raise ConfigError("Cannot specify remove for cookie", f"{path}.remove")
        if proto.HasField("on_header_missing") and not proto.on_header_missing.value:
            raise ConfigError(
                "Cannot specify on_header_missing rule with an empty value", f"{path}.on_header_missing.value"
            )
        rewrite = None
        if present.HasField("regex_value_rewrite"):
            rewrite = compile_substitution(present.regex_value_rewrite, f"{path}.on_header_present.regex_value_rewrite")
        self.present = KeyValue(present, rewrite) if proto.HasField("on_header_present") else None
        self.missing = KeyValue(proto.on_header_missing, None) if proto.HasField("on_header_missing") else None

    def extract(self, headers: HeaderMap) -> bytes | None:
        """The value; the header is gone then, if it is to be removed."""
        if self._cookie:
            return parse_cookies(headers.get_all(b"cookie")).get(self._cookie) or None
        value = headers.joined(self._header)
        if value is not None and self._remove:
            headers.remove(self._header)
        return value


class HeaderToMetadataConfig:
    """Of the filter, or of a route."""

    __slots__ = ("_stats", "request_rules", "response_rules")

    def __init__(self, proto: Any, path: str, server: Any) -> None:
        """Raises ConfigError: a rule that makes no sense."""
        path = f"{path}." if path else ""

        def rules(field: str) -> tuple[Rule, ...]:
            return tuple(Rule(each, f"{path}{field}[{at}]") for at, each in enumerate(getattr(proto, field)))

        self.request_rules = rules("request_rules")
        self.response_rules = rules("response_rules")
        self._stats = (
            server.stats.scope(f"http_filter_name.{proto.stat_prefix}").struct(HeaderToMetadataStats)
            if proto.stat_prefix
            else None
        )

    def write(self, headers: HeaderMap, stream: StreamInfo, rules: tuple[Rule, ...], direction: str) -> None:
        found: dict[str, dict[str, Any]] = {}
        for rule in rules:
            value = rule.extract(headers)
            self._count(f"{direction}_rules_processed")
            pair = rule.present if value is not None else rule.missing
            if pair is None:
                continue
            if value is None:
                self._count(f"{direction}_header_not_found")
            try:
                content = pair.value_of(value or b"")
            except _Failure as failure:
                self._count(failure.args[0])
                continue
            found.setdefault(pair.namespace, {})[pair.key] = content
            self._count(f"{direction}_metadata_added")
        for namespace, values in found.items():
            metadata = stream.dynamic_metadata
            metadata[namespace] = {**metadata.get(namespace, {}), **values}

    def _count(self, name: str) -> None:
        if self._stats is not None and name:
            setattr(self._stats, name, getattr(self._stats, name) + 1)


class HeaderToMetadataFilter(StreamFilter):
    """One stream."""

    def __init__(self, config: HeaderToMetadataConfig, name: str) -> None:
        self._own = config
        self._name = name
        self._found: HeaderToMetadataConfig | None = None

    def _config(self) -> HeaderToMetadataConfig:
        """That of the route, which is looked for once."""
        if self._found is None:
            self._found = most_specific_config(self.decoder_callbacks, self._name) or self._own
        return self._found

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        config = self._config()
        if config.request_rules:
            config.write(headers, self.decoder_callbacks.stream_info, config.request_rules, "request")
        return FilterHeadersStatus.CONTINUE

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        config = self._config()
        if config.response_rules:
            config.write(headers, self.encoder_callbacks.stream_info, config.response_rules, "response")
        return FilterHeadersStatus.CONTINUE


@HTTP_FILTERS.register(NAME, TYPE)
def create_header_to_metadata(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    config, name = HeaderToMetadataConfig(proto, "", context.server), context.filter_name
    return lambda: HeaderToMetadataFilter(config, name)


@ROUTE_FILTER_CONFIGS.register(NAME, TYPE)
def create_route_header_to_metadata(proto: Any, path: str, server: Any) -> HeaderToMetadataConfig:
    config = HeaderToMetadataConfig(proto, path, server)
    if not config.request_rules and not config.response_rules:
        raise ConfigError(
            "header_to_metadata_filter: Per filter configs must at least specify either request or response rules",
            path,
        )
    return config
