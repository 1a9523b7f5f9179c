"""What the bench's backend takes for one complete request."""

from __future__ import annotations

import pytest

from bench.backend import BLOCK, BODY, GREETING, PREFACE, RESPONSE, Http2Replies, frame, request_size


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_a_request_is_complete_with_its_last_byte_and_what_follows_is_the_next(request_bytes: bytes) -> None:
    assert [request_size(request_bytes[:end]) for end in range(len(request_bytes))] == [0] * len(request_bytes)
    assert request_size(request_bytes + b"GET") == len(request_bytes)


def test_the_answer_states_the_length_of_its_body() -> None:
    head, _, body = RESPONSE.partition(b"\r\n\r\n")
    assert body == BODY
    assert b"content-length: %d" % len(BODY) in head


def test_http2_is_greeted_once_and_answered_by_stream_however_it_is_cut() -> None:
    one, three = (number.to_bytes(4, "big") for number in (1, 3))
    sent = PREFACE + frame(4, 0, bytes(4), b"") + frame(1, 5, one, b"\x82") + frame(1, 4, three, b"\x83")
    sent += frame(6, 0, bytes(4), b"12345678") + frame(0, 1, three, b"body")
    answers = [frame(1, 4, stream, BLOCK) + frame(0, 1, stream, BODY) for stream in (one, three)]
    acknowledgement, pong = frame(4, 1, bytes(4), b""), frame(6, 1, bytes(4), b"12345678")
    expected = b"".join((GREETING, acknowledgement, answers[0], pong, answers[1]))
    for size in (1, 7, len(sent)):
        replies = Http2Replies()
        assert b"".join(replies.receive(sent[at : at + size]) for at in range(0, len(sent), size)) == expected
