"""One direction of a stream that a processor looks at: what it has been sent, and what its answers do.

Envoy: `Extensions::HttpFilters::ExternalProcessing::ProcessorState`, `DecodingProcessorState`,
`EncodingProcessorState`. In each direction one thing at a time is asked:

    IDLE            nothing is;
    HEADERS         the headers: they wait, and what comes of the body is held;
    BUFFERED_BODY   the whole body, with the headers still there to be changed;
    STREAMED_BODY   pieces of the body, in their order: several may be under way;
    PARTIAL_BODY    as much of the body as the buffer takes; what comes meanwhile waits, and what comes later passes;
    TRAILERS        the trailers.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Any

from .filter_config import BUFFERED, BUFFERED_PARTIAL, CLEAR, DEFAULT_ROUTE_CACHE, NONE, STREAMED, DirectionMode
from .mutations import InvalidMutationError, apply_header_mutation

if TYPE_CHECKING:
    from .....event.dispatcher import Timer
    from .....http.header_map import HeaderMap
    from .filter import ExtProcFilter

CONTINUE_AND_REPLACE = 1


class Asked(Enum):
    IDLE = 1
    HEADERS = 2
    BUFFERED_BODY = 3
    STREAMED_BODY = 4
    PARTIAL_BODY = 5
    TRAILERS = 6


class SpuriousMessageError(Exception):
    """Raised and caught here and in the filter: an answer to what was not asked."""


class ProcessorState:
    """Attributes:
    asked: what the processor has not answered yet.
    body_replaced: the processor has given another body; none of the real one passes.
    headers: while they may be changed.
    partial_body_processed: in the mode `BUFFERED_PARTIAL`: the rest passes.
    paused: the filter has stopped the direction.
    """

    name = ""

    def __init__(self, owner: ExtProcFilter) -> None:
        self.filter = owner
        self.mode = DirectionMode(False, NONE, False)
        self.asked = Asked.IDLE
        self.headers: HeaderMap | None = None
        self.trailers: HeaderMap | None = None
        self.no_body = self.complete = self.paused = self.body_replaced = self.partial_body_processed = False
        self.trailers_available = False
        self._trailers_over = False
        self._body_over = False
        self.queue: deque[tuple[bytes, bool]] = deque()
        self.queued = 0
        self._watermark = self._extended = False
        self._timer: Timer | None = None

    # -- what differs between the directions

    callbacks: Any

    def buffer(self) -> bytes:
        raise NotImplementedError

    def replace_buffer(self, data: bytes) -> None:
        raise NotImplementedError

    def add_to_buffer(self, data: bytes) -> None:
        raise NotImplementedError

    def inject(self, data: bytes, end_stream: bool) -> None:
        raise NotImplementedError

    def go_on(self) -> None:
        raise NotImplementedError

    def tell_watermark(self, high: bool) -> None:
        raise NotImplementedError

    @property
    def buffer_limit(self) -> int:
        raise NotImplementedError

    # -- asking

    @property
    def body_mode(self) -> int:
        return NONE if self._body_over else self.mode.body

    @property
    def sends_trailers(self) -> bool:
        return self.mode.trailers and not self._trailers_over

    @property
    def removes_content_length(self) -> bool:
        """Nobody knows how long the body will be."""
        return self.body_mode in (STREAMED, BUFFERED_PARTIAL) and not self.filter.config.allow_content_length

    def start_call(self, asked: Asked) -> None:
        self.asked = asked
        self._extended = False
        if self._timer is None:
            self._timer = self.filter.dispatcher.create_timer(self.filter.on_message_timeout)
        self._timer.enable(self.filter.config.message_timeout)

    def finish_call(self, asked: Asked = Asked.IDLE) -> None:
        self.stop_timer()
        self.asked = asked
        self._extended = False

    def stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.disable()

    def extend_timer(self, seconds: float) -> bool:
        """The processor wants more time, which it gets once for each question."""
        if self._timer is None or self.asked is Asked.IDLE or self._extended:
            return False
        self._timer.enable(seconds)
        self._extended = True
        return True

    def enqueue(self, data: bytes, end_stream: bool) -> None:
        self.queue.append((data, end_stream))
        self.queued += len(data)
        if self.queue_is_full:
            self.request_watermark()

    def dequeue(self) -> tuple[bytes, bool]:
        data, end_stream = self.queue.popleft()
        self.queued -= len(data)
        return data, end_stream

    def consolidate(self) -> tuple[bytes, bool]:
        """Everything that is queued, which is one piece from now on."""
        if len(self.queue) > 1:
            end_stream = self.queue[-1][1]
            whole = b"".join(data for data, _ in self.queue)
            self.queue = deque([(whole, end_stream)])
        return self.queue[0]

    @property
    def queue_is_full(self) -> bool:
        return 0 < self.buffer_limit < self.queued

    def request_watermark(self) -> None:
        if not self._watermark:
            self._watermark = True
            self.tell_watermark(True)

    def clear_watermark(self) -> None:
        if self._watermark:
            self._watermark = False
            self.tell_watermark(False)

    # -- answers

    def handle_headers(self, response: Any) -> None:
        """Raises SpuriousMessageError, InvalidMutationError."""
        if self.asked is not Asked.HEADERS:
            raise SpuriousMessageError("spurious message")
        common = response.response
        replaces = common.status == CONTINUE_AND_REPLACE
        self._mutate_headers(common, replaces)
        self.clear_route_cache(common)
        self.finish_call()
        if replaces:
            self._replace(common)
        elif self._ask_for_more():
            return
        self.headers = None
        self.continue_if_paused()
        self.clear_watermark()

    def _replace(self, common: Any) -> None:
        """Nothing more of this direction is shown to the processor."""
        if common.HasField("body_mutation"):
            assert self.headers is not None
            self.headers.remove(b"content-length")
            self.body_replaced = True
            changed = _changed(common.body_mutation, self.buffer())
            if self.buffer():
                self.replace_buffer(changed)
            else:
                self.add_to_buffer(changed)
        self.queue.clear()
        self.queued = 0
        self._body_over = self._trailers_over = True

    def _ask_for_more(self) -> bool:
        """What there is beside the headers, if it is wanted; False: the direction may go on."""
        mode = self.body_mode
        if self.no_body:
            pass
        elif self.complete and mode != NONE:
            if self.buffer() or not self.trailers_available:
                self.filter.send_body(self, Asked.BUFFERED_BODY, self.buffer(), not self.trailers_available)
                self.clear_watermark()
                return True
        elif mode == BUFFERED:
            self.clear_watermark()
            return True
        elif mode == STREAMED:
            held = self.buffer()
            if held:
                self.replace_buffer(b"")
                self.enqueue(held, False)
                self.filter.send_body(self, Asked.STREAMED_BODY, held, False)
            if not self.queue_is_full:
                self.clear_watermark()
            self.continue_if_paused()
            return True
        elif mode == BUFFERED_PARTIAL:
            held = self.buffer()
            if held:
                self.replace_buffer(b"")
                self.enqueue(held, False)
            if self.queue_is_full:
                self.filter.send_body(self, Asked.PARTIAL_BODY, self.consolidate()[0], False)
            else:
                self.clear_watermark()
            return True
        if self.sends_trailers and self.trailers_available:
            self.filter.send_trailers(self)
            self.clear_watermark()
            return True
        return False

    def handle_body(self, response: Any) -> bool:
        """Whether it was the last piece of a body that is streamed.

        Raises:
            SpuriousMessageError, InvalidMutationError.
        """
        common = response.response
        ended = last = False
        whole = self.asked is not Asked.STREAMED_BODY
        if self.asked is Asked.BUFFERED_BODY:
            self._handle_buffered_body(common)
        elif self.asked is Asked.STREAMED_BODY:
            data, last = self.dequeue()
            data = _changed(common.body_mutation, data)
            if not self.queue:
                self.finish_call()
            else:
                self.finish_call(Asked.STREAMED_BODY)
            ended = self._inject(data, last)
            if self.queued < self.buffer_limit / 2 or not self.buffer_limit:
                self.clear_watermark()
        elif self.asked is Asked.PARTIAL_BODY:
            self._mutate_headers(common, False)
            data, last = self.dequeue()
            self.finish_call()
            self.partial_body_processed = True
            ended = self._inject(_changed(common.body_mutation, data), last)
            if self.queue:
                rest, end_stream = self.consolidate()
                self.dequeue()
                ended = self._inject(rest, end_stream) or ended
            self.clear_watermark()
        else:
            raise SpuriousMessageError("spurious message")
        self.clear_route_cache(common)
        self.headers = None
        if self.sends_trailers and self.trailers_available and not self.queue:
            self.filter.send_trailers(self)
        elif ended:
            # The end of the stream has been passed on with the data.
            self.paused = False
        elif whole or last or (self.trailers_available and not self.queue):
            self.continue_if_paused()
        return last

    def _handle_buffered_body(self, common: Any) -> None:
        self._mutate_headers(common, False)
        if common.HasField("body_mutation"):
            changed = _changed(common.body_mutation, self.buffer())
            length = None if self.headers is None else self.headers.get(b"content-length")
            if length is not None and length.isdigit() and int(length) != len(changed):
                raise InvalidMutationError("mismatch between content length and the length of the mutated body")
            self.replace_buffer(changed)
        self.clear_watermark()
        self.finish_call()

    def _inject(self, data: bytes, end_stream: bool) -> bool:
        """Whether that has ended the direction."""
        if data:
            self.inject(data, end_stream)
        return bool(data) and end_stream

    def handle_trailers(self, response: Any) -> None:
        """Raises SpuriousMessageError, InvalidMutationError."""
        if self.asked is not Asked.TRAILERS or self.trailers is None:
            raise SpuriousMessageError("spurious message")
        if response.HasField("header_mutation"):
            config = self.filter.config
            apply_header_mutation(response.header_mutation, self.trailers, config.rules, config.stats)
        self.trailers = None
        self.finish_call()
        self.continue_if_paused()

    def _mutate_headers(self, common: Any, replacing: bool) -> None:
        if common.HasField("header_mutation") and self.headers is not None:
            config = self.filter.config
            apply_header_mutation(common.header_mutation, self.headers, config.rules, config.stats, replacing=replacing)
            if self.removes_content_length:
                self.headers.remove(b"content-length")

    def clear_route_cache(self, common: Any) -> None:
        """Only a request has a route to choose."""

    def clear(self) -> None:
        """The processor is not asked any more: let go of everything as it is."""
        self.finish_call()
        ended = False
        if self.queue:
            data, end_stream = self.consolidate()
            self.dequeue()
            ended = self._inject(data, end_stream)
        self.clear_watermark()
        if ended:
            self.paused = False
        self.continue_if_paused()

    def continue_if_paused(self) -> None:
        if self.paused:
            self.paused = False
            self.go_on()


def _changed(mutation: Any, data: bytes) -> bytes:
    kind = mutation.WhichOneof("mutation")
    if kind == "clear_body" and mutation.clear_body:
        return b""
    return bytes(mutation.body) if kind == "body" else data


class DecodingProcessorState(ProcessorState):
    """The request."""

    name = "request"

    def buffer(self) -> bytes:
        return bytes(self.callbacks.decoding_buffer())

    def replace_buffer(self, data: bytes) -> None:
        self.callbacks.modify_decoding_buffer(data)

    def add_to_buffer(self, data: bytes) -> None:
        self.callbacks.add_decoded_data(data)

    def inject(self, data: bytes, end_stream: bool) -> None:
        self.callbacks.inject_decoded_data(data, end_stream)

    def go_on(self) -> None:
        self.callbacks.continue_decoding()

    def tell_watermark(self, high: bool) -> None:
        if high:
            self.callbacks.on_decoder_filter_above_write_buffer_high_watermark()
        else:
            self.callbacks.on_decoder_filter_below_write_buffer_low_watermark()

    @property
    def buffer_limit(self) -> int:
        return int(self.callbacks.decoder_buffer_limit)

    def clear_route_cache(self, common: Any) -> None:
        config = self.filter.config
        stats, asked = config.stats, common.clear_route_cache
        if self.callbacks.upstream:
            stats.clear_route_cache_upstream_ignored += asked
        elif not common.HasField("header_mutation"):
            stats.clear_route_cache_ignored += asked
        elif config.route_cache_action == CLEAR or (asked and config.route_cache_action == DEFAULT_ROUTE_CACHE):
            self.callbacks.clear_route_cache()
        elif asked:
            stats.clear_route_cache_disabled += 1


class EncodingProcessorState(ProcessorState):
    """The response."""

    name = "response"

    def buffer(self) -> bytes:
        return bytes(self.callbacks.encoding_buffer())

    def replace_buffer(self, data: bytes) -> None:
        self.callbacks.modify_encoding_buffer(data)

    def add_to_buffer(self, data: bytes) -> None:
        self.callbacks.add_encoded_data(data)

    def inject(self, data: bytes, end_stream: bool) -> None:
        self.callbacks.inject_encoded_data(data, end_stream)

    def go_on(self) -> None:
        self.callbacks.continue_encoding()

    def tell_watermark(self, high: bool) -> None:
        if high:
            self.callbacks.on_encoder_filter_above_write_buffer_high_watermark()
        else:
            self.callbacks.on_encoder_filter_below_write_buffer_low_watermark()

    @property
    def buffer_limit(self) -> int:
        return int(self.callbacks.encoder_buffer_limit)
