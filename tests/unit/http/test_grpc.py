from __future__ import annotations

import pytest

from minienvoy.http.codes import STATUS_LINES, reason_phrase
from minienvoy.http.grpc import grpc_to_http_status, is_grpc, make_grpc_reply
from minienvoy.http.header_map import ResponseHeaderMap


def grpc_reply(status: int, message: bytes, details: str) -> ResponseHeaderMap:
    headers = ResponseHeaderMap(status)
    make_grpc_reply(headers, message, details)
    return headers


@pytest.mark.parametrize(
    ("status", "grpc_status"),
    [
        (400, "13"),
        (401, "16"),
        (403, "7"),
        (404, "12"),
        (408, "2"),
        (429, "14"),
        (502, "14"),
        (503, "14"),
        (504, "14"),
        (418, "2"),
    ],
)
def test_a_status_is_told_in_grpc_s_numbers(status: int, grpc_status: str) -> None:
    headers = grpc_reply(status, b"", "details")
    assert headers.pairs() == [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", grpc_status)]


def test_a_stream_that_lasted_too_long_has_exceeded_its_deadline() -> None:
    assert grpc_reply(504, b"", "max_duration_timeout")["grpc-status"] == "4"


def test_messages_are_percent_encoded() -> None:
    assert grpc_reply(503, "50% für\n".encode(), "")["grpc-message"] == "50%25 f%C3%BCr%0A"


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (None, False),
        (b"", False),
        (b"application/grpc", True),
        (b"application/grpc+json", True),
        (b"application/grpc-web", False),
        (b"text/plain", False),
    ],
)
def test_grpc_is_known_by_its_content_type(content_type: bytes | None, expected: bool) -> None:
    assert is_grpc(content_type) is expected


@pytest.mark.parametrize(("status", "reason"), [(200, b"OK"), (418, b"Unknown"), (999, b"Unknown")])
def test_reasons_are_envoy_s(status: int, reason: bytes) -> None:
    assert reason_phrase(status) == reason


def test_status_lines_are_ready() -> None:
    assert STATUS_LINES[503] == b"HTTP/1.1 503 Service Unavailable\r\n"
    assert STATUS_LINES[218] == b"HTTP/1.1 218 Unknown\r\n"


@pytest.mark.parametrize(
    ("grpc_status", "http_status"),
    [(None, None), (b"0", 200), (b"3", 400), (b"14", 503), (b"16", 401), (b"17", 500), (b"x", 500), (b"9" * 5000, 500)],
)
def test_a_grpc_status_means_something_in_http(grpc_status: bytes | None, http_status: int | None) -> None:
    assert grpc_to_http_status(grpc_status) == http_status
