"""`local_reply_config`: what becomes of the answers that the proxy gives itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.errors import ConfigError
from tests.unit.http_bench import GET, Bench

MakeBench = Callable[..., Bench]
ALL = {"not_health_check_filter": {}}
DIRECT = [{"match": {"path": "/down"}, "direct_response": {"status": 503, "body": {"inline_string": "down"}}}]


def replies(*mappers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"local_reply_config": {"mappers": list(mappers), **more}}


def status_is(status: int) -> dict[str, Any]:
    value = {"default_value": status, "runtime_key": "x"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def answer(b: Bench, request: bytes = GET) -> tuple[bytes, dict[bytes, bytes], bytes]:
    head, _, body = b.client().send(request).received().partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    return line, dict(each.split(b": ", 1) for each in lines), body  # type: ignore[misc]


def test_the_first_mapper_that_matches_counts(bench: MakeBench) -> None:
    first = {"filter": status_is(404), "status_code": 499, "body": {"inline_string": "mine"}}
    b = bench(DIRECT, hcm=replies(first, {"filter": ALL, "status_code": 500}))
    line, headers, body = answer(b)
    assert (line, headers[b"content-length"], headers[b"content-type"], body) == (
        b"HTTP/1.1 499 Unknown",
        b"4",
        b"text/plain",
        b"mine",
    )
    assert b.stream.response_code == 499
    assert b.stat("http.downstream_rq_4xx") == 1
    line, _, body = answer(b, GET.replace(b"/ ", b"/down ", 1))
    assert (line, body) == (b"HTTP/1.1 500 Internal Server Error", b"down")


def test_headers_are_added_and_see_the_status_before_it_changes(bench: MakeBench) -> None:
    added = [{"header": {"key": "x-was", "value": "%RESPONSE_CODE% %REQ(:path)%"}}]
    b = bench(DIRECT, hcm=replies({"filter": ALL, "status_code": 499, "headers_to_add": added}))
    assert answer(b)[1][b"x-was"] == b"404 /"


@pytest.mark.parametrize(
    ("body_format", "content_type", "body"),
    [
        ({"text_format": "<%LOCAL_REPLY_BODY%>"}, b"text/plain", b"<down>"),
        ({"text_format": "<p>", "content_type": "text/html"}, b"text/html", b"<p>"),
        (
            {"json_format": {"c": "%RESPONSE_CODE%", "b": "%LOCAL_REPLY_BODY%"}},
            b"application/json",
            b'{"b":"down","c":503}\n',
        ),
    ],
)
def test_a_format_makes_the_body_and_its_type(
    bench: MakeBench, body_format: dict[str, Any], content_type: bytes, body: bytes
) -> None:
    b = bench(DIRECT, hcm=replies(body_format=body_format))
    _, headers, got = answer(b, GET.replace(b"/ ", b"/down ", 1))
    assert (headers[b"content-type"], got) == (content_type, body)


def test_the_format_of_a_mapper_takes_the_place_of_the_common_one(bench: MakeBench) -> None:
    mapper = {"filter": status_is(404), "body_format_override": {"text_format": "nothing at %REQ(:path)%"}}
    b = bench(DIRECT, hcm=replies(mapper, body_format={"text_format": "[%LOCAL_REPLY_BODY%]"}))
    assert answer(b)[2] == b"nothing at /"
    assert answer(b, GET.replace(b"/ ", b"/down ", 1))[2] == b"[down]"


def test_a_grpc_client_gets_the_rewritten_status_and_the_body_as_message(bench: MakeBench) -> None:
    b = bench(DIRECT, hcm=replies({"filter": ALL, "status_code": 401}, body_format={"json_format": {"a": "b"}}))
    line, headers, body = answer(b, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\n\r\n")
    assert (line, body) == (b"HTTP/1.1 200 OK", b"")
    assert (headers[b"grpc-status"], headers[b"grpc-message"]) == (b"16", b'{"a":"b"}')


def test_garbage_is_answered_through_the_mappers_too(bench: MakeBench) -> None:
    b = bench(hcm=replies({"filter": ALL, "status_code": 444, "body": {"inline_bytes": "/wA="}}))
    line, _, body = answer(b, b"garbage\r\n\r\n")
    assert (line, body) == (b"HTTP/1.1 444 Unknown", b"\xff\0")


def test_answers_of_the_upstream_are_left_alone(bench: MakeBench) -> None:
    b = bench(hcm=replies({"filter": ALL, "status_code": 499}))
    client = b.client().send(GET)
    b.upstream.send(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
    assert client.received().startswith(b"HTTP/1.1 404 Not Found\r\n")


@pytest.mark.parametrize(
    ("config", "path"),
    [
        (replies({"filter": ALL, "headers_to_add": [{"header": {"key": "a", "value": "%NOPE%"}}]}), "headers_to_add"),
        (replies(body_format={"text_format": "%NOPE%"}), "body_format.text_format"),
        (replies({"filter": ALL, "body": {"filename": "/nowhere/at/all"}}), "mappers[0].body.filename"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(bench: MakeBench, config: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as refused:
        bench(hcm=config)
    assert path in str(refused.value)
