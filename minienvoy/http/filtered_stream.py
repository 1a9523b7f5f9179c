"""A stream that goes through more filters than the one that answers it.

Envoy: `Http::FilterManager::decodeHeaders` and its siblings; which filter has seen what is `filter_iteration.py`.
"""

from __future__ import annotations

from typing import Any

from .active_stream import ActiveStream
from .codec import Metadata
from .filter import HttpFilter, StreamDecoderFilter, StreamEncoderFilter
from .filter_iteration import FilterIteration
from .filter_manager import DECODER_HOOKS, ENCODER_HOOKS, FilterCallbacks, ModifyHeaders
from .header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap


class FilteredStream(ActiveStream):
    """Used where `FilterChain.factories` is not empty."""

    filtered = True

    _filters: list[HttpFilter] | None = None
    _decoding: FilterIteration | None = None
    _encoding: FilterIteration | None = None
    _metadata: list[Metadata] | None = None

    # -- the request goes down the chain

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        if end_stream and data and self.protocol != "HTTP/2":
            # Envoy's HTTP/1 codec tells the end of a body by itself, and filters can tell the difference.
            super().decode_data(data, False)
            if not self.ended:
                super().decode_data(b"", True)
        else:
            super().decode_data(data, end_stream)

    def _start_filters(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        chain = self._upgrade_chain() if self._upgrade else self.config.filter_chain
        factories, make_terminal = chain.factories, chain.make_terminal
        # The route is chosen before any filter sees the request, as far as none of them asks to choose again.
        route = self.route()
        if route is not None and route.disabled_filters:
            factories = chain.switched(route.disabled_filters)
            if route.disabled_filters.get(chain.terminal_name):
                # Nobody answers: the request waits for its timeouts.
                make_terminal = StreamDecoderFilter
        terminal = self.terminal = make_terminal()
        terminal.decoder_callbacks = self
        filters = self._filters = [make() for make in factories]
        decoding: list[list[Any]] = []
        encoding: list[list[Any]] = []
        for at, each in enumerate(filters):
            callbacks = FilterCallbacks(self, at, len(filters) - 1 - at)
            if isinstance(each, StreamDecoderFilter):
                each.decoder_callbacks = callbacks
            if isinstance(each, StreamEncoderFilter):
                each.encoder_callbacks = callbacks
            decoding.append(chain.hooks(each, DECODER_HOOKS, StreamDecoderFilter))
            encoding.append(chain.hooks(each, ENCODER_HOOKS, StreamEncoderFilter))
        encoding.reverse()
        decoder = self._decoding = FilterIteration(
            [hooks[0] for hooks in decoding],
            [hooks[1] for hooks in decoding],
            [hooks[2] for hooks in decoding],
            terminal.decode_headers,
            terminal.decode_data,
            terminal.decode_trailers,
            self._decoding_is_over,
            self.buffer_limit,
            self._on_request_too_large,
            self.pause_request,
        )
        self._encoding = FilterIteration(
            [hooks[0] for hooks in encoding],
            [hooks[1] for hooks in encoding],
            [hooks[2] for hooks in encoding],
            self._sink_headers,
            super().encode_data,
            super().encode_trailers,
            self._is_ended,
            self.buffer_limit,
            self._on_response_too_large,
            self.on_encoding_watermark,
        )
        decoder.headers(headers, end_stream)

    def _pass_data(self, data: bytes, end_stream: bool) -> None:
        if self._decoding is not None:
            self._decoding.data(data, end_stream)

    def _pass_trailers(self, trailers: HeaderMap) -> None:
        if self._decoding is not None:
            self._decoding.trailers(trailers)

    def _end(self, now: float = 0.0) -> None:
        self.ended = True
        for each in self._filters or ():
            each.on_destroy()
        for iteration in (self._decoding, self._encoding):
            if iteration is not None:
                iteration.close()
        super()._end(now)
        # As above: a stream that is over keeps no filter, and is kept by none.
        self._filters = self._decoding = self._encoding = None

    # -- the response comes back

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool, details: str) -> None:
        self.response_code_details = details
        self.response_headers = headers
        # A filter may hold the body back: the head must not wait for it.
        headers.body_follows = False
        if self._encoding is None:
            super().encode_headers(headers, end_stream, details)
        else:
            self._encoding.headers(headers, end_stream)

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        if self._encoding is None:
            super().encode_data(data, end_stream)
        elif not self.ended:
            client = self.upstream_client
            if end_stream and data and client is not None and client.codec.protocol != "HTTP/2":
                # As for requests: the end of an HTTP/1 body comes by itself.
                self._encoding.data(data, False)
                if not self.ended and self._encoding is not None:
                    self._encoding.data(b"", True)
            else:
                self._encoding.data(data, end_stream)

    def encode_trailers(self, trailers: HeaderMap) -> None:
        if self._encoding is None:
            super().encode_trailers(trailers)
        elif not self.ended:
            self.response_trailers = trailers
            self._encoding.trailers(trailers)

    def encode_metadata(self, metadata: Metadata) -> None:
        if self._encoding is None or self.response_started:
            super().encode_metadata(metadata)
        elif not self.ended:
            # Filters may hold the head back; this goes with it.
            if self._metadata is None:
                self._metadata = []
            self._metadata.append(metadata)

    # -- what filters ask

    def send_local_reply(
        self,
        status: int,
        body: str | bytes,
        details: str,
        modify_headers: ModifyHeaders | None = None,
        grpc_status: int | None = None,
    ) -> None:
        if not self.ended:
            if self.response_headers is not None:
                # An answer is on its way through the filters: this one takes its place, past them.
                self._encoding = None
            terminal, self.terminal = self.terminal, None
            if terminal is not None:
                # A filter may hold the reply back; nothing of the upstream's must come after it.
                terminal.on_destroy()
        super().send_local_reply(status, body, details, modify_headers, grpc_status)

    def set_decoder_buffer_limit(self, limit: int) -> None:
        self.buffer_limit = limit
        if self._decoding is not None:
            self._decoding.buffer_limit = limit

    def set_encoder_buffer_limit(self, limit: int) -> None:
        if self._encoding is not None:
            self._encoding.buffer_limit = limit

    @property
    def encoder_buffer_limit(self) -> int:
        return self.buffer_limit if self._encoding is None else self._encoding.buffer_limit

    def continue_decoding_from(self, at: int) -> None:
        if self._decoding is not None:
            self._decoding.resume(at)

    def continue_encoding_from(self, at: int) -> None:
        if self._encoding is not None:
            self._encoding.resume(at)

    def add_decoded_data_from(self, at: int, data: bytes) -> None:
        if self._decoding is not None:
            self._decoding.add_data(at, data)

    def add_decoded_trailers_from(self, at: int) -> HeaderMap:
        trailers = self.request_trailers = HeaderMap()
        if self._decoding is not None:
            self._decoding.add_trailers(trailers)
        return trailers

    def add_encoded_trailers_from(self, at: int) -> HeaderMap:
        trailers = self.response_trailers = HeaderMap()
        if self._encoding is not None:
            self._encoding.add_trailers(trailers)
        return trailers

    def inject_decoded_data_from(self, at: int, data: bytes, end_stream: bool) -> None:
        if self._decoding is not None:
            self._decoding.inject_data(at, data, end_stream)

    def replace_decoded_data(self, data: bytes) -> None:
        if self._decoding is not None:
            self._decoding.replace_data(data)

    def replace_encoded_data(self, data: bytes) -> None:
        if self._encoding is not None:
            self._encoding.replace_data(data)

    def decoding_buffer(self) -> bytes:
        return b"" if self._decoding is None else self._decoding.buffer

    def modify_decoding_buffer(self, data: bytes) -> None:
        if self._decoding is not None:
            self._decoding.modify_buffer(data)

    def modify_encoding_buffer(self, data: bytes) -> None:
        if self._encoding is not None:
            self._encoding.modify_buffer(data)

    def add_encoded_data_from(self, at: int, data: bytes) -> None:
        if self._encoding is not None:
            self._encoding.add_data(at, data)

    def inject_encoded_data_from(self, at: int, data: bytes, end_stream: bool) -> None:
        if self._encoding is not None:
            self._encoding.inject_data(at, data, end_stream)

    def encoding_buffer(self) -> bytes:
        return b"" if self._encoding is None else self._encoding.buffer

    # -- inside

    def _sink_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        if self._metadata is not None:
            for metadata in self._metadata:
                super().encode_metadata(metadata)
            self._metadata = None
        super().encode_headers(headers, end_stream, self.response_code_details or "")

    def _is_ended(self) -> bool:
        return self.ended

    def _decoding_is_over(self) -> bool:
        # After a local reply no filter sees more of the request.
        return self.ended or self.is_local_reply

    def _on_request_too_large(self) -> None:
        self.config.stats.downstream_rq_too_large += 1
        self.send_local_reply(413, "Payload Too Large", "request_payload_too_large")

    def _on_response_too_large(self) -> None:
        self.config.stats.rs_too_large += 1
        if not self.response_started:
            self.send_local_reply(500, "Internal Server Error", "response_payload_too_large")
        else:
            self.reset_stream()
