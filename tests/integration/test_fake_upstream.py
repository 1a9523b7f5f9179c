"""The fakes that other tests trust, over real sockets."""

from __future__ import annotations

import asyncio

import pytest

from minienvoy.testing.fake_upstream import FakeTcpUpstream, FakeUpstream, Reply

pytestmark = pytest.mark.asyncio


async def test_answers_come_in_turn_and_the_last_one_stays(fetch):
    async with FakeUpstream("one", Reply(b"two", 503)) as upstream:
        url = f"http://{upstream.address}"
        answers = [await fetch(f"{url}/{number}") for number in range(3)]
        assert [(answer.status, answer.body) for answer in answers] == [(200, b"one"), (503, b"two"), (503, b"two")]
        assert [request.path for request in upstream.requests] == ["/0", "/1", "/2"]
        assert [request.connection for request in upstream.requests] == [1, 2, 3]


async def test_an_answer_can_depend_on_the_request(fetch):
    async with FakeUpstream(respond=lambda request: request.method + " " + request.body.decode()) as upstream:
        answer = await fetch(f"http://{upstream.address}/", "POST", body=b"hello")
        assert answer.body == b"POST hello"


async def test_requests_that_come_together_are_answered_in_order():
    async with FakeUpstream("a", Reply(b"b", close=True)) as upstream, asyncio.timeout(10):
        host, port = upstream.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert [part[-1:] for part in answer.split(b"HTTP/1.1 200 OK\r\n")[1:]] == [b"a", b"b"]
        assert len(upstream.requests) == 2


async def test_a_request_that_hangs_ends_with_the_upstream():
    async with FakeUpstream(Reply(hang=True)) as upstream, asyncio.timeout(10):
        host, port = upstream.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        (request,) = await upstream.wait_for_requests()
        assert request.path == "/"
        await upstream.stop()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_nonsense_is_a_400(fetch):
    async with FakeUpstream() as upstream, asyncio.timeout(10):
        host, port = upstream.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"nonsense\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 Bad Request\r\n")
        writer.close()
        await writer.wait_closed()
        assert upstream.requests == []


async def test_a_tcp_upstream_greets_echoes_and_ends():
    async with FakeTcpUpstream(greeting=b"hi ") as upstream, asyncio.timeout(10):
        host, port = upstream.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"you")
        writer.write_eof()
        assert await reader.read() == b"hi you"
        writer.close()
        await writer.wait_closed()
        (conversation,) = upstream.conversations
        assert (conversation.data, conversation.ended, upstream.connections) == (b"you", True, 1)
