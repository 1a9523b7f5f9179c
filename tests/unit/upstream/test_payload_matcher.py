from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.upstream.payload_matcher import PayloadMatcher, load_payload, load_payloads


def payload(**fields: str) -> object:
    return load_dict(fields, "envoy.config.core.v3.HealthCheck.Payload").message


def test_text_is_hexadecimal_and_binary_is_as_it_is() -> None:
    assert load_payload(payload(text="00fF"), "x") == b"\x00\xff"
    assert load_payload(payload(binary="AAE="), "x") == b"\x00\x01"
    assert load_payloads([payload(text="61"), payload(text="62")], "x") == (b"a", b"b")


@pytest.mark.parametrize("text", ["0", "zz", "0x00", " 00", "é"])
def test_other_text_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_payloads([payload(text="00"), payload(text=text)], "tcp.receive")
    assert (error.value.problem, error.value.path) == (f"invalid hex string '{text}'", "tcp.receive[1].text")


def test_nothing_to_look_for_is_found_at_once() -> None:
    assert PayloadMatcher(()).matched


def test_segments_are_found_in_order_with_anything_between() -> None:
    matcher = PayloadMatcher((b"ab", b"cd"))
    assert not matcher.feed(b"cd..a")
    assert not matcher.feed(b"b..c")
    assert matcher.feed(b"d..")
    matcher.reset()
    assert not matcher.matched
    assert not matcher.feed(b"cd")


def test_segments_do_not_overlap() -> None:
    assert not PayloadMatcher((b"aa", b"aa")).feed(b"aaa")
    assert PayloadMatcher((b"aa", b"aa")).feed(b"aaaa")


def test_nothing_but_a_tail_is_kept() -> None:
    matcher = PayloadMatcher((b"abcd",))
    for _ in range(1000):
        assert not matcher.feed(b"abc" * 1000)
    assert len(matcher._tail) == 3


@given(
    st.lists(st.text("ab", min_size=1, max_size=3).map(str.encode), max_size=3),
    st.text("ab", max_size=20).map(str.encode),
    st.integers(1, 5),
)
def test_any_split_gives_the_same_verdict(segments: list[bytes], data: bytes, size: int) -> None:
    start, found = 0, True
    for segment in segments:
        at = data.find(segment, start)
        found = found and at >= 0
        start = at + len(segment) if at >= 0 else len(data)
    matcher = PayloadMatcher(tuple(segments))
    for at in range(0, len(data), size):
        if matcher.feed(data[at : at + size]):
            break
    assert matcher.matched == found
