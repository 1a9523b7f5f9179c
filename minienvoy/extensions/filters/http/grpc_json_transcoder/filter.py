"""`envoy.filters.http.grpc_json_transcoder`: REST clients of gRPC services.

Envoy: `Extensions::HttpFilters::GrpcJsonTranscoder::JsonTranscoderFilter`; docs "gRPC-JSON transcoder".

A request that calls a method becomes a gRPC request: JSON to messages, or an `HttpBody` with what was sent. Other
requests pass as they are, unless they are to be rejected. A unary response is held back until its trailers have said
how it went; a stream is translated message by message.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from .....http.filter import (
    HTTP_FILTERS,
    FilterDataStatus,
    FilterHeadersStatus,
    FilterTrailersStatus,
    HttpFilterFactory,
    StreamFilter,
)
from .....http.grpc import frame_header, grpc_to_http_status, is_grpc, is_grpc_response
from .....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from .....router.filter_config import ROUTE_FILTER_CONFIGS, most_specific_config
from .....server.factory_context import FactoryContext
from .filter_config import CONFIG_TYPE, NAME, Call, JsonTranscoderConfig, UnknownMethod
from .http_body import WireError, disclose, enclose
from .json_printer import PrintError
from .request_translator import JsonRequestTranslator, MessageTranslator, TranslationError
from .response_translator import MessageReader, ResponseTranslator
from .types import FieldPathError
from .wire import length_delimited, varint

DISABLED: Final = "disabled"
"""What a route tells that wants no transcoding."""
_MAX_PIECE: Final = 1 << 20
"""Bytes of a streamed `HttpBody` in one message: gRPC refuses more than 4 MB."""
MAX_HELD: Final = 64 << 20
"""Bytes of one message that are held at most, in whatever pieces it comes; Envoy looks at the pieces alone."""
_TOO_LARGE: Final = "transcoder's internal buffer size exceeds the configured limit."
_INVALID_ARGUMENT: Final = "{INVALID_ARGUMENT}"
_FAILED: Final = "grpc_json_transcode_failure"
_FAILED_EARLY: Final = "early_grpc_json_transcode_failure"


class JsonTranscoderFilter(StreamFilter):
    """One stream. `_call` is None for what passes as it is; `_error` when nothing more is translated."""

    def __init__(self, config: JsonTranscoderConfig | None, name: str) -> None:
        self._config = config
        self._name = name
        self._call: Call | None = None
        self._error = False
        # The request.
        self._translator: JsonRequestTranslator | None = None
        self._fed = 0
        self._content_type = b""
        self._initial = b""
        self._body = bytearray()
        self._first_sent = False
        # The response.
        self._headers: ResponseHeaderMap | None = None
        self._response: ResponseTranslator | None = None
        self._reader = MessageReader(takes_compressed=True)
        self._held: list[bytes] = []
        self._held_size = 0
        self._has_body = self._type_told = False

    # -- the request

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        own = most_specific_config(self.decoder_callbacks, self._name)
        if own is not None:
            self._config = None if own is DISABLED else own
        config = self._config
        if config is None or is_grpc(headers.get(b"content-type")):
            return FilterHeadersStatus.CONTINUE
        try:
            call = self._call = config.find(headers.method, headers.path)
        except UnknownMethod as problem:
            if not config.rejects_unknown_method:
                return FilterHeadersStatus.CONTINUE
            return self._reject(404, str(problem), f"{_FAILED_EARLY}{{NOT_FOUND}}")
        except FieldPathError as problem:
            if not config.rejects_unknown_query_parameters:
                return FilterHeadersStatus.CONTINUE
            return self._reject(400, str(problem), _FAILED_EARLY + _INVALID_ARGUMENT)
        callbacks = self.decoder_callbacks
        if config.max_request_body_size is not None and config.max_request_body_size > callbacks.decoder_buffer_limit:
            callbacks.set_decoder_buffer_limit(config.max_request_body_size)
        method = call.method
        if method.request_body is None:
            self._translator = JsonRequestTranslator(call.info, call.bindings, method.client_streaming)
        else:
            self._content_type = headers.get(b"content-type") or b""
            translator = MessageTranslator(call.info, call.bindings)
            translator.input.start_object("")
            translator.input.end_object()
            if translator.problem is not None:
                return self._reject(400, translator.problem, _FAILED + _INVALID_ARGUMENT)
            self._initial = translator.message or b""
        self._address(headers, method.path)
        if not config.uses_route_of_request:
            callbacks.clear_route_cache()
        if end_stream:
            try:
                data = self._translate(b"", end=True)
            except TranslationError as problem:
                return self._reject(400, problem.message, _FAILED_EARLY + _INVALID_ARGUMENT)
            if data:
                callbacks.add_decoded_data(data)
        return FilterHeadersStatus.CONTINUE

    def _address(self, headers: RequestHeaderMap, path: bytes) -> None:
        """Make the headers those of a call; its client still speaks HTTP."""
        self.decoder_callbacks.stream_info.told_client_speaks_grpc(False)
        headers.remove(b"content-length")
        headers.set(b"content-type", b"application/grpc")
        headers.set(b"x-envoy-original-path", headers.path)
        headers.add(b"x-envoy-original-method", headers.method)
        headers.path = path
        headers.method = b"POST"
        headers.set(b"te", b"trailers")

    def _reject(self, status: int, problem: str | bytes, details: str) -> FilterHeadersStatus:
        self._error = True
        if isinstance(problem, str):
            problem = problem.encode("utf-8", "surrogateescape")
        self.decoder_callbacks.send_local_reply(status, problem, details)
        return FilterHeadersStatus.STOP_ITERATION

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        call, config = self._call, self._config
        if call is None or config is None:
            return FilterDataStatus.CONTINUE
        limit = config.max_request_body_size
        if limit is None:
            limit = self.decoder_callbacks.decoder_buffer_limit
        self._fed += len(data)
        held = len(data)
        if call.method.request_body is not None and not call.method.client_streaming:
            held = self._fed
        if held > limit or self._fed > max(limit, MAX_HELD):
            self._reject(
                413, f"Request rejected because the {_TOO_LARGE}", _FAILED + "{request_buffer_size_limit_reached}"
            )
            return FilterDataStatus.STOP_ITERATION_NO_BUFFER
        try:
            out = self._translate(data, end_stream)
        except TranslationError as problem:
            self._reject(400, problem.message, _FAILED + _INVALID_ARGUMENT)
            return FilterDataStatus.STOP_ITERATION_NO_BUFFER
        if out:
            self._fed = 0
        elif call.method.request_body is not None and not end_stream:
            return FilterDataStatus.STOP_ITERATION_NO_BUFFER
        self.decoder_callbacks.replace_decoded_data(out)
        return FilterDataStatus.CONTINUE

    def decode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        if self._call is not None:
            try:
                data = self._translate(b"", end=True)
            except TranslationError:
                # As in Envoy: the service sees a request without the message.
                data = b""
            if data:
                self.decoder_callbacks.add_decoded_data(data)
        return FilterTrailersStatus.CONTINUE

    def _translate(self, data: bytes, end: bool) -> bytes:
        """What the service is sent; raises TranslationError."""
        if self._translator is not None:
            return self._translator.feed(data, end)
        assert self._call is not None
        self._body += data
        if not self._call.method.client_streaming:
            return self._message(bytes(self._body)) if end else b""
        body, self._body = bytes(self._body), bytearray()
        out = []
        for at in range(0, len(body), _MAX_PIECE):
            out.append(self._message(body[at : at + _MAX_PIECE]))
        if not self._first_sent:
            out.append(self._message(b""))
        return b"".join(out)

    def _message(self, body: bytes) -> bytes:
        """A frame with a message with an `HttpBody`."""
        call = self._call
        assert call is not None and call.method.request_body is not None
        if self._first_sent and not body:
            return b""
        message = self._initial + enclose(call.method.request_body, self._content_type, body, call.unknown)
        self._first_sent = True
        self._initial = self._content_type = b""
        return frame_header(len(message)) + message

    # -- the response

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        call, config = self._call, self._config
        if self._error or call is None or config is None:
            return FilterHeadersStatus.CONTINUE
        if not is_grpc_response(headers, end_stream):
            self._error = True
            return FilterHeadersStatus.CONTINUE
        callbacks = self.encoder_callbacks
        if config.max_response_body_size is not None and config.max_response_body_size > callbacks.encoder_buffer_limit:
            callbacks.set_encoder_buffer_limit(config.max_response_body_size)
        self._headers = headers
        self._response = ResponseTranslator(call.method.response)
        streaming = call.method.server_streaming
        if streaming or not end_stream:
            events = streaming and config.sends_events
            headers.set(b"content-type", b"text/event-stream" if events else b"application/json")
        if end_stream:
            self._finish(headers)
            return FilterHeadersStatus.CONTINUE
        if streaming and call.method.response_body is None:
            return FilterHeadersStatus.CONTINUE
        return FilterHeadersStatus.STOP_ITERATION

    def encode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        call, config, response = self._call, self._config, self._response
        if self._error or call is None or config is None or response is None:
            return FilterDataStatus.CONTINUE
        self._has_body = True
        if call.method.response_body is not None:
            return self._unpack(data)
        limit = config.max_response_body_size
        if limit is None:
            limit = self.encoder_callbacks.encoder_buffer_limit
        if response.held + len(data) + self._held_size > limit:
            return self._fail(
                500, f"Response not transcoded because the {_TOO_LARGE}", "{response_buffer_size_limit_reached}"
            )
        try:
            out = response.feed(data, end_stream)
        except PrintError as problem:
            return self._fail(502, str(problem), f"{{{problem.code}}}")
        if not call.method.server_streaming and not end_stream:
            self._held.append(out)
            self._held_size += len(out)
            return FilterDataStatus.STOP_ITERATION_NO_BUFFER
        self.encoder_callbacks.replace_encoded_data(b"".join(self._held) + out)
        self._held, self._held_size = [], 0
        return FilterDataStatus.CONTINUE

    def _fail(self, status: int, problem: str, details: str) -> FilterDataStatus:
        self._error = True
        self.encoder_callbacks.send_local_reply(status, problem, _FAILED + details)
        return FilterDataStatus.STOP_ITERATION_NO_BUFFER

    def _unpack(self, data: bytes) -> FilterDataStatus:
        """The bodies that are in the messages of `data`."""
        call, headers, reader = self._call, self._headers, self._reader
        assert call is not None and call.method.response_body is not None and headers is not None
        callbacks = self.encoder_callbacks
        reader.feed(data)
        out = []
        processed = False
        while (message := reader.next()) is not None:
            processed = True
            if not message:
                continue
            try:
                content_type, body = disclose(call.method.response_body, message)
            except WireError:
                self._error = True
                callbacks.stream_info.response_code = headers.status
                callbacks.reset_stream()
                return FilterDataStatus.STOP_ITERATION_NO_BUFFER
            out.append(body)
            if not call.method.server_streaming:
                headers.set(b"content-type", content_type)
                headers.set(b"content-length", b"%d" % len(body))
                break
            if not self._type_told:
                self._type_told = True
                headers.set(b"content-type", content_type)
        if reader.held > MAX_HELD:
            return self._fail(
                500, f"Response not transcoded because the {_TOO_LARGE}", "{response_buffer_size_limit_reached}"
            )
        callbacks.replace_encoded_data(b"".join(out))
        if not call.method.server_streaming or not (self._type_told or processed):
            return FilterDataStatus.STOP_ITERATION_AND_BUFFER
        return FilterDataStatus.CONTINUE

    def encode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        self._finish(trailers)
        return FilterTrailersStatus.CONTINUE

    def _finish(self, last: HeaderMap) -> None:
        """`last` are the trailers, or the headers if they are all there is."""
        call, headers, response = self._call, self._headers, self._response
        if self._error or call is None or headers is None or response is None:
            return
        status = last.get(b"grpc-status")
        if status is not None and self._convert_status(status, last):
            return
        callbacks = self.encoder_callbacks
        if call.method.response_body is None:
            try:
                out = b"".join(self._held) + response.feed(b"", end=True)
            except PrintError as problem:
                self._fail(502, str(problem), f"{{{problem.code}}}")
                return
            if out:
                callbacks.add_encoded_data(out)
        trailers_only = headers is last
        if call.method.server_streaming and not trailers_only:
            # They are on their way already.
            return
        if status is None or not _is_number(status):
            headers.status = 503
        else:
            headers.status = grpc_to_http_status(status) or 503
            if not trailers_only:
                headers.set(b"grpc-status", b"%d" % int(status))
        message = last.get(b"grpc-message")
        if message is not None and not trailers_only:
            headers.set(b"grpc-message", message)
        self._forget_trailer(headers)
        if not call.method.server_streaming:
            headers.set(b"content-length", b"%d" % len(callbacks.encoding_buffer()))

    def _forget_trailer(self, headers: ResponseHeaderMap) -> None:
        if self.encoder_callbacks.stream_info.protocol in ("HTTP/1.0", "HTTP/1.1"):
            headers.remove(b"trailer")

    def _convert_status(self, status: bytes, last: HeaderMap) -> bool:
        """Answer a failure without a body by its status as JSON; False if there is nothing to convert."""
        config, headers = self._config, self._headers
        assert config is not None and headers is not None
        if not config.converts_grpc_status or self._has_body or not _is_number(status) or not int(status):
            return False
        details = _decoded(last.get(b"grpc-status-details-bin"))
        if details is None:
            details = b"\x08" + varint(int(status))
            message = last.get(b"grpc-message")
            if message:
                details += length_delimited(2, unquote_to_bytes(message))
        text = config.print_status(details)
        if text is None:
            return False
        headers.status = grpc_to_http_status(status) or 500
        if headers is last:
            for name in (b"grpc-status", b"grpc-message", b"grpc-status-details-bin"):
                headers.remove(name)
        self._forget_trailer(headers)
        headers.set(b"content-type", b"application/json")
        headers.set(b"content-length", b"%d" % len(text))
        self.encoder_callbacks.add_encoded_data(text)
        return True


def _is_number(status: bytes) -> bool:
    return status.isdigit() and len(status) < 10


def _decoded(details: bytes | None) -> bytes | None:
    """A `-bin` header: base64, its padding may be left out."""
    if details is None:
        return None
    try:
        return base64.b64decode(details + b"=" * (-len(details) % 4), validate=True)
    except binascii.Error:
        return None


@HTTP_FILTERS.register(NAME, CONFIG_TYPE)
def create_grpc_json_transcoder(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    config = JsonTranscoderConfig(proto, "") if proto.services else None
    name = context.filter_name
    return lambda: JsonTranscoderFilter(config, name)


@ROUTE_FILTER_CONFIGS.register(NAME, CONFIG_TYPE)
def create_route_config(proto: Any, path: str, server: Any) -> JsonTranscoderConfig | str:
    return JsonTranscoderConfig(proto, path) if proto.services else DISABLED
