from __future__ import annotations

import pytest

from minienvoy.testing.fake_upstream import Reply, Request, _parse


def test_a_request_is_taken_as_it_arrives():
    parsed = _parse(b"GET /a?b HTTP/1.1\r\nHost: x\r\nX-Two:  2 \r\n\r\nGET", 3)
    assert parsed == (Request("GET", "/a?b", "HTTP/1.1", [("Host", "x"), ("X-Two", "2")], b"", 3), b"GET")


def test_a_header_is_found_whatever_its_case():
    request = Request("GET", "/", "HTTP/1.1", [("X-Two", "2"), ("x-two", "3")], b"", 1)
    assert request["x-TWO"] == "2"
    assert "X-two" in request
    assert "x-three" not in request
    with pytest.raises(KeyError):
        request["x-three"]


@pytest.mark.parametrize("split", range(1, 49))
def test_a_body_of_known_length_is_waited_for(split):
    data = b"POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhelloGET /"
    complete = data[:split]
    parsed = _parse(complete, 1)
    if split < 43:
        assert parsed is None
    else:
        assert parsed is not None
        assert (parsed[0].body, parsed[1]) == (b"hello", complete[43:])


def test_chunks_are_joined_and_trailers_dropped():
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nt: 1\r\n\r\n"
    parsed = _parse(head + chunks + b"rest", 1)
    assert parsed is not None
    assert (parsed[0].body, parsed[1]) == (b"abc0123456789", b"rest")
    assert all(_parse(head + chunks[:length], 1) is None for length in range(len(chunks)))


@pytest.mark.parametrize("data", [b"nonsense\r\n\r\n", b"x" * 300_000, b"GET / HTTP/1.1\r\ncontent-length: x\r\n\r\n"])
def test_what_is_no_request_is_an_error(data):
    with pytest.raises(ValueError, match=r"."):
        _parse(data, 1)


def test_a_reply_has_a_length_unless_it_says_how_it_ends():
    assert Reply(b"ok", 201).encode() == b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok"
    assert Reply(b"ok").encode(head_only=True) == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
    chunked = Reply(b"0\r\n\r\n", 299, (("Transfer-Encoding", "chunked"),))
    assert chunked.encode() == b"HTTP/1.1 299 Unknown\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert Reply(raw=b"garbage").encode() == b"garbage"
