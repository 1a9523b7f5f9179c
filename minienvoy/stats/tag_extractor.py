"""Tags out of stat names: `cluster.users.upstream_rq_200` is `cluster.upstream_rq` of cluster users and code 200.

Envoy: `Stats::TagProducerImpl`, `TagExtractorRe2Impl`, `TagExtractorTokensImpl` and the rules of
`source/common/config/well_known_names.cc`.

A rule is a regex (its first group is cut out of the name, its second group, or else the first, is the value) or a token
pattern (`$` is the value and is cut out with its dot, `*` is one token, `**` any number of tokens). Every rule looks at
the whole name; the cuts are made together at the end. Only Prometheus and tagged sinks ask for tags, so they are
extracted on demand and remembered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from minienvoy.errors import ConfigError

from .settings import TagSpecifier

_MACROS = {
    "<ADDRESS>": r"(?:(?:\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[[a-fA-F_\d]+\])_\d+)",
    "<CIPHER>": r"[\w-]+",
    "<TLS_VERSION>": r"TLSv\d\.\d",
    "<TAG_VALUE>": r"[^\.]+",
    "<ROUTE_CONFIG_NAME>": r"[\w\-\.]+",
    "<SCOPED_ROUTE_CONFIG_NAME>": r"[\w\-\./]+",
    "<OWNER>": r"(?:listener|cluster)\..*?",
}

# Name, regex, text the stat's name must contain (a quick way out), value that does not count.
_REGEX_RULES = (
    ("envoy.response_code", r"_rq(_(\d{3}))$", "_rq_", ""),
    ("envoy.response_code_class", r"_rq_((\d))xx$", "_rq_", ""),
    (
        "envoy.dynamo_partition_id",
        r"^http\.<TAG_VALUE>\.dynamodb\.table\.<TAG_VALUE>\.capacity\.<TAG_VALUE>(\.__partition_id=(\w{7}))$",
        ".dynamodb.table.",
        "",
    ),
    (
        "envoy.dynamo_operation",
        r"^http\.<TAG_VALUE>\.dynamodb.(?:operation|table\.<TAG_VALUE>\.capacity)(\.(<TAG_VALUE>))(?:\.|$)",
        ".dynamodb.",
        "",
    ),
    ("envoy.dynamo_table", r"^http\.<TAG_VALUE>\.dynamodb.(?:table|error)\.((<TAG_VALUE>)\.)", ".dynamodb.", ""),
    ("envoy.ssl_cipher", r"^listener\..*?\.ssl\.ciphers(\.(<CIPHER>))$", ".ssl.ciphers.", ""),
    ("envoy.ssl_curve", r"^<OWNER>\.ssl\.curves(\.(<CIPHER>))$", ".ssl.curves.", ""),
    ("envoy.ssl_sigalg", r"^<OWNER>\.ssl\.sigalgs(\.(<CIPHER>))$", ".ssl.sigalgs.", ""),
    ("envoy.ssl_version", r"^<OWNER>\.ssl\.versions(\.(<TLS_VERSION>))$", ".ssl.versions.", ""),
    ("cipher_suite", r"^cluster\.<TAG_VALUE>\.ssl\.ciphers(\.(<CIPHER>))$", ".ssl.ciphers.", ""),
    ("envoy.tls_certificate", r"^<OWNER>\.ssl\.certificate\.((<TAG_VALUE>)\.).*$", ".ssl.certificate.", ""),
    ("envoy.http_conn_manager_prefix", r"^listener\..*?\.http\.((<TAG_VALUE>)\.)", ".http.", ""),
    (
        "envoy.worker_id",
        r"^(?:listener\.(?:<ADDRESS>|<TAG_VALUE>)|server|listener_manager|thread_local_cluster_manager)"
        r"\.worker_((\d+)\.)",
        "",
        "",
    ),
    ("envoy.listener_address", r"^listener\.((<ADDRESS>|<TAG_VALUE>)\.)", "", "admin"),
    ("envoy.rds_route_config", r"^http\.<TAG_VALUE>\.rds\.((<ROUTE_CONFIG_NAME>)\.)\w+?$", ".rds.", ""),
    (
        "envoy.scoped_rds_config",
        r"^http\.<TAG_VALUE>\.scoped_rds\.((<SCOPED_ROUTE_CONFIG_NAME>)\.)\w+?$",
        ".scoped_rds.",
        "",
    ),
    ("envoy.health_check_name", r"^cluster\.<TAG_VALUE>\.health_check(\.name\.(<TAG_VALUE>))\..+", ".name.", ""),
    (
        "envoy.rbac_policy_name",
        r"^http\.<TAG_VALUE>\.rbac\.(?:<TAG_VALUE>\.)?policy\.((<TAG_VALUE>)\.)"
        r"(allowed|shadow_allowed|denied|shadow_denied)$",
        ".rbac.",
        "",
    ),
    ("envoy.rbac_http_prefix", r"^http\.<TAG_VALUE>\.rbac\.((<TAG_VALUE>)\.).*?", ".rbac.", "policy"),
    ("envoy.proxy_protocol_version", r"^proxy_proto\.((?:<TAG_VALUE>\.)?versions\.v(\d)\.)\w+$", "", ""),
    ("envoy.proxy_protocol_prefix", r"^proxy_proto\.((<TAG_VALUE>)\.).+$", "", "versions"),
    ("envoy.xds_resource_name", r"^sds\.((<TAG_VALUE>)\.).+", "", ""),
)

_TOKEN_RULES = (
    ("envoy.mongo_callsite", "mongo.*.collection.*.callsite.$.query.**"),
    ("envoy.mongo_collection", "mongo.*.collection.$.**.query.*"),
    ("envoy.mongo_cmd", "mongo.*.cmd.$.**"),
    ("envoy.grpc_bridge_method", "cluster.*.grpc.*.$.**"),
    ("envoy.http_user_agent", "http.*.user_agent.$.**"),
    ("envoy.virtual_cluster", "vhost.*.vcluster.$.**"),
    ("envoy.fault_downstream_cluster", "http.*.fault.$.**"),
    ("envoy.grpc_bridge_service", "cluster.*.grpc.$.**"),
    ("envoy.tcp_prefix", "tcp.$.**"),
    ("envoy.udp_prefix", "udp.$.**"),
    ("envoy.clientssl_prefix", "auth.clientssl.$.**"),
    ("envoy.ratelimit_prefix", "ratelimit.$.**"),
    ("envoy.cluster_name", "cluster.$.**"),
    ("envoy.ext_authz_prefix", "cluster.*.ext_authz.$.**"),
    ("envoy.ext_authz_prefix", "http.*.ext_authz.$.**"),
    ("envoy.http_conn_manager_prefix", "http.$.**"),
    ("envoy.virtual_host", "vhost.$.**"),
    ("envoy.mongo_prefix", "mongo.$.**"),
    ("envoy.route", "vhost.*.route.$.**"),
    ("envoy.thrift_prefix", "thrift.$.**"),
    ("envoy.redis_prefix", "redis.$.**"),
    ("envoy.local_http_ratelimit_prefix", "$.http_local_rate_limit.**"),
    ("envoy.local_network_ratelimit_prefix", "local_rate_limit.$.**"),
    ("envoy.local_listener_ratelimit_prefix", "listener_local_ratelimit.$.**"),
    ("envoy.dns_filter_prefix", "dns_filter.$.**"),
    ("envoy.connection_limit_prefix", "connection_limit.$.**"),
    ("envoy.rbac_prefix", "$.rbac.**"),
    ("envoy.google_grpc_client_prefix", "grpc.$.**"),
)


class Tag(NamedTuple):
    name: str
    value: str


class TaggedName(NamedTuple):
    """A stat's name without its tags, and these."""

    name: str
    tags: tuple[Tag, ...]


