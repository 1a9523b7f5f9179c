"""JSON bodies as the messages of a gRPC request.

Envoy: `google::grpc::transcoding::JsonRequestTranslator`, `RequestMessageTranslator`, `RequestStreamTranslator`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from .....http.grpc import frame_header
from .json_stream_parser import JsonError, JsonStreamParser, ObjectWriter, Scalar
from .proto_object_writer import ProtoObjectWriter
from .proto_writer import ErrorListener
from .request_weaver import PrefixWriter, RequestWeaver
from .types import FieldType, MessageType, TypeHelper

Bindings = Sequence[tuple[Sequence[FieldType], str]]


class TranslationError(Exception):
    """The request can not be translated; the message is what its client is told."""

    def __init__(self, message: bytes) -> None:
        super().__init__(message)
        self.message = message


class RequestInfo(NamedTuple):
    """What is the same for all messages: `body` is where in a message the body goes."""

    types: TypeHelper
    message: MessageType
    body: tuple[str, ...]
    ignores_case: bool
    reports_collisions: bool


class MessageTranslator:
    """One message: `input` is told what is in it."""

    __slots__ = ("_writer", "input", "listener")

    def __init__(self, info: RequestInfo, bindings: Bindings) -> None:
        self.listener = ErrorListener()
        self._writer = ProtoObjectWriter(info.types, info.message, self.listener, info.ignores_case)
        self.input: ObjectWriter = self._writer
        if bindings:
            self.input = RequestWeaver(bindings, self._writer, self.listener, info.reports_collisions)
        if info.body:
            self.input = PrefixWriter(info.body, self.input)

    @property
    def problem(self) -> str | None:
        return self.listener.problem

    @property
    def message(self) -> bytes | None:
        """None until it is complete."""
        return self._writer.message if self._writer.done else None


class StreamTranslator:
    """A list of messages; only the first one gets what path and query say."""

    __slots__ = ("_bindings", "_depth", "_info", "_translator", "done", "messages", "problem")

    def __init__(self, info: RequestInfo, bindings: Bindings) -> None:
        self._info = info
        self._bindings = bindings
        self._depth = 0
        self._translator: MessageTranslator | None = None
        self.messages: list[bytes] = []
        self.done = False
        self.problem: str | None = None

    def start_object(self, name: str) -> None:
        if self.problem is not None:
            return
        if not self._depth:
            self.problem = "Expected an array instead of an object"
            return
        self._input().start_object(name)
        self._depth += 1

    def end_object(self) -> None:
        self._end(lambda writer: writer.end_object())

    def start_list(self, name: str) -> None:
        if self.problem is not None:
            return
        if self._depth:
            self._input().start_list(name)
        self._depth += 1

    def end_list(self) -> None:
        self._end(lambda writer: writer.end_list())

    def render(self, name: str, value: Scalar) -> None:
        if self.problem is not None:
            return
        if not self._depth:
            self.problem = "Expected an array instead of a scalar value."
            return
        self._input().render(name, value)
        if self._depth == 1:
            self._end_message()

    def _input(self) -> ObjectWriter:
        if self._translator is None:
            self._translator = MessageTranslator(self._info, self._bindings)
            self._bindings = ()
        return self._translator.input

    def _end(self, tell: Callable[[ObjectWriter], object]) -> None:
        if self.problem is not None:
            return
        self._depth -= 1
        if not self._depth:
            self.done = True
            return
        tell(self._input())
        if self._depth == 1:
            self._end_message()

    def _end_message(self) -> None:
        translator, self._translator = self._translator, None
        assert translator is not None
        message = translator.message
        if translator.problem is not None:
            self.problem = translator.problem
        elif message is None:
            self.problem = "Invalid object"
        else:
            self.messages.append(message)


class JsonRequestTranslator:
    """A body, in whatever pieces it comes, as gRPC frames."""

    __slots__ = ("_parser", "_seen", "_single", "_stream")

    def __init__(self, info: RequestInfo, bindings: Bindings, streaming: bool) -> None:
        self._single = None if streaming else MessageTranslator(info, bindings)
        self._stream = StreamTranslator(info, bindings) if streaming else None
        writer: ObjectWriter
        if self._stream is not None:
            writer = self._stream
        else:
            assert self._single is not None
            writer = self._single.input
        self._parser: JsonStreamParser | None = JsonStreamParser(writer)
        self._seen = False

    def feed(self, data: bytes, end: bool) -> bytes:
        """The frames that are complete with `data`; raises TranslationError.

        A message that is complete is all that is looked at: what a later piece may bring behind it is not.
        """
        out = b""
        parser = self._parser
        if parser is None:
            return out
        try:
            if data:
                self._seen = True
                parser.parse(data)
                out = self._take()
            if end and self._parser is not None:
                if self._seen:
                    parser.finish()
                    # What is complete only at the end is looked at, but goes nowhere: that is so in Envoy.
                    self._take()
                else:
                    # No body is an object without anything.
                    parser.parse(b"{}")
                    out = self._take()
                self._parser = None
        except JsonError as problem:
            raise TranslationError(problem.message) from None
        return out

    def _take(self) -> bytes:
        translator = self._stream if self._stream is not None else self._single
        assert translator is not None
        if translator.problem is not None:
            raise TranslationError(translator.problem.encode("utf-8", "surrogateescape"))
        if self._stream is not None:
            messages, self._stream.messages = self._stream.messages, []
            if self._stream.done:
                self._parser = None
        else:
            assert self._single is not None
            message = self._single.message
            messages = [] if message is None else [message]
            if messages:
                self._parser = None
        return b"".join(frame_header(len(message)) + message for message in messages)
