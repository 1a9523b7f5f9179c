"""Messages to JSON and back, compared with what protobuf itself makes of them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from minienvoy.extensions.filters.http.grpc_json_transcoder.json_printer import PrintError, PrintOptions, print_json
from minienvoy.extensions.filters.http.grpc_json_transcoder.request_translator import (
    JsonRequestTranslator,
    RequestInfo,
    TranslationError,
)
from minienvoy.extensions.filters.http.grpc_json_transcoder.response_translator import (
    LINES,
    ResponseInfo,
    ResponseTranslator,
)
from minienvoy.http.grpc import frame_header

from .conftest import Library

PLAIN = PrintOptions(
    add_whitespace=False,
    always_print_primitive_fields=False,
    always_print_enums_as_ints=False,
    preserve_proto_field_names=False,
)
KINDS = "library.Kinds"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
# Python reads `-0`, which is what is printed for it, as a whole number.
FINITE = st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0)


def info(library: Library, name: str = KINDS, body: tuple[str, ...] = ()) -> RequestInfo:
    return RequestInfo(library.types, library.type(name), body, ignores_case=False, reports_collisions=False)


def translate(library: Library, text: str | bytes, name: str = KINDS) -> bytes:
    """One message, without its frame."""
    data = text.encode() if isinstance(text, str) else text
    frame = JsonRequestTranslator(info(library, name), (), streaming=False).feed(data, end=True)
    assert frame[:5] == frame_header(len(frame) - 5)
    return frame[5:]


def shown(library: Library, message: Any, options: PrintOptions = PLAIN) -> Any:
    return json.loads(print_json(library.types, library.type(KINDS), message.SerializeToString(), options))


@st.composite
def kinds(draw: st.DrawFn, depth: int = 2) -> dict[str, Any]:
    """Some fields of a message."""
    fields: dict[str, st.SearchStrategy[Any]] = {
        "an_int32": st.integers(-(2**31), 2**31 - 1),
        "an_int64": st.integers(-(2**63), 2**63 - 1),
        "a_uint64": st.integers(0, 2**64 - 1),
        "a_sint32": st.integers(-(2**31), 2**31 - 1),
        "a_sint64": st.integers(-(2**63), 2**63 - 1),
        "a_fixed64": st.integers(0, 2**64 - 1),
        "an_sfixed32": st.integers(-(2**31), 2**31 - 1),
        "a_double": FINITE,
        "a_float": st.floats(-(2.0**100), 2.0**100, width=32).map(lambda number: number + 0.0),
        "a_bool": st.booleans(),
        "a_string": TEXT,
        "some_bytes": st.binary(max_size=8),
        "color": st.integers(0, 2),
        "numbers": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3),
        "strings": st.lists(TEXT, max_size=3),
        "words": st.dictionaries(TEXT, TEXT, max_size=3),
        "right": st.integers(0, 5),
        "doubles": st.lists(FINITE, max_size=3),
    }
    if depth:
        fields["nested"] = kinds(depth - 1)
        fields["many"] = st.lists(kinds(depth - 1), max_size=2)
        fields["by_number"] = st.dictionaries(st.integers(-5, 5), kinds(0), max_size=2)
    chosen = draw(st.sets(st.sampled_from(sorted(fields)), max_size=6))
    return {name: draw(fields[name]) for name in sorted(chosen)}


def build(library: Library, values: dict[str, Any]) -> Any:
    message = library.message(KINDS)
    for name, value in values.items():
        if name == "nested":
            message.nested.CopyFrom(build(library, value))
        elif name == "many":
            message.many.extend(build(library, each) for each in value)
        elif name == "by_number":
            for key, each in value.items():
                message.by_number[key].CopyFrom(build(library, each))
        elif name == "words":
            message.words.update(value)
        elif isinstance(value, list):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    return message


@given(kinds())
@settings(max_examples=60)
def test_what_is_printed_means_the_same_to_protobuf(library: Library, values: dict[str, Any]) -> None:
    message = build(library, values)
    again = json_format.ParseDict(shown(library, message), library.message(KINDS))
    assert again == message


@given(kinds())
@settings(max_examples=60)
def test_what_protobuf_prints_is_understood(library: Library, values: dict[str, Any]) -> None:
    message = build(library, values)
    written = translate(library, json_format.MessageToJson(message))
    again = library.message(KINDS)
    again.ParseFromString(written)
    assert again == message


@given(kinds(), st.integers(1, 50))
@settings(max_examples=30)
def test_pieces_of_a_body_make_the_same_message(library: Library, values: dict[str, Any], size: int) -> None:
    text = json_format.MessageToJson(build(library, values)).encode()
    translator = JsonRequestTranslator(info(library), (), streaming=False)
    out = b"".join(translator.feed(text[at : at + size], end=False) for at in range(0, len(text), size))
    assert (out + translator.feed(b"", end=True))[5:] == translate(library, text)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xb2\x01\x03\x0a\x01a", '{"words":{"a":""}}'),
        (b"\xb2\x01\x03\x12\x01a", '{"words":{"":"a"}}'),
        (b"\xba\x01\x02\x08\x01", '{"byNumber":{"1":{}}}'),
        (b"\xc2\x01\x00", '{"byBool":{"false":0}}'),
    ],
)
def test_entries_of_a_map_may_leave_out_what_has_its_default(library: Library, data: bytes, text: str) -> None:
    # Envoy 1.40 ends as a process when it is to print these.
    assert print_json(library.types, library.type(KINDS), data, PLAIN).decode() == text


@pytest.mark.parametrize("data", [b"\x08\x01\xff", b"\x08\x01" + b"\xff" * 11, b"\x08\x01\0\x08\x02"])
def test_a_message_ends_with_a_tag_that_is_none(library: Library, data: bytes) -> None:
    assert print_json(library.types, library.type(KINDS), data, PLAIN) == b'{"anInt32":1}'


@pytest.mark.parametrize("data", [b"\x8a\x01" * 30, b"\x08", b"\x0b\x0c", b"\x07", b"\x72\x7f"])
def test_bytes_that_are_no_message_are_refused(library: Library, data: bytes) -> None:
    with pytest.raises(PrintError):
        print_json(library.types, library.type(KINDS), data, PLAIN)


def test_messages_within_messages_have_an_end(library: Library) -> None:
    data = b""
    for _ in range(150):
        data = (
            b"\x8a\x01"
            + (bytes([len(data)]) if len(data) < 128 else bytes([len(data) & 127 | 128, len(data) >> 7]))
            + data
        )
    with pytest.raises(PrintError, match="depth"):
        print_json(library.types, library.type(KINDS), data, PLAIN)


def test_doubles_have_as_many_digits_as_they_need(library: Library) -> None:
    values = [0.1, 1 / 3, 1e300, 5e-324, 123456789.0, math.pi]
    text = print_json(
        library.types, library.type(KINDS), build(library, {"doubles": values}).SerializeToString(), PLAIN
    )
    assert (
        text == (b'{"doubles":[0.1,0.3333333333333333,1e+300,4.94065645841247e-324,123456789,3.141592653589793]}')
        or json.loads(text)["doubles"] == values
    )


def test_messages_of_a_stream_leave_as_they_come(library: Library) -> None:
    translator = JsonRequestTranslator(info(library, "library.Shelf"), (), streaming=True)
    assert translator.feed(b'[{"id":1},{"i', end=False) == b"\0\0\0\0\2\x08\1"
    assert translator.feed(b'd":2}]', end=False) == b"\0\0\0\0\2\x08\2"
    assert translator.feed(b"", end=True) == b""


def test_a_message_that_is_none_stops_a_stream(library: Library) -> None:
    translator = JsonRequestTranslator(info(library, "library.Shelf"), (), streaming=True)
    translator.feed(b'[{"id":1}', end=False)
    with pytest.raises(TranslationError) as caught:
        translator.feed(b',{"id":[]}', end=False)
    assert caught.value.message == b": Proto field is not repeating, cannot start list."


def test_half_a_message_at_the_end_of_a_response_is_an_error(library: Library) -> None:
    # As the last message of a stream it ends Envoy 1.40 as a process.
    response = ResponseTranslator(
        ResponseInfo(
            types=library.types, message=library.type("library.Shelf"), streaming=True, delimiting=LINES, options=PLAIN
        )
    )
    assert response.feed(b"\0\0\0\0\2\x08\1\0\0\0\0\5\x08", end=False) == b'{"id":"1"}\n'
    with pytest.raises(PrintError, match="Incomplete gRPC frame expected size: 5 actual size: 1"):
        response.feed(b"", end=True)
