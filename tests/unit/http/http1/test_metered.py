"""Bytes on the wire, counted as Envoy counts them; what is read and written is the same as without counting."""

from __future__ import annotations

from typing import Any

import pytest

from minienvoy.http.byte_meter import ByteMeter
from minienvoy.http.http1.metered import MeteredClientConnection, MeteredServerConnection
from minienvoy.http.http1.settings import Http1Settings
from minienvoy.testing.transcript import Client, Server

GET = b"GET / HTTP/1.1\r\nhost: a\r\nx-one:  1 \r\n\r\n"
"""The two headers count as 4 + 1 + 3 and 5 + 1 + 3: a blank more or less makes no difference."""
HEADERS = 17


class MeteredServer(Server):
    def __init__(self, settings: Http1Settings | None = None, answering: bool = False) -> None:
        super().__init__(settings=settings, answering=answering)
        self.codec: Any = MeteredServerConnection(self.connection, self, settings or Http1Settings(), self.stats)

    @property
    def meter(self) -> ByteMeter:
        found: ByteMeter = self.codec.meter
        return found


class MeteredClient(Client):
    def __init__(self, settings: Http1Settings | None = None) -> None:
        super().__init__()
        self.codec: Any = MeteredClientConnection(self.connection, settings or Http1Settings(), self.stats)
        self.connection.dispatcher.monotonic_time = lambda: 7.0  # type: ignore[attr-defined]
        self.taken: list[ByteMeter] = []
        self.recorder.take_meter = self.taken.append  # type: ignore[attr-defined]


def counted(meter: ByteMeter) -> tuple[int, int, int, int]:
    """(received, of that headers, sent, of that headers)"""
    return meter.wire_received, meter.header_received, meter.wire_sent, meter.header_sent


@pytest.mark.parametrize("at", range(1, len(GET)))
def test_a_request_counts_the_same_wherever_it_is_cut(at: int) -> None:
    server = MeteredServer()
    server.receive(GET[:at])
    server.receive(GET[at:])
    assert counted(server.meter)[:2] == (len(GET), HEADERS)
    assert server.meter.decompressed_header_received == HEADERS


def test_a_response_counts_its_lines_and_its_body() -> None:
    server = MeteredServer()
    server.receive(GET)
    server.answer(200, [(b"x", b"1"), (b"content-length", b"5")], b"hello")
    status, lines = len("HTTP/1.1 200 OK\r\n"), len("x: 1\r\ncontent-length: 5\r\n")
    assert counted(server.meter)[2:] == (status + lines + 2 + 5, lines)


def test_the_next_request_begins_anew() -> None:
    server = MeteredServer(answering=True)
    for _ in range(2):
        server.receive(GET)
        assert counted(server.meter)[:2] == (len(GET), HEADERS)


def test_a_request_that_comes_with_another_counts_for_that_one_too() -> None:
    server = MeteredServer()
    server.receive(GET + GET)
    assert counted(server.meter)[:2] == (2 * len(GET), HEADERS)
    server.answer()
    server.events_since()
    assert counted(server.meter)[:2] == (len(GET), HEADERS)


def test_trailers_are_headers_but_not_of_those_that_were_never_compressed() -> None:
    server = MeteredServer(Http1Settings(enable_trailers=True))
    message = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n"
    server.receive(message)
    head = len("hosta") + 3 + len("transfer-encodingchunked") + 3
    assert counted(server.meter)[:2] == (len(message), head + len("x-t1") + 3)
    assert server.meter.decompressed_header_received == head


def test_each_stream_of_an_upstream_connection_has_a_meter_of_its_own() -> None:
    client = MeteredClient()
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    for _ in range(2):
        client.ask("GET", "/", [(b"x", b"1")])
        client.receive(answer)
    request = len("GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n\r\n")
    assert [counted(meter) for meter in client.taken] == [
        (len(answer), len("content-length2") + 3, request, len("host: a\r\nx: 1\r\n"))
    ] * 2
    assert [meter.first_body_byte_time for meter in client.taken] == [7.0, 7.0]


def test_an_answer_without_a_body_has_no_first_byte_of_one() -> None:
    client = MeteredClient()
    client.ask()
    client.receive(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert client.taken[0].first_body_byte_time is None


def test_a_meter_may_begin_with_what_another_has_counted() -> None:
    one, two = ByteMeter(), ByteMeter()
    one.wire_sent, one.header_sent, two.wire_sent = 5, 2, 1
    two.add(one)
    assert counted(two) == (0, 0, 6, 2)
