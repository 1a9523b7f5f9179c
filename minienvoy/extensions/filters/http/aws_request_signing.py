"""`envoy.filters.http.aws_request_signing`: signs requests, so that AWS believes that they come from us.

Envoy: `Extensions::HttpFilters::AwsRequestSigningFilter::Filter`; docs "AWS Request Signing". A request with a body
waits for all of it, because its hash is part of what is signed, unless the payload is left out.
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from ....config.fields import honours
from ....errors import ConfigError
from ....http.filter import (
    HTTP_FILTERS,
    UPSTREAM_HTTP_FILTERS,
    FilterDataStatus,
    FilterHeadersStatus,
    HttpFilterFactory,
    StreamDecoderFilter,
)
from ....matchers.string import compile_string_matcher
from ....record import record
from ....router.filter_config import ROUTE_FILTER_CONFIGS, most_specific_config
from ....stats.store import CounterValue, StatsStruct
from ...common.aws.credential_provider import CredentialProvider, create_credential_provider
from ...common.aws.sigv4_signer import EMPTY_PAYLOAD, UNSIGNED_PAYLOAD, SigV4Signer

if TYPE_CHECKING:
    from ....http.header_map import RequestHeaderMap
    from ....server.factory_context import FactoryContext, ServerContext
    from ....stats.store import Scope

NAME: Final = "envoy.filters.http.aws_request_signing"
_TYPE: Final = "envoy.extensions.filters.http.aws_request_signing.v3"
TYPE: Final = f"{_TYPE}.AwsRequestSigning"
ROUTE_TYPE: Final = f"{_TYPE}.AwsRequestSigningPerRoute"

honours(
    TYPE,
    "service_name",
    "region",
    "host_rewrite",
    "use_unsigned_payload",
    "match_excluded_headers",
    "match_included_headers",
    "query_string",
    "credential_provider",
    values={"signing_algorithm": ("AWS_SIGV4",)},
)
honours(f"{TYPE}.QueryString", "expiration_time")
honours(ROUTE_TYPE, "aws_request_signing", "stat_prefix")

DEFAULT_EXPIRATION: Final = 5
"""Seconds that a signature in a query is good for."""


class AwsRequestSigningStats(StatsStruct):
    """`http.<stat_prefix>.aws_request_signing.`, or that of a cluster."""

    payload_signing_added: CounterValue
    payload_signing_failed: CounterValue
    signing_added: CounterValue
    signing_failed: CounterValue


@record
class SigningConfig:
    """Attributes:
    host_rewrite: the host that is asked, and signed; empty for the request's own.
    """

    signer: SigV4Signer
    provider: CredentialProvider
    stats: AwsRequestSigningStats
    host_rewrite: bytes
    unsigned_payload: bool

    @classmethod
    def from_proto(cls, proto: Any, path: str, server: ServerContext, scope: Scope) -> SigningConfig:
        """Raises ConfigError below `path`."""
        prefix = f"{path}." if path else ""
        region = proto.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if not region:
            raise ConfigError(
                "AWS region is not set in xDS configuration and failed to retrieve from environment variable or AWS "
                "profile/config files.",
                f"{prefix}region",
            )
        expiration = None
        if proto.HasField("query_string"):
            said = proto.query_string
            expiration = said.expiration_time.seconds if said.HasField("expiration_time") else DEFAULT_EXPIRATION

        def matchers(field: str) -> list[Any]:
            protos = getattr(proto, field)
            return [compile_string_matcher(each, f"{prefix}{field}[{at}]") for at, each in enumerate(protos)]

        excluded, included = matchers("match_excluded_headers"), matchers("match_included_headers")
        return cls(
            SigV4Signer(proto.service_name, region, excluded, included, expiration),
            create_credential_provider(
                proto.credential_provider, f"{prefix}credential_provider", server.dispatcher.monotonic_time
            ),
            scope.scope("aws_request_signing").struct(AwsRequestSigningStats),
            proto.host_rewrite.encode(),
            proto.use_unsigned_payload,
        )


class AwsRequestSigningFilter(StreamDecoderFilter):
    """One stream."""

    def __init__(self, config: SigningConfig, name: str) -> None:
        self._config = config
        self._name = name
        self._headers: RequestHeaderMap | None = None

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        config = self._config = most_specific_config(self.decoder_callbacks, self._name) or self._config
        if config.host_rewrite:
            headers.authority = config.host_rewrite
        self._headers = headers
        if not config.unsigned_payload and not end_stream:
            return FilterHeadersStatus.STOP_ITERATION
        self._sign(UNSIGNED_PAYLOAD if config.unsigned_payload else EMPTY_PAYLOAD)
        return FilterHeadersStatus.CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        if self._config.unsigned_payload:
            return FilterDataStatus.CONTINUE
        if not end_stream:
            return FilterDataStatus.STOP_ITERATION_AND_BUFFER
        digest = sha256(self.decoder_callbacks.decoding_buffer())
        digest.update(data)
        self._sign(digest.hexdigest())
        self._config.stats.payload_signing_added += 1
        return FilterDataStatus.CONTINUE

    def _sign(self, content_hash: str) -> None:
        config, headers = self._config, self._headers
        assert headers is not None
        credentials = config.provider.credentials()
        config.signer.sign(headers, content_hash, credentials, self.decoder_callbacks.dispatcher.wall_time())
        # To Envoy, nobody's signature is one: it is good enough where nothing is checked.
        config.stats.signing_added += 1


@HTTP_FILTERS.register(NAME, TYPE)
@UPSTREAM_HTTP_FILTERS.register(NAME, TYPE)
def create_aws_request_signing(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    config = SigningConfig.from_proto(proto, "", context.server, context.http_scope)
    name = context.filter_name
    return lambda: AwsRequestSigningFilter(config, name)


@ROUTE_FILTER_CONFIGS.register(NAME, ROUTE_TYPE)
def create_route_signing(proto: Any, path: str, server: Any) -> SigningConfig:
    scope = server.stats.scope(proto.stat_prefix)
    return SigningConfig.from_proto(proto.aws_request_signing, f"{path}.aws_request_signing", server, scope)
