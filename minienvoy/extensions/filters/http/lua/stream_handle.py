"""What becomes of a stream while a script runs, or waits.

Envoy: `HttpFilters::Lua::StreamHandleWrapper`, `Filter::DecoderCallbacks`, `Filter::EncoderCallbacks`.

    RUNNING         the script runs, or has come to its end: everything passes
    WAIT_FOR_CHUNK  it waits for the next piece of the body; the headers have gone on
    WAIT_FOR_BODY   it waits for the whole body, which is held back
    WAIT_FOR_TRAILERS
    HTTP_CALL       it waits for an answer; everything is held back
    RESPONDED       it has answered the request: that was its end

A script that waits is a coroutine that has yielded. One that yields by itself is told so and ended.
"""

from __future__ import annotations

from enum import Enum
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from .....http.filter import FilterDataStatus, FilterHeadersStatus, FilterTrailersStatus
from .....http.header_map import HeaderMap, ResponseHeaderMap
from ...common.lua.state import text_of
from .headers import add_header, all_headers

if TYPE_CHECKING:
    from .....upstream.async_client import AsyncStream
    from .filter import LuaFilter
    from .filter_config import PerLuaCodeSetup

UNEXPECTED_YIELD: Final = "script performed an unexpected yield"
RESPONSE_DETAILS: Final = "lua_response"
UPSTREAM_FAILURE: Final = b"upstream failure"
_IDS = count(1)


class State(Enum):
    RUNNING = 1
    WAIT_FOR_CHUNK = 2
    WAIT_FOR_BODY = 3
    WAIT_FOR_TRAILERS = 4
    HTTP_CALL = 5
    RESPONDED = 6


class DecoderSide:
    """What a script may do to a request."""

    may_respond = True

    def __init__(self, filter: LuaFilter) -> None:
        self._filter = filter
        self._callbacks = filter.decoder_callbacks
        self.add_data = self._callbacks.add_decoded_data
        self.buffer = self._callbacks.decoding_buffer
        self.modify_buffer = self._callbacks.modify_decoding_buffer
        self.replace_data = self._callbacks.replace_decoded_data
        self.go_on = self._callbacks.continue_decoding
        self.clear_route_cache = self._callbacks.clear_route_cache

    def on_headers_modified(self) -> None:
        if self._filter.config.clears_route_cache:
            self._callbacks.clear_route_cache()


class EncoderSide:
    """What a script may do to a response."""

    may_respond = False

    def __init__(self, filter: LuaFilter) -> None:
        callbacks = filter.encoder_callbacks
        self.add_data = callbacks.add_encoded_data
        self.buffer = callbacks.encoding_buffer
        self.modify_buffer = callbacks.modify_encoding_buffer
        self.replace_data = callbacks.replace_encoded_data
        self.go_on = callbacks.continue_encoding

    def clear_route_cache(self) -> None:
        """The route has done its work."""

    def on_headers_modified(self) -> None:
        """As above."""


