"""`envoy.http.injected_credentials.oauth2`: a token of OAuth 2.0 that is asked for ahead of time.

Envoy: `Extensions::Http::InjectedCredentials::OAuth2::TokenProvider`, `OAuth2ClientImpl`; RFC 6749, 4.4 (client
credentials). A token is asked for as soon as there are clusters, and anew when half of its time is over; requests have
the last one. Envoy sends the client's secret in the body whatever `auth_type` says, and so does this.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from .... import logger
from ....config.fields import honours
from ....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap, entry, suspect
from ....server.async_services import HttpUriConfig, async_client
from ....stats.store import CounterValue, StatsStruct
from ....upstream.duration import duration_of
from .credential import INJECTED_CREDENTIALS, Injection, SecretReader

if TYPE_CHECKING:
    from ....server.factory_context import FactoryContext, ServerContext

log = logger.get("credential_injector")
TYPE: Final = "envoy.extensions.http.injected_credentials.oauth2.v3.OAuth2"

honours(TYPE, "token_endpoint", "scopes", "client_credentials", "token_fetch_retry_interval", "endpoint_params")
honours(f"{TYPE}.ClientCredentials", "client_id", "client_secret", "auth_type")
honours(f"{TYPE}.EndpointParameter", "name", "value")

RETRY: Final = 2.0
"""Seconds."""
MAX_ANSWER: Final = 1 << 20
"""Bytes of an answer with a token."""
_OK: Final = 200
_AUTHORIZATION: Final = b"authorization"
_ENCODED: Final = frozenset(b":/=&?")


class OAuth2Stats(StatsStruct):
    """`http.<stat_prefix>.credential_injector.oauth2.`, or that of a cluster."""

    token_fetch_failed_on_bad_response_code: CounterValue
    token_fetch_failed_on_bad_token: CounterValue
    token_fetch_failed_on_client_secret: CounterValue
    token_fetch_failed_on_cluster_not_found: CounterValue
    token_fetch_failed_on_stream_reset: CounterValue
    token_fetched: CounterValue
    token_requested: CounterValue


def percent_encoded(text: str | bytes) -> bytes:
    """As a form has it."""
    raw = text.encode() if isinstance(text, str) else text
    return b"".join(
        b"%%%02X" % byte if byte <= 0x20 or byte >= 0x7E or byte in _ENCODED else bytes((byte,)) for byte in raw
    )


class TokenProvider:
    """Of one configuration; it is forgotten with that.

    Attributes:
        token: as a header has it; empty while there is none.
    """

    def __init__(self, proto: Any, server: ServerContext, stats: OAuth2Stats) -> None:
        """Raises ConfigError."""
        assert server.secrets is not None
        self.token = b""
        self._server = server
        self._stats = stats
        self._endpoint = HttpUriConfig.from_proto(proto.token_endpoint, "token_endpoint")
        self._retry = duration_of(proto, "token_fetch_retry_interval", RETRY)
        client = proto.client_credentials
        self._client_id: str = client.client_id
        self._secret = SecretReader(client.client_secret, server.secrets, "client_credentials.client_secret")
        self._scope: str = " ".join(proto.scopes)
        self._parameters = tuple((each.name, each.value) for each in proto.endpoint_params)
        # A timer of a listener that is gone must not keep this, and asks for nothing.
        mine = ref(self)

        def ask() -> None:
            provider = mine()
            if provider is not None:
                provider.ask()

        self._timer = server.dispatcher.create_timer(ask)
        server.begin(ask)

    def ask(self) -> None:
        """For a token, now."""
        self._timer.disable()
        secret = self._secret.credential
        if not secret:
            self._stats.token_fetch_failed_on_client_secret += 1
            self._timer.enable(self._retry)
            return
        if self._server.cluster_manager.get(self._endpoint.cluster) is None:
            self._stats.token_fetch_failed_on_cluster_not_found += 1
            self._timer.enable(self._retry)
            return
        body = b"grant_type=client_credentials&client_id=%b&client_secret=%b" % (
            percent_encoded(self._client_id),
            percent_encoded(secret),
        )
        if self._scope:
            body += b"&scope=" + percent_encoded(self._scope)
        for name, value in self._parameters:
            body += b"&%b=%b" % (percent_encoded(name), percent_encoded(value))
        headers = RequestHeaderMap(b"POST", self._endpoint.path, self._endpoint.host)
        headers.add(b"content-type", b"application/x-www-form-urlencoded")
        headers.add(b"user-agent", b"Go-browser")
        headers.add(b"accept", b"application/json")
        self._stats.token_requested += 1
        async_client(self._server).send(
            self._endpoint.cluster, headers, body, self, self._endpoint.timeout, max_response=MAX_ANSWER
        )

    def on_success(self, headers: ResponseHeaderMap, body: bytes, trailers: HeaderMap | None) -> None:
        stats = self._stats
        if headers.status != _OK:
            log.error(f"the token endpoint has answered {headers.status}")
            stats.token_fetch_failed_on_bad_response_code += 1
            self._timer.enable(self._retry)
            return
        found = _token_of(body)
        if found is None:
            # Envoy does not ask again either.
            log.error("the token endpoint has answered without a token, or without its time")
            stats.token_fetch_failed_on_bad_token += 1
            return
        token, seconds = found
        self.token = b"Bearer " + token.encode()
        stats.token_fetched += 1
        # In whole seconds, as in Envoy; what lasts for less is not asked for without a pause.
        self._timer.enable(max(seconds // 2, 1))

    def on_failure(self) -> None:
        self._stats.token_fetch_failed_on_stream_reset += 1
        self._timer.enable(self._retry)


def _token_of(body: bytes) -> tuple[str, int] | None:
    """The token and for how many seconds it is good; None if there is none."""
    try:
        answer = json.loads(body)
        token, seconds = answer["access_token"], int(answer["expires_in"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return (token, seconds) if isinstance(token, str) and 0 <= seconds < 2**32 else None


class OAuth2CredentialInjector:
    def __init__(self, provider: TokenProvider) -> None:
        self._provider = provider

    def inject(self, headers: RequestHeaderMap, overwrite: bool) -> Injection:
        if not overwrite and headers.has(_AUTHORIZATION):
            return Injection.ALREADY_EXISTS
        token = self._provider.token
        if not token:
            return Injection.FAILED
        headers.remove(_AUTHORIZATION)
        headers.add_entry(suspect(entry(_AUTHORIZATION, token)))
        return Injection.INJECTED


@INJECTED_CREDENTIALS.register("envoy.http.injected_credentials.oauth2", TYPE)
def create_oauth2_credential(proto: Any, context: FactoryContext) -> OAuth2CredentialInjector:
    stats = context.http_scope.scope("credential_injector.oauth2").struct(OAuth2Stats)
    return OAuth2CredentialInjector(TokenProvider(proto, context.server, stats))
