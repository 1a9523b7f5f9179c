"""What the bench's backend takes for one complete request."""

from __future__ import annotations

import pytest

from bench.backend import BODY, RESPONSE, request_size


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
