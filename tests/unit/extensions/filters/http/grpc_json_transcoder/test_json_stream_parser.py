"""JSON in pieces; how Envoy takes what is no JSON is in tests/conformance/scenarios/transcoder_requests.yaml."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minienvoy.extensions.filters.http.grpc_json_transcoder.json_stream_parser import JsonError, JsonStreamParser

TEXTS = [
    b'{"a":1,"b":[true,null,-2.5e3,"x\\u00fc\\ud83d\\ude00\\n"],"c":{"d":{}}}',
    '{"ü":\'single \\\' quote\', bare_key: false, "x": [[],[1,],],}'.encode(),
    b' [ 1 , { } , "" ] ',
    b"nul",
    b'{"a":01}',
    b'{"a":1} x',
    b'{"a" 1}',
    b'["unterminated',
    b'["\\u12"]',
    b'"\xff"',
    b"",
]


class Transcript:
    """What a parser tells."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def start_object(self, name: str) -> None:
        self.events.append(("{", name))

    def end_object(self) -> None:
        self.events.append("}")

    def start_list(self, name: str) -> None:
        self.events.append(("[", name))

    def end_list(self) -> None:
        self.events.append("]")

    def render(self, name: str, value: Any) -> None:
        self.events.append((name, value))


def read(*pieces: bytes) -> list[Any]:
    """The events, and the first line of what is wrong: the rest shows the text, and depends on the pieces."""
    transcript = Transcript()
    parser = JsonStreamParser(transcript)
    try:
        for piece in pieces:
            parser.parse(piece)
        parser.finish()
    except JsonError as problem:
        transcript.events.append(problem.message.split(b"\n")[0])
    return transcript.events


def test_values_come_with_their_keys_in_order() -> None:
    assert read(b'{"a":1,"b":[true,"x"],"c":{}}') == [
        ("{", ""),
        ("a", 1),
        ("[", "b"),
        ("", True),
        ("", "x"),
        "]",
        ("{", "c"),
        "}",
        "}",
    ]


@pytest.mark.parametrize("text", TEXTS)
def test_any_two_pieces_are_as_one(text: bytes) -> None:
    whole = read(text)
    for at in range(1, len(text)):
        assert read(text[:at], text[at:]) == whole, at


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(), st.lists), st.data())
def test_whatever_json_writes_is_read_in_any_pieces(value: Any, data: st.DataObject) -> None:
    import json

    text = json.dumps(value).encode()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=5)))
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(*pieces) == read(text)
    assert not any(isinstance(event, bytes) for event in read(text))


def test_numbers_keep_their_kind() -> None:
    assert read(b"[1,-1,18446744073709551615,1.0,1e2,18446744073709551616]")[1:-1] == [
        ("", 1),
        ("", -1),
        ("", 18446744073709551615),
        ("", 1.0),
        ("", 100.0),
        ("", 1.8446744073709552e19),
    ]


def test_an_error_shows_its_place() -> None:
    parser = JsonStreamParser(Transcript())
    with pytest.raises(JsonError) as caught:
        parser.parse(b'{"a":hello}')
    assert caught.value.message == b'Unexpected token.\n{"a":hello}\n     ^'


def test_a_hundred_levels_are_enough() -> None:
    assert read(b'{"a":' * 99 + b"{}" + b"}" * 99)[-1] == "}"
    assert read(b'{"a":' * 100 + b"{}")[-1] == b"Message too deep. Max recursion depth reached for key 'a'"


def test_a_long_string_is_not_read_again_with_each_piece() -> None:
    transcript = Transcript()
    parser = JsonStreamParser(transcript)
    parser.parse(b'"')
    for _ in range(1000):
        parser.parse(b"x" * 100)
        assert len(parser._rest) == 0
    parser.parse(b'"')
    assert transcript.events == [("", "x" * 100_000)]
