"""`envoy.filters.http.credential_injector`: gives requests a credential that their clients do not have.

Envoy: `Extensions::HttpFilters::CredentialInjector::CredentialInjectorFilter`; docs "Credential Injector".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ....config.extension import create_extension, find_extension
from ....config.fields import honours
from ....http.filter import (
    HTTP_FILTERS,
    UPSTREAM_HTTP_FILTERS,
    FilterHeadersStatus,
    HttpFilterFactory,
    StreamDecoderFilter,
)
from ....record import record
from ....stats.store import CounterValue, StatsStruct
from ...http.injected_credentials.credential import INJECTED_CREDENTIALS, CredentialInjector, Injection

if TYPE_CHECKING:
    from ....http.header_map import RequestHeaderMap
    from ....server.factory_context import FactoryContext

NAME: Final = "envoy.filters.http.credential_injector"
TYPE: Final = "envoy.extensions.filters.http.credential_injector.v3.CredentialInjector"

honours(TYPE, "overwrite", "allow_request_without_credential", "credential")

UNAUTHORIZED: Final = 401


class CredentialInjectorStats(StatsStruct):
    """`http.<stat_prefix>.credential_injector.`, or that of a cluster."""

    already_exists: CounterValue
    failed: CounterValue
    injected: CounterValue


@record
class CredentialInjectorConfig:
    injector: CredentialInjector
    overwrite: bool
    allow_request_without_credential: bool
    stats: CredentialInjectorStats


class CredentialInjectorFilter(StreamDecoderFilter):
    """One stream."""

    def __init__(self, config: CredentialInjectorConfig) -> None:
        self._config = config

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        config = self._config
        outcome = config.injector.inject(headers, config.overwrite)
        name = outcome.value
        setattr(config.stats, name, getattr(config.stats, name) + 1)
        if outcome is Injection.FAILED and not config.allow_request_without_credential:
            self.decoder_callbacks.send_local_reply(
                UNAUTHORIZED, "Failed to inject credential.", "failed_to_inject_credential"
            )
            return FilterHeadersStatus.STOP_ITERATION
        return FilterHeadersStatus.CONTINUE


@HTTP_FILTERS.register(NAME, TYPE)
@UPSTREAM_HTTP_FILTERS.register(NAME, TYPE)
def create_credential_injector(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    entry = find_extension(INJECTED_CREDENTIALS, proto.credential, "credential")
    config = CredentialInjectorConfig(
        create_extension(entry, proto.credential, "credential", context),
        proto.overwrite,
        proto.allow_request_without_credential,
        context.http_scope.scope("credential_injector").struct(CredentialInjectorStats),
    )
    return lambda: CredentialInjectorFilter(config)