class StreamHandle:
    """One direction of a stream, and the script that sees it.

    Attributes:
        headers_continued: later filters have seen the headers: they can not be changed any more.
        trailers: None while there are none.
        chunk: the piece of the body that the script is looking at.
        public_keys: that the script has imported, by what they were imported from.
    """

    def __init__(
        self,
        filter: LuaFilter,
        setup: PerLuaCodeSetup,
        side: DecoderSide | EncoderSide,
        headers: HeaderMap,
        end_stream: bool,
    ) -> None:
        self.filter = filter
        self.side = side
        self.headers = headers
        self.headers_continued = False
        self.trailers: HeaderMap | None = None
        self.chunk = b""
        self.public_keys: dict[bytes, Any] = {}
        self._setup = setup
        self._id = next(_IDS)
        self._end_stream = end_stream
        self._buffered_body = self._saw_body = self._has_body = self._ended = False
        self._state = State.RUNNING
        self._reply: tuple[int, bytes, list[tuple[bytes, bytes]]] | None = None
        self._call: AsyncStream | None = None
        self._calling = False
        self._answer: tuple[Any, ...] | None = None
        self._duplicates = False
        setup.handles.add(self._id, self)

    # -- the stream goes on

    def start(self, function: Any) -> FilterHeadersStatus:
        if not self._ran(self._setup.start(self._id, function)):
            return FilterHeadersStatus.CONTINUE
        if self._state in (State.WAIT_FOR_BODY, State.HTTP_CALL, State.RESPONDED):
            return FilterHeadersStatus.STOP_ITERATION
        self.headers_continued = True
        return FilterHeadersStatus.CONTINUE

    def on_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        self._end_stream = end_stream
        self._saw_body = True
        state, fine = self._state, True
        if state is State.WAIT_FOR_CHUNK:
            self._state = State.RUNNING
            self.chunk = data
            fine = self._ran(self._setup.go_on_with_chunk(self._id))
            if self.chunk is not data:
                self.side.replace_data(self.chunk)
            self.chunk = b""
        elif state is State.WAIT_FOR_BODY and end_stream:
            self.side.add_data(data)
            self.side.replace_data(b"")
            self._has_body = True
            self._state = State.RUNNING
            fine = self._ran(self._setup.go_on(self._id))
        elif state is State.WAIT_FOR_TRAILERS and end_stream:
            self._state = State.RUNNING
            fine = self._ran(self._setup.go_on(self._id))
        if not fine:
            return FilterDataStatus.CONTINUE
        if self._state is State.HTTP_CALL:
            self._has_body = True
            return FilterDataStatus.STOP_ITERATION_AND_WATERMARK
        if self._state is State.WAIT_FOR_BODY:
            self._has_body = True
            return FilterDataStatus.STOP_ITERATION_AND_BUFFER
        if self._state is State.RESPONDED:
            return FilterDataStatus.STOP_ITERATION_NO_BUFFER
        self.headers_continued = True
        return FilterDataStatus.CONTINUE

    def on_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        self._end_stream = True
        self.trailers = trailers
        fine = True
        if self._state in (State.WAIT_FOR_CHUNK, State.WAIT_FOR_BODY):
            self._state = State.RUNNING
            fine = self._ran(self._setup.go_on(self._id))
        if fine and self._state is State.WAIT_FOR_TRAILERS:
            self._state = State.RUNNING
            fine = self._ran(self._setup.go_on(self._id))
        if not fine:
            return FilterTrailersStatus.CONTINUE
        if self._state in (State.HTTP_CALL, State.RESPONDED):
            return FilterTrailersStatus.STOP_ITERATION
        self.headers_continued = True
        return FilterTrailersStatus.CONTINUE

    def end(self) -> None:
        """The stream is over, or the script is: nothing of it goes on."""
        self._ended = True
        call, self._call = self._call, None
        if call is not None:
            call.reset()
        self._setup.handles.remove(self._id)
        self._setup.forget(self._id)

    # -- what the script asks for; these answer the host: True and values, or False and what is wrong

    def body(self, always: bool) -> tuple[Any, ...]:
        if self._end_stream:
            if not self._buffered_body and self._saw_body:
                return (False, b"cannot call body() after body has been streamed")
            if not self._has_body:
                if not always:
                    return (True, b"none")
                self.side.add_data(b"")
                self._has_body = True
            return (True, b"body")
        if self._saw_body:
            return (False, b"cannot call body() after body streaming has started")
        self._state = State.WAIT_FOR_BODY
        self._buffered_body = True
        return (True, b"wait")

    def begin_chunks(self) -> tuple[Any, ...]:
        if self._saw_body:
            return (False, b"cannot call bodyChunks after body processing has begun")
        return (True,)

    def next_chunk(self) -> bool:
        """Whether there may be one, which the script has to wait for then."""
        if self._end_stream:
            return False
        self._state = State.WAIT_FOR_CHUNK
        return True

    def wait_for_trailers(self) -> tuple[Any, ...]:
        if self.trailers is not None:
            return (True, b"trailers")
        if self._end_stream:
            return (True, b"none")
        self._state = State.WAIT_FOR_TRAILERS
        return (True, b"wait")

    def may_respond(self) -> tuple[Any, ...]:
        if self.headers_continued:
            return (False, b"respond() cannot be called if headers have been continued")
        return (True,)

    def respond(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> tuple[Any, ...]:
        """Answer as soon as the script, which this is the end of, has let go."""
        if not self.side.may_respond:
            return (False, b"respond not currently supported in the response path")
        self._reply = (status, body, headers)
        self._state = State.RESPONDED
        return (True,)

    def begin_call(self, duplicates: bool) -> None:
        """A call begins, which this is told the result of."""
        self._calling = True
        self._answer = None
        self._duplicates = duplicates

    def wait_for_call(self, call: AsyncStream) -> tuple[Any, ...]:
        """It has begun, and may be over already."""
        self._calling = False
        answer, self._answer = self._answer, None
        if answer is not None:
            return (True, b"done", *answer)
        self._call = call
        self._state = State.HTTP_CALL
        return (True, b"wait")

    # -- from the call

    def on_success(self, headers: ResponseHeaderMap, body: bytes, trailers: HeaderMap | None) -> None:
        self._call = None
        answer = (body or None, *all_headers(headers))
        if self._calling:
            self._answer = answer
            return
        if self._ended:
            return
        self._state = State.RUNNING
        self._ran(self._setup.go_on_with_result(self._id, self._duplicates, *answer))
        if self._state is State.RUNNING and not self.filter.destroyed:
            self.headers_continued = True
            self.side.go_on()

    def on_failure(self) -> None:
        self.on_success(ResponseHeaderMap(503), UPSTREAM_FAILURE, None)

    # -- inside

    def _ran(self, result: tuple[Any, Any]) -> bool:
        """The script has let go; False if that was its end because it has gone wrong."""
        fine, over_or_problem = result
        problem = ""
        if not fine:
            problem = text_of(over_or_problem)
        elif not over_or_problem and self._state is State.RUNNING:
            problem = UNEXPECTED_YIELD
        if problem:
            self._state = State.RUNNING
            self.filter.script_error(problem)
            return False
        if self._reply is not None:
            self._send_reply(*self._reply)
        return True

    def _send_reply(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self._reply = None

        def add(response: ResponseHeaderMap) -> None:
            for name, value in headers:
                if name[:1] != b":":
                    add_header(response, name, value)

        self.filter.decoder_callbacks.send_local_reply(status, body, RESPONSE_DETAILS, add)
