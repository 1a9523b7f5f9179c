"""`envoy.filters.http.ext_authz`: asks a service whether a request may pass.

Envoy: `Extensions::HttpFilters::ExtAuthz::Filter`; docs "External Authorization". While the service is asked the
request waits; above the buffer's limit the client does, too. What comes of it:

    OK       the service may change headers and query, and adds to the response; the request goes on;
    denied   the client gets what the service says, 403 if it says nothing;
    error    nobody could be asked: the client gets `status_on_error`, or the request goes on (`failure_mode_allow`);
    invalid  the service asks for changes that it may not: 500 (`validate_mutations`).

In shadow mode the request goes on whatever is decided, and the decision is left in the filter state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .....http.filter import (
    HTTP_FILTERS,
    FilterDataStatus,
    FilterHeadersStatus,
    FilterTrailersStatus,
    HttpFilterFactory,
    StreamFilter,
)
from .....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from .....router.filter_config import all_configs, most_specific_config
from .....stream_info import FieldsState, ResponseFlag
from .....upstream.grpc_client import GrpcStream
from ...common.ext_authz.response import CheckStatus, Response
from ...common.ext_authz.shadow_decision import shadow_decision
from .filter_config import CONFIG_TYPE, NAME, BufferSettings, ExtAuthzConfig, Question, RouteSettings
from .mutations import InvalidMutationError, ResponseChanges, all_valid, change_query, change_request, take_over

if TYPE_CHECKING:
    from .....server.factory_context import FactoryContext
    from .....upstream.cluster import Cluster
    from ...common.ext_authz.response import Call

FAILURE_MODE_ALLOWED: Final = b"x-envoy-auth-failure-mode-allowed"
DENIED: Final = "ext_authz_denied"
ERROR: Final = "ext_authz_error"
INVALID: Final = "ext_authz_invalid"
_INTERNAL_ERROR: Final = 500


class ExtAuthzFilter(StreamFilter):
    """One stream."""

    def __init__(self, config: ExtAuthzConfig, name: str) -> None:
        self._config = config
        self._name = name
        self._headers: RequestHeaderMap | None = None
        self._buffer: BufferSettings | None = None
        self._call: Call | None = None
        self._cluster: Cluster | None = None
        self._changes: ResponseChanges | None = None
        self._figures: FieldsState | None = None
        self._asked_at = 0.0
        self._asking = self._waiting = self._starting = False

    # -- the request

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        callbacks, config = self.decoder_callbacks, self._config
        settings: RouteSettings | None = most_specific_config(callbacks, self._name)
        if callbacks.route() is None or (settings is not None and settings.disabled):
            return FilterHeadersStatus.CONTINUE
        if not config.filter_enabled(callbacks.stream_info):
            config.stats.disabled += 1
            if config.deny_at_disable is None or not config.deny_at_disable.value(config.server.runtime.snapshot):
                return FilterHeadersStatus.CONTINUE
            self._refuse(config.status_on_error, ERROR)
            return FilterHeadersStatus.STOP_ITERATION
        self._headers = headers
        buffer = config.buffer
        if settings is not None and settings.buffer is not None:
            buffer = settings.buffer
        may_buffer = settings is None or settings.buffers
        if buffer.max_request_bytes and may_buffer and not end_stream and not _is_upgrade(headers):
            self._buffer = buffer
            if not buffer.allow_partial_message:
                callbacks.set_decoder_buffer_limit(buffer.max_request_bytes)
            return FilterHeadersStatus.STOP_ITERATION
        self._ask(None)
        if self._waiting:
            return FilterHeadersStatus.STOP_ALL_ITERATION_AND_WATERMARK
        return FilterHeadersStatus.CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        buffer, callbacks = self._buffer, self.decoder_callbacks
        if buffer is None:
            return FilterDataStatus.CONTINUE
        if not end_stream and not self._is_full(buffer, len(data)):
            return FilterDataStatus.STOP_ITERATION_AND_BUFFER
        callbacks.add_decoded_data(data)
        callbacks.replace_decoded_data(b"")
        self._ask(buffer)
        return FilterDataStatus.STOP_ITERATION_AND_WATERMARK if self._waiting else FilterDataStatus.CONTINUE

    def decode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        if self._buffer is None:
            return FilterTrailersStatus.CONTINUE
        self._ask(self._buffer)
        return FilterTrailersStatus.STOP_ITERATION if self._waiting else FilterTrailersStatus.CONTINUE

    def on_destroy(self) -> None:
        call, self._call = self._call, None
        if self._asking and call is not None:
            call.reset()
        self._asking = False

    def _is_full(self, buffer: BufferSettings, more: int) -> bool:
        if not buffer.allow_partial_message:
            return False
        return len(self.decoder_callbacks.decoding_buffer()) + more >= buffer.max_request_bytes

    def _ask(self, buffer: BufferSettings | None) -> None:
        """With a `buffer` the service is told of the body that there is."""
        headers, callbacks, config = self._headers, self.decoder_callbacks, self._config
        if self._waiting or headers is None:
            return
        route: Any = callbacks.route()
        levels: tuple[RouteSettings, ...] = all_configs(callbacks, self._name)
        extensions: dict[str, str] = {}
        for level in levels:
            extensions.update(level.extensions)
        if config.leaves_state:
            self._leave_state()
        connection = callbacks.downstream_connection.info
        question = Question(headers, callbacks.stream_info, connection, route, extensions)
        for level in levels:
            if level.emits_span is not None:
                question.emits_span = level.emits_span
        if buffer is not None:
            held = callbacks.decoding_buffer()
            question.body = held[: buffer.max_request_bytes]
            question.partial = len(held) > buffer.max_request_bytes
        if route is not None and route.cluster_name:
            self._cluster = config.server.cluster_manager.get(route.cluster_name)
        service = (levels[-1].service if levels else None) or config.service
        self._asked_at = callbacks.dispatcher.monotonic_time()
        self._asking = self._waiting = self._starting = True
        call = service.check(self, question, config)
        self._starting = False
        if self._asking:
            self._call = call

    # -- what is decided

    def on_complete(self, response: Response) -> None:
        call, self._asking, self._call = self._call, False, None
        config = self._config
        if config.tells_figures and self._figures is not None:
            self._tell_figures(call)
        self.decoder_callbacks.explain.decided("ext_authz", response.status.name.lower(), self._name)
        if response.invalid_action and config.validate_mutations:
            self._reject()
            return
        if response.dynamic_metadata:
            self._take_metadata(response)
        if response.status is CheckStatus.OK:
            self._on_ok(response)
        elif response.status is CheckStatus.DENIED:
            self._on_denied(response)
        else:
            self._on_error(response)

    def _leave_state(self) -> None:
        state = self.decoder_callbacks.stream_info.filter_state
        if self._name in state:
            self._config.stats.filter_state_name_collision += 1
        else:
            self._figures = state[self._name] = FieldsState()

    def _tell_figures(self, call: Call | None) -> None:
        """How long it took, and what it was on the wire where the server speaks gRPC."""
        assert self._figures is not None
        elapsed = self.decoder_callbacks.dispatcher.monotonic_time() - self._asked_at
        self._figures["latency_us"] = int(elapsed * 1e6)
        stream = call.stream if isinstance(call, GrpcStream) else None
        if stream is not None and stream.meter is not None:
            self._figures["bytesSent"] = stream.meter.wire_sent
            self._figures["bytesReceived"] = stream.meter.wire_received

    def _take_metadata(self, response: Response) -> None:
        callbacks, config = self.decoder_callbacks, self._config
        if not config.takes_metadata:
            config.stats.ignored_dynamic_metadata += 1
            return
        told = dict(response.dynamic_metadata)
        if response.status is CheckStatus.OK:
            milliseconds = int((callbacks.dispatcher.monotonic_time() - self._asked_at) * 1000)
            told["ext_authz_duration"] = float(milliseconds)
        metadata = callbacks.stream_info.dynamic_metadata
        metadata[NAME] = {**metadata.get(NAME, {}), **told}

    def _on_ok(self, response: Response) -> None:
        config, headers = self._config, self._headers
        assert headers is not None
        if config.clear_route_cache and self._leads_elsewhere(response):
            self.decoder_callbacks.clear_route_cache()
        try:
            change_request(headers, response, config)
            self._look_at_response_headers(response)
            change_query(headers, response, config)
            self._look_at_size(headers)
        except InvalidMutationError:
            self._reject()
            return
        self._changes = ResponseChanges(response)
        self._charge("ok")
        config.stats.ok += 1
        if config.shadow_mode:
            self._tell_shadow("OK", response, response.status_code)
        self._go_on()

    def _leads_elsewhere(self, response: Response) -> bool:
        names = self._config.clear_route_cache_headers
        if not names or response.query_parameters_to_set or response.query_parameters_to_remove:
            return response.changes_request
        changed = [name for name, _ in (*response.headers_to_set, *response.headers_to_append)]
        return any(name.lower() in names for name in (*changed, *response.headers_to_remove))

    def _look_at_size(self, headers: RequestHeaderMap) -> None:
        count, size = self.decoder_callbacks.request_header_limits
        pseudo = headers.pseudo_order
        length = headers.byte_size() + sum(len(name) + len(headers.get(name) or b"") for name in pseudo)
        if len(headers.entries) + len(pseudo) > count or length > size:
            self._config.stats.request_header_limits_reached += 1
            raise InvalidMutationError

    def _look_at_response_headers(self, response: Response) -> None:
        if self._config.validate_mutations and not all_valid(
            (
                *response.response_headers_to_add,
                *response.response_headers_to_set,
                *response.response_headers_to_add_if_absent,
                *response.response_headers_to_overwrite_if_exists,
            )
        ):
            raise InvalidMutationError

    def _on_denied(self, response: Response) -> None:
        config = self._config
        config.stats.denied += 1
        self._charge("denied")
        if self._cluster is not None and config.charges_cluster:
            self._cluster.code_stats.charge_response(response.status_code, True)
        if config.shadow_mode:
            config.stats.shadow_denied += 1
            self._tell_shadow("DENIED", response, response.status_code)
            self._go_on()
            return
        if config.validate_mutations and not all_valid(response.headers_to_set):
            self._reject()
            return
        self._refuse(response.status_code, DENIED, response)

    def _on_error(self, response: Response) -> None:
        config = self._config
        self._charge("error")
        config.stats.error += 1
        status = response.status_code or config.status_on_error
        if config.shadow_mode:
            config.stats.shadow_error += 1
            self._tell_shadow("ERROR", response, status)
            self._go_on()
        elif config.failure_mode_allow:
            config.stats.failure_mode_allowed += 1
            self._charge("failure_mode_allowed")
            if config.failure_mode_allow_header_add and self._headers is not None:
                self._headers.add(FAILURE_MODE_ALLOWED, b"true")
            self._go_on()
        elif config.validate_mutations and not all_valid(response.headers_to_set):
            self._refuse(config.status_on_error, ERROR)
        else:
            self._refuse(status, ERROR, response)

    def _reject(self) -> None:
        self._charge("invalid")
        self._config.stats.invalid += 1
        self._refuse(_INTERNAL_ERROR, INVALID)

    def _refuse(self, status: int, details: str, response: Response | None = None) -> None:
        config = self._config
        body, wanted = b"", []
        if response is not None:
            body, wanted = response.body, response.headers_to_set
            if config.max_denied_body:
                body = body[: config.max_denied_body]

        def modify(headers: ResponseHeaderMap) -> None:
            take_over(headers, wanted)

        self.decoder_callbacks.stream_info.set_response_flag(ResponseFlag.UNAUTHORIZED_EXTERNAL_SERVICE)
        self.decoder_callbacks.send_local_reply(status, body, details, modify)

    def _tell_shadow(self, result: str, response: Response, status: int) -> None:
        decision = shadow_decision(result, status, () if result == "OK" else response.headers_to_set)
        self.decoder_callbacks.stream_info.filter_state[f"{self._name}.shadow"] = decision

    def _charge(self, counter: str) -> None:
        if self._cluster is not None:
            self._cluster.stats.scope.counter(self._config.cluster_prefix + counter).add(1)

    def _go_on(self) -> None:
        self._buffer = None
        self._waiting = False
        if not self._starting:
            self.decoder_callbacks.continue_decoding()

    # -- the response

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        if self._changes is None:
            return FilterHeadersStatus.CONTINUE
        limit = 0
        from_upstream = self.encoder_callbacks.stream_info.response_code_details == "via_upstream"
        if self._config.enforces_response_limits and self._cluster is not None and from_upstream:
            limit = self._cluster.http_options.http1.max_headers_count
        if self._changes.apply(headers, limit):
            return FilterHeadersStatus.CONTINUE
        self._config.stats.response_header_limits_reached += 1
        self._refuse(_INTERNAL_ERROR, INVALID)
        return FilterHeadersStatus.STOP_ITERATION


def _is_upgrade(headers: RequestHeaderMap) -> bool:
    """To a WebSocket, in either version of HTTP."""
    upgrade = headers.get(b"upgrade")
    if upgrade is not None and upgrade.lower() == b"websocket":
        return b"upgrade" in (headers.get(b"connection") or b"").lower()
    return headers.method == b"CONNECT" and headers.get(b":protocol") is not None


@HTTP_FILTERS.register(NAME, CONFIG_TYPE)
def create_ext_authz_filter(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    config, name = ExtAuthzConfig.from_proto(proto, context), context.filter_name
    return lambda: ExtAuthzFilter(config, name)
