"""One stream that a processor is told of, over one gRPC stream of its own.

Envoy: `Extensions::HttpFilters::ExternalProcessing::Filter`; docs "External Processing". Headers, bodies and trailers
are sent as the mode says; the stream waits for each answer. Whatever goes wrong with the processor ends its part: the
client is told, or the stream goes on without it (`failure_mode_allow`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

from .....config.api import message_class, struct_to_dict
from .....http.filter import (
    HTTP_FILTERS,
    UPSTREAM_HTTP_FILTERS,
    FilterDataStatus,
    FilterHeadersStatus,
    FilterTrailersStatus,
    HttpFilterFactory,
    StreamFilter,
)
from .....router.filter_config import all_configs
from .....upstream.grpc_client import INTERNAL, GrpcStream
from .filter_config import BUFFERED, BUFFERED_PARTIAL, CONFIG_TYPE, NAME, STREAMED, ExtProcConfig, RouteSettings
from .mutations import InvalidMutationError, apply_header_mutation, fill_headers
from .processor_state import Asked, DecodingProcessorState, EncodingProcessorState, ProcessorState, SpuriousMessageError

if TYPE_CHECKING:
    from .....event.dispatcher import Dispatcher
    from .....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
    from .....server.factory_context import FactoryContext

METHOD: Final = "envoy.service.ext_proc.v3.ExternalProcessor/Process"
_SERVICE: Final = "envoy.service.ext_proc.v3"
_TIMEOUT: Final = 504
_FIRST_FINAL: Final = 200

_CONTINUE: Final = FilterHeadersStatus.CONTINUE
_STOP: Final = FilterHeadersStatus.STOP_ITERATION


class ExtProcFilter(StreamFilter):
    """Attributes:
    config: with what the route says.
    over: the processor is not asked any more.
    """

    def __init__(self, config: ExtProcConfig, name: str) -> None:
        self.config = config
        self._name = name
        self._merged = self.over = self._replied = self._first_sent = False
        self._stream: GrpcStream | None = None
        self._receiving = False
        self.request = DecodingProcessorState(self)
        self.response = EncodingProcessorState(self)
        self.request.mode, self.response.mode = config.mode.request, config.mode.response

    @property
    def dispatcher(self) -> Dispatcher:
        return self.decoder_callbacks.dispatcher

    # -- from the filter manager

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        self._merge()
        return self._on_headers(self.request, headers, end_stream)

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        return self._on_data(self.request, data, end_stream)

    def decode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        return self._on_trailers(self.request, trailers)

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        self._merge()
        return self._on_headers(self.response, headers, end_stream)

    def encode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        return self._on_data(self.response, data, end_stream)

    def encode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        return self._on_trailers(self.response, trailers)

    def on_destroy(self) -> None:
        self.over = True
        self.request.stop_timer()
        self.response.stop_timer()
        self._close()

    def _merge(self) -> None:
        if self._merged:
            return
        self._merged = True
        self.request.callbacks, self.response.callbacks = self.decoder_callbacks, self.encoder_callbacks
        routes = tuple(
            each for each in all_configs(self.decoder_callbacks, self._name) if isinstance(each, RouteSettings)
        )
        if routes:
            self.config = self.config.with_route(routes)
            self.request.mode, self.response.mode = self.config.mode.request, self.config.mode.response

    def _on_headers(self, state: ProcessorState, headers: HeaderMap, end_stream: bool) -> FilterHeadersStatus:
        state.complete = end_stream
        status = _CONTINUE
        if not self.over and state.mode.headers:
            if not self._open():
                return _STOP if self._replied else _CONTINUE
            state.headers = headers
            state.no_body = end_stream
            state.paused = True
            message = self._message()
            wrapped = getattr(message, f"{state.name}_headers")
            wrapped.SetInParent()
            wrapped.headers.SetInParent()
            fill_headers(wrapped.headers, headers, self.config.forwards_header)
            wrapped.end_of_stream = end_stream
            self._send(state, Asked.HEADERS, message)
            status = _STOP
        if not self.over and state.removes_content_length:
            headers.remove(b"content-length")
        return status

    def _on_data(self, state: ProcessorState, data: bytes, end_stream: bool) -> FilterDataStatus:
        state.complete = state.complete or end_stream
        if state.body_replaced:
            self._swallow(state)
            return FilterDataStatus.CONTINUE
        if self.over:
            return FilterDataStatus.CONTINUE
        if state.asked is Asked.HEADERS:
            state.paused = True
            if state.body_mode == BUFFERED:
                return FilterDataStatus.STOP_ITERATION_AND_BUFFER
            state.request_watermark()
            return FilterDataStatus.STOP_ITERATION_AND_WATERMARK
        mode = state.body_mode
        if mode == BUFFERED:
            return self._on_buffered_data(state, data, end_stream)
        if mode == STREAMED:
            if not self._open():
                return self._without_stream()
            state.enqueue(data, end_stream)
            self.send_body(state, Asked.STREAMED_BODY, data, end_stream)
            if end_stream:
                state.paused = True
                return FilterDataStatus.STOP_ITERATION_NO_BUFFER
            self._swallow(state)
            return FilterDataStatus.CONTINUE
        if mode == BUFFERED_PARTIAL:
            return self._on_partial_data(state, data, end_stream)
        return FilterDataStatus.CONTINUE

    def _on_buffered_data(self, state: ProcessorState, data: bytes, end_stream: bool) -> FilterDataStatus:
        if not end_stream:
            state.paused = True
            return FilterDataStatus.STOP_ITERATION_AND_BUFFER
        if not self._open():
            return self._without_stream()
        state.add_to_buffer(data)
        state.paused = True
        self.send_body(state, Asked.BUFFERED_BODY, state.buffer(), True)
        return FilterDataStatus.STOP_ITERATION_NO_BUFFER

    def _on_partial_data(self, state: ProcessorState, data: bytes, end_stream: bool) -> FilterDataStatus:
        if state.partial_body_processed:
            state.headers = None
            return FilterDataStatus.CONTINUE
        state.enqueue(data, end_stream)
        state.paused = True
        if state.asked is not Asked.PARTIAL_BODY and (end_stream or state.queue_is_full):
            if not self._open():
                return self._without_stream()
            whole, ended = state.consolidate()
            self.send_body(state, Asked.PARTIAL_BODY, whole, ended)
        return FilterDataStatus.STOP_ITERATION_NO_BUFFER

    def _on_trailers(self, state: ProcessorState, trailers: HeaderMap) -> FilterTrailersStatus:
        if self.over:
            return FilterTrailersStatus.CONTINUE
        delivered, state.complete, state.trailers_available = state.complete, True, True
        state.trailers = trailers
        if state.asked is not Asked.IDLE:
            state.paused = True
            return FilterTrailersStatus.STOP_ITERATION
        held = state.buffer() if state.body_mode == BUFFERED else b""
        partial = state.queue and state.body_mode == BUFFERED_PARTIAL
        if not delivered and (held or partial):
            if self._open():
                state.paused = True
                if partial:
                    self.send_body(state, Asked.PARTIAL_BODY, state.consolidate()[0], False)
                else:
                    self.send_body(state, Asked.BUFFERED_BODY, held, False)
        elif not state.sends_trailers:
            return FilterTrailersStatus.CONTINUE
        elif self._open():
            state.paused = True
            self.send_trailers(state)
        if state.paused or self._replied:
            return FilterTrailersStatus.STOP_ITERATION
        return FilterTrailersStatus.CONTINUE

    def _swallow(self, state: ProcessorState) -> None:
        if state is self.request:
            self.decoder_callbacks.replace_decoded_data(b"")
        else:
            self.encoder_callbacks.replace_encoded_data(b"")

    def _without_stream(self) -> FilterDataStatus:
        return FilterDataStatus.STOP_ITERATION_NO_BUFFER if self._replied else FilterDataStatus.CONTINUE

    # -- to the processor

    def _open(self) -> bool:
        """Whether it can be told something; if not, all has been done about that."""
        if self._stream is not None:
            return True
        config = self.config
        config.stats.streams_started += 1
        info = self.decoder_callbacks.stream_info
        metadata = config.service.call_metadata(info)
        stream = config.client.start(METHOD, self, config.service.timeout, (*metadata, *config.metadata))
        if self.over:
            return False
        self._stream = stream
        return True

    def _message(self) -> Any:
        message = message_class(f"{_SERVICE}.ProcessingRequest")()
        if not self._first_sent:
            self._first_sent = True
            message.protocol_config.SetInParent()
            message.protocol_config.request_body_mode = self.request.mode.body
            message.protocol_config.response_body_mode = self.response.mode.body
        message.metadata_context.SetInParent()
        if self.config.forwards:
            known = self.decoder_callbacks.stream_info.dynamic_metadata
            for namespace in self.config.forwards:
                if isinstance(known.get(namespace), dict):
                    message.metadata_context.filter_metadata[namespace].update(known[namespace])
        return message

    def send_body(self, state: ProcessorState, asked: Asked, data: bytes, end_stream: bool) -> None:
        message = self._message()
        body = getattr(message, f"{state.name}_body")
        body.SetInParent()
        body.body = data
        body.end_of_stream = end_stream
        self._send(state, asked, message)

    def send_trailers(self, state: ProcessorState) -> None:
        message = self._message()
        wrapped = getattr(message, f"{state.name}_trailers")
        wrapped.SetInParent()
        wrapped.trailers.SetInParent()
        assert state.trailers is not None
        fill_headers(wrapped.trailers, state.trailers, self.config.forwards_header)
        self._send(state, Asked.TRAILERS, message)

    def _send(self, state: ProcessorState, asked: Asked, message: Any) -> None:
        state.start_call(asked)
        self.config.stats.stream_msgs_sent += 1
        if self._stream is not None:
            self._stream.send(message.SerializeToString())

    def _close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            self.config.stats.streams_closed += 1
            if not self._receiving:
                # What is written while the connection is read goes out with the reset, which takes its place.
                stream.close()
            stream.reset()

    # -- from the processor

    def on_receive_message(self, message: bytes) -> None:
        if self.over:
            return
        self._receiving = True
        try:
            response = message_class(f"{_SERVICE}.ProcessingResponse").FromString(message)
        except DecodeError:
            self._close()
            self._on_error(INTERNAL, "")
        else:
            self._on_response(response)
        finally:
            self._receiving = False

    def on_remote_close(self, status: int, message: str) -> None:
        stats = self.config.stats
        stats.server_half_closed += 1
        stream, self._stream = self._stream, None
        if status:
            details = "via_upstream"
            asked = None if stream is None else stream.stream
            if asked is not None and asked.reset_reason is not None and asked.failure_details:
                reason, details = asked.reset_reason.value, asked.failure_details
                message = f"upstream connect error or disconnect/reset before headers. reset reason: {reason}"
            self._on_error(status, f"{message}{{{details}}}")
            return
        if not self.over:
            self.over = True
            stats.streams_closed += 1
            self._clear()

    def _on_error(self, status: int, words: str) -> None:
        stats = self.config.stats
        stats.streams_failed += 1
        if self.over:
            return
        self.over = True
        if self.config.failure_mode_allow:
            stats.server_half_closed += 1
            stats.streams_closed += 1
            stats.failure_mode_allowed += 1
            self._clear()
        else:
            self._fail(self.config.status_on_error, f"ext_proc_error_gRPC_error_{status}{{{words}}}")

    def on_message_timeout(self) -> None:
        """An answer takes too long."""
        stats = self.config.stats
        stats.message_timeouts += 1
        self.over = True
        self._close()
        if self.config.failure_mode_allow:
            stats.failure_mode_allowed += 1
            self._clear()
        else:
            self._fail(_TIMEOUT, "ext_proc_error_per-message_timeout_exceeded")

    def _on_response(self, response: Any) -> None:
        config, stats = self.config, self.config.stats
        if response.HasField("override_message_timeout"):
            self._extend(response.override_message_timeout)
            return
        if (
            config.allow_mode_override
            and response.HasField("mode_override")
            and Asked.HEADERS in (self.request.asked, self.response.asked)
        ):
            self._override(response.mode_override)
        try:
            last = self._handle(response)
        except SpuriousMessageError as error:
            stats.spurious_msgs_received += 1
            self.over = True
            self._close()
            if config.failure_mode_allow:
                stats.failure_mode_allowed += 1
                self._clear()
            else:
                self._fail(config.status_on_error, str(error))
        except InvalidMutationError as error:
            stats.stream_msgs_received += 1
            self.over = True
            self._close()
            self._fail(500, str(error))
        else:
            stats.stream_msgs_received += 1
            if last:
                self._close()

    def _handle(self, response: Any) -> bool:
        """Whether nothing more can be asked.

        Raises:
            SpuriousMessageError, InvalidMutationError.
        """
        kind = response.WhichOneof("response")
        if kind == "immediate_response":
            if self.config.disable_immediate_response:
                raise SpuriousMessageError("unhandled immediate response due to config disabled it")
            self._take_metadata(response)
            self.over = True
            self._finish_calls()
            self._close()
            self._reply(response.immediate_response)
            return False
        if kind is None or kind.startswith("streamed"):
            raise SpuriousMessageError("unhandled message")
        direction, _, part = kind.partition("_")
        state: ProcessorState = self.request if direction == "request" else self.response
        self._take_metadata(response)
        asked = getattr(response, kind)
        only_headers = state.no_body or (not state.body_mode and not state.sends_trailers)
        if part == "headers":
            state.handle_headers(asked)
            only_headers = only_headers or state.body_replaced
            return only_headers and (state is self.response or self.response.mode.nothing)
        if part == "body":
            ended = state.handle_body(asked)
            done = ended and (state is self.response or self.response.mode.nothing)
            return done and not state.sends_trailers
        state.handle_trailers(asked)
        return state is self.response or self.response.mode.nothing

    def _override(self, proto: Any) -> None:
        from .filter_config import ProcessingMode

        mode = ProcessingMode.from_proto(proto)
        if self.config.override_modes and mode.key not in self.config.override_modes:
            return
        self.request.mode, self.response.mode = mode.request, mode.response

    def _extend(self, duration: Any) -> None:
        stats = self.config.stats
        seconds = duration.seconds + duration.nanos / 1e9
        if not 0.001 <= seconds <= self.config.max_message_timeout:
            stats.override_message_timeout_ignored += 1
            return
        extended = [state.extend_timer(seconds) for state in (self.request, self.response)]
        if any(extended):
            stats.override_message_timeout_received += 1
        else:
            stats.override_message_timeout_ignored += 1

    def _take_metadata(self, response: Any) -> None:
        if self.config.receives and response.HasField("dynamic_metadata"):
            known = self.decoder_callbacks.stream_info.dynamic_metadata
            for namespace, value in struct_to_dict(response.dynamic_metadata).items():
                if namespace in self.config.receives and isinstance(value, dict):
                    known[namespace] = {**known.get(namespace, {}), **value}

    # -- the end of its part

    def _finish_calls(self) -> None:
        self.request.finish_call()
        self.response.finish_call()

    def _clear(self) -> None:
        if self._merged:
            self.request.clear()
            self.response.clear()

    def _fail(self, status: int, details: str) -> None:
        self._finish_calls()
        reply = message_class(f"{_SERVICE}.ImmediateResponse")(details=details)
        reply.status.code = status
        self._reply(reply)

    def _reply(self, reply: Any) -> None:
        config = self.config
        status = reply.status.code if reply.HasField("status") else _FIRST_FINAL
        if status < _FIRST_FINAL:
            status = _FIRST_FINAL

        def modify(headers: ResponseHeaderMap) -> None:
            try:
                apply_header_mutation(reply.headers, headers, config.rules, config.stats)
            except InvalidMutationError:
                pass  # the rest of it is told

        self._replied = True
        config.stats.immediate_responses_sent += 1
        self.encoder_callbacks.send_local_reply(
            status,
            bytes(reply.body),
            reply.details.replace(" ", "_"),
            modify if reply.HasField("headers") else None,
            reply.grpc_status.status if reply.HasField("grpc_status") else None,
        )


@HTTP_FILTERS.register(NAME, CONFIG_TYPE)
@UPSTREAM_HTTP_FILTERS.register(NAME, CONFIG_TYPE)
def create_ext_proc_filter(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    config = ExtProcConfig.from_proto(proto, context.server, context.http_scope)
    name = context.filter_name
    return lambda: ExtProcFilter(config, name)
