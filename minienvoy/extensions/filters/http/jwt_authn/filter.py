"""The filter: a request waits here until its tokens are verified.

Envoy: `Extensions::HttpFilters::JwtAuthn::Filter`.
"""

from __future__ import annotations

from typing import Any, Final

from .....http.filter import (
    HTTP_FILTERS,
    FilterDataStatus,
    FilterHeadersStatus,
    FilterTrailersStatus,
    HttpFilterFactory,
    StreamDecoderFilter,
)
from .....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from .....router.filter_config import most_specific_config
from .....server.factory_context import FactoryContext
from .filter_config import NAME, TYPE, JwtConfig, RouteSettings
from .status import Status
from .verifier import Context, Verifier

MAX_PATH: Final = 256
"""Of what a client is told it asked for."""


class JwtFilter(StreamDecoderFilter):
    """One stream."""

    def __init__(self, config: JwtConfig, name: str) -> None:
        self._config = config
        self._name = name
        self._context: Context | None = None
        self._waiting = self._stopped = self._answered = False
        self._uri = b""

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        config, callbacks = self._config, self.decoder_callbacks
        for name in config.own_headers:
            headers.remove(name)
        if config.bypass_cors_preflight and _is_preflight(headers):
            config.stats.cors_preflight_bypassed += 1
            self._allow("preflight")
            return FilterHeadersStatus.CONTINUE
        verifier: Verifier | None
        route: RouteSettings | None = most_specific_config(callbacks, self._name)
        if route is None:
            verifier = config.verifier(headers, callbacks.stream_info)
        elif route.requirement:
            verifier, problem = config.named(route.requirement)
            if problem:
                config.stats.denied += 1
                self._answered = True
                callbacks.explain.decided("jwt_authn", "denied", problem)
                callbacks.send_local_reply(403, f"Failed JWT authentication: {problem}", _details(problem))
                return FilterHeadersStatus.STOP_ITERATION
        else:
            verifier = None
        if verifier is None:
            self._allow("no requirement")
            return FilterHeadersStatus.CONTINUE
        self._uri = _original_uri(headers)
        self._context = context = config.context(headers, callbacks.clear_route_cache)
        self._waiting = True
        verifier.verify(context, self._verified)
        if not self._waiting and not self._answered:
            return FilterHeadersStatus.CONTINUE
        self._stopped = True
        return FilterHeadersStatus.STOP_ITERATION

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        if self._waiting:
            return FilterDataStatus.STOP_ITERATION_AND_WATERMARK
        return FilterDataStatus.CONTINUE

    def decode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        return FilterTrailersStatus.STOP_ITERATION if self._waiting else FilterTrailersStatus.CONTINUE

    def on_destroy(self) -> None:
        if self._context is not None:
            self._context.cancel()
            self._context = None

    def _allow(self, because: str) -> None:
        self._config.stats.allowed += 1
        self.decoder_callbacks.explain.decided("jwt_authn", "allowed", because)

    def _verified(self, status: Status) -> None:
        callbacks = self.decoder_callbacks
        self._waiting = False
        context = self._context
        if context is not None:
            if context.metadata:
                callbacks.stream_info.dynamic_metadata.setdefault(NAME, {}).update(context.metadata)
            context.cancel()
        if status is Status.OK:
            self._allow("tokens")
            if self._stopped:
                callbacks.continue_decoding()
            return
        self._config.stats.denied += 1
        self._answered = True
        callbacks.explain.decided("jwt_authn", "denied", status.text)
        code = 403 if status is Status.AUDIENCE_NOT_ALLOWED else 401
        if self._config.strip_failure_response:
            callbacks.send_local_reply(code, "", _details(status.text))
            return
        challenge = b'Bearer realm="' + self._uri + b'"'
        if status is not Status.MISSED:
            challenge += b', error="invalid_token"'

        def challenged(headers: ResponseHeaderMap) -> None:
            headers.set(b"www-authenticate", challenge)

        callbacks.send_local_reply(code, status.text, _details(status.text), challenged)


def _is_preflight(headers: RequestHeaderMap) -> bool:
    return bool(
        headers.method == b"OPTIONS" and headers.get(b"origin") and headers.get(b"access-control-request-method")
    )


def _original_uri(headers: RequestHeaderMap) -> bytes:
    if not headers.path:
        return b""
    path = headers.get(b"x-envoy-original-path") or headers.path
    return headers.scheme + b"://" + headers.authority + path[:MAX_PATH]


def _details(text: str) -> str:
    return f"jwt_authn_access_denied{{{'_'.join(text.split())}}}"


@HTTP_FILTERS.register(NAME, TYPE)
def create_jwt_filter(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    config, name = JwtConfig(proto, context), context.filter_name
    return lambda: JwtFilter(config, name)