class TagExtractor(Protocol):
    """One rule."""

    name: str
    prefix: str
    """The first token a name must have, or empty."""

    def extract(self, stat_name: str) -> tuple[str, int, int] | None:
        """The value, and what to cut out of the name."""


class RegexTagExtractor:
    __slots__ = ("_contains", "_not_value", "_regex", "name", "prefix")

    def __init__(self, name: str, regex: str, contains: str = "", not_value: str = "") -> None:
        self.name = name
        try:
            self._regex = re.compile(regex)
        except (re.error, RecursionError, OverflowError) as error:
            raise ConfigError(f"Invalid regex '{regex}': {error} (of stat tag '{name}')") from None
        self._contains = contains
        self._not_value = not_value
        prefix = re.match(r"\^(\w+)(?=\\\.|\$$)", regex)
        self.prefix = prefix[1] if prefix else ""

    def extract(self, stat_name: str) -> tuple[str, int, int] | None:
        if self._contains and self._contains not in stat_name:
            return None
        match = self._regex.search(stat_name)
        if match is None or not self._regex.groups:  # without a group nothing is cut out, and there is no value
            return None
        value = match[2] if self._regex.groups > 1 else match[1]
        if value is None or (self._not_value and value == self._not_value):
            return None
        return (value, *match.span(1))


