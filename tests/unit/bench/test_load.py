"""What the bench's load accepts as an answer, and what it sends."""

from __future__ import annotations

from itertools import islice, repeat

import pytest

from bench.backend import BODY, RESPONSE, request_size
from bench.load import (
    ECHO,
    GET_ONE_HEADER,
    POST_ONE_KB,
    EchoExchanges,
    Exchanges,
    HttpExchanges,
    Latencies,
    varied_gets,
)


class Outcome:
    """One connection of the load without a socket, and what it reported."""

    def __init__(self, kind: type[Exchanges]) -> None:
        self.done = 0
        self.failures: list[str] = []
        self.connection = kind(repeat(b"").__next__, self.failures.append)
        self.connection.done = self._done

    def _done(self, _: Exchanges) -> None:
        self.done += 1


@pytest.mark.parametrize(("kind", "answer"), [(HttpExchanges, RESPONSE), (EchoExchanges, ECHO)])
def test_an_answer_counts_once_however_it_is_cut(kind: type[Exchanges], answer: bytes) -> None:
    for cut in range(1, len(answer)):
        outcome = Outcome(kind)
        outcome.connection.data_received(answer[:cut])
        assert outcome.done == 0
        outcome.connection.data_received(answer[cut:])
        assert (outcome.done, outcome.failures) == (1, [])


@pytest.mark.parametrize(
    "answer",
    [
        RESPONSE.replace(b"200 OK", b"503 Service Unavailable"),
        RESPONSE.replace(b"content-length: %d" % len(BODY), b"transfer-encoding: chunked"),
        RESPONSE.replace(b"content-length: %d" % len(BODY), b"content-length: %d" % (len(BODY) - 1)),
        RESPONSE[:-1] + b"x",
        RESPONSE + b"HTTP",
    ],
    ids=["status", "chunked", "length", "body", "more"],
)
def test_an_answer_that_is_not_the_backends_fails_the_measurement(answer: bytes) -> None:
    outcome = Outcome(HttpExchanges)
    outcome.connection.data_received(answer)
    assert (outcome.done, len(outcome.failures)) == (0, 1)


def test_an_echo_of_something_else_fails_the_measurement() -> None:
    outcome = Outcome(EchoExchanges)
    outcome.connection.data_received(b"x" * len(ECHO))
    assert (outcome.done, len(outcome.failures)) == (0, 1)


def test_a_connection_closed_by_the_proxy_fails_the_measurement() -> None:
    outcome = Outcome(HttpExchanges)
    outcome.connection.connection_lost(None)
    assert outcome.failures == ["the connection was closed in an exchange (end of stream)"]


def test_varied_requests_have_eleven_headers_and_share_no_line_but_the_host() -> None:
    first, second = (request.split(b"\r\n")[1:-2] for request in islice(varied_gets(), 2))
    assert len(first) == len(second) == 11
    assert set(first) & set(second) == {b"host: bench.example"}


@pytest.mark.parametrize("request_bytes", [GET_ONE_HEADER, POST_ONE_KB, next(varied_gets())])
def test_every_request_is_complete(request_bytes: bytes) -> None:
    assert request_size(request_bytes) == len(request_bytes)


def test_a_quantile_is_one_of_the_measured_values() -> None:
    latencies = Latencies([float(value) for value in range(100)], held=True)
    assert [latencies.quantile(share) for share in (0.0, 0.5, 0.99, 1.0)] == [0.0, 50.0, 99.0, 99.0]