class TokensTagExtractor:
    __slots__ = ("_tokens", "name", "prefix")

    def __init__(self, name: str, tokens: str) -> None:
        self.name = name
        self._tokens = tuple(tokens.split("."))
        self.prefix = self._tokens[0] if self._tokens[0] not in ("$", "*", "**") else ""

    def extract(self, stat_name: str) -> tuple[str, int, int] | None:
        tokens = stat_name.split(".")
        index = self._search(tokens, 0, 0)
        if index is None:
            return None
        start = sum(len(token) + 1 for token in tokens[:index])
        end = start + len(tokens[index])
        # The dot after the value goes with it; at the end of the name the one before does.
        if index + 1 < len(tokens):
            end += 1
        elif start:
            start -= 1
        return tokens[index], start, end

    def _search(self, tokens: list[str], at: int, pattern_at: int) -> int | None:
        """Where `$` is, or -1 if the rest matches without one, or None if it does not match."""
        found = None
        for pattern_index in range(pattern_at, len(self._tokens)):
            wanted = self._tokens[pattern_index]
            if wanted == "**":
                if pattern_index + 1 == len(self._tokens):
                    return at - 1 if found is None else found
                for rest in range(at, len(tokens)):
                    if (inside := self._search(tokens, rest, pattern_index + 1)) is not None:
                        return inside if found is None else found
                return None
            if at >= len(tokens):
                return None
            if wanted == "$":
                found = at
            elif wanted not in ("*", tokens[at]):
                return None
            at += 1
        if at < len(tokens):
            return None
        return -1 if found is None else found


class FixedTagExtractor:
    """A tag of every stat."""

    __slots__ = ("_value", "name", "prefix")

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self.prefix = ""
        self._value = value

    def extract(self, stat_name: str) -> tuple[str, int, int] | None:
        return (self._value, 0, 0)


class TagProducer:
    """The rules of one server."""

    MAX_REMEMBERED = 200_000
    """Names whose tags are kept; beyond that all are forgotten, since names of removed clusters are among them."""

    def __init__(self, specifiers: Iterable[TagSpecifier] = (), use_all_default_tags: bool = True) -> None:
        extractors: list[TagExtractor] = default_extractors() if use_all_default_tags else []
        for specifier in specifiers:
            if specifier.fixed_value is not None:
                extractors.append(FixedTagExtractor(specifier.name, specifier.fixed_value))
            elif specifier.regex:
                extractors.append(RegexTagExtractor(specifier.name, specifier.regex))
            else:
                of_name = [extractor for extractor in default_extractors() if extractor.name == specifier.name]
                if not of_name:
                    raise ConfigError(
                        "No regex specified for tag specifier and no default regex for name: "
                        f"'{specifier.name}' and value: ''"
                    )
                extractors.extend(of_name)
        # As in Envoy, rules that name no first token go first; that is the order of tags in the output.
        self._everywhere = [extractor for extractor in extractors if not extractor.prefix]
        self._by_prefix: dict[str, list[TagExtractor]] = {}
        for extractor in extractors:
            if extractor.prefix:
                self._by_prefix.setdefault(extractor.prefix, []).append(extractor)
        self._remembered: dict[str, TaggedName] = {}

    def tagged(self, stat_name: str) -> TaggedName:
        tagged = self._remembered.get(stat_name)
        if tagged is None:
            if len(self._remembered) >= self.MAX_REMEMBERED:
                self._remembered.clear()
            tagged = self._remembered[stat_name] = self._extract(stat_name)
        return tagged

    def _extract(self, stat_name: str) -> TaggedName:
        tags: dict[str, str] = {}
        cuts: list[tuple[int, int]] = []
        for extractor in (*self._everywhere, *self._by_prefix.get(stat_name.partition(".")[0], ())):
            if extractor.name in tags:
                continue
            found = extractor.extract(stat_name)
            if found is not None:
                tags[extractor.name] = found[0]
                cuts.append(found[1:])
        kept = []
        at = 0
        for start, end in sorted(cuts):
            kept.append(stat_name[at : max(at, start)])
            at = max(at, end)
        kept.append(stat_name[at:])
        return TaggedName("".join(kept), tuple(Tag(name, value) for name, value in tags.items()))


def default_extractors() -> list[TagExtractor]:
    """Envoy's own rules, in its order."""
    rules: list[TagExtractor] = []
    for name, regex, contains, not_value in _REGEX_RULES:
        for macro, expansion in _MACROS.items():
            regex = regex.replace(macro, expansion)
        rules.append(RegexTagExtractor(name, regex, contains, not_value))
    rules.extend(TokensTagExtractor(name, tokens) for name, tokens in _TOKEN_RULES)
    return rules
