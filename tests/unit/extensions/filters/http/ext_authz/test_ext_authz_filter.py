"""The ext_authz filter while it waits; what Envoy answers is in tests/conformance/scenarios.

The service and the application are hosts of one cluster here. Another connection is asked for when the answer of the
service is told; but the first is free at once, and has the request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.errors import ConfigError
from tests.unit.http_bench import OK, Bench

MakeBench = Callable[..., Bench]
DENIED = b"HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic\r\ncontent-length: 2\r\n\r\nno"
POST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n"


def guarded(bench: MakeBench, **more: Any) -> Bench:
    service = {"server_uri": {"uri": "http://authz", "cluster": "a", "timeout": "1s"}}
    options = {name: more.pop(name) for name in ("buffer_limit", "accepts", "endpoints") if name in more}
    return bench(http_filters={"ext_authz": {"http_service": service, **more}}, **options)


def test_the_application_hears_of_a_request_when_it_is_allowed(bench: MakeBench) -> None:
    b = guarded(bench)
    client = b.client().get("/p")
    first = b.upstream
    assert first.received().startswith(b"GET /p HTTP/1.1\r\nhost: a.com\r\ncontent-length: 0\r\nx-envoy-internal")
    assert client.received() == b""
    first.send(OK)
    assert first.received().startswith(b"GET /p HTTP/1.1")
    first.send(OK)
    assert client.received().startswith(b"HTTP/1.1 200 OK")


def test_the_answer_of_the_service_becomes_the_clients(bench: MakeBench) -> None:
    b = guarded(bench)
    client = b.client().get()
    b.upstream.send(DENIED)
    answer = client.received()
    assert answer.startswith(b"HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic\r\n") and answer.endswith(b"no")
    assert b.log.streams[0].response_code_details == "ext_authz_denied"


def test_who_does_not_answer_in_time_is_an_error(bench: MakeBench) -> None:
    b = guarded(bench)
    client = b.client().get()
    b.advance(0.9)
    assert client.received() == b""
    b.advance(0.2)
    assert client.received().startswith(b"HTTP/1.1 403 Forbidden")
    assert b.upstream.gone


def test_a_service_without_a_host_is_an_error_at_once(bench: MakeBench) -> None:
    b = bench(
        http_filters={"ext_authz": {"http_service": {"server_uri": {"uri": "a", "cluster": "empty", "timeout": "1s"}}}}
    )
    assert b.client().get().received().startswith(b"HTTP/1.1 403 Forbidden")
    assert b.stats("http.ext_authz.error", "cluster.ext_authz.error") == [1, 1]


def test_nobody_is_asked_on_behalf_of_a_client_that_has_gone(bench: MakeBench) -> None:
    b = guarded(bench)
    client = b.client().get()
    assert not b.upstream.gone
    client.close()
    assert b.upstream.gone
    assert b.log.streams[0].response_code is None or b.log.streams[0].response_code == 0


def test_a_client_that_sends_while_the_service_thinks_is_made_to_wait(bench: MakeBench) -> None:
    b = guarded(bench, buffer_limit=16)
    client = b.client().send(POST)
    client.send(b"x" * 10)
    assert client.reading
    client.send(b"x" * 10)
    assert not client.reading
    first = b.upstream
    first.send(OK)
    assert client.reading
    assert first.received().endswith(b"x" * 20)


def test_a_body_that_is_to_be_told_is_bounded(bench: MakeBench) -> None:
    b = guarded(bench, with_request_body={"max_request_bytes": 16})
    client = b.client().send(POST)
    client.send(b"x" * 17)
    assert client.received().startswith(b"HTTP/1.1 413 Payload Too Large")
    assert b.upstreams == []


def test_part_of_a_body_is_told_as_soon_as_it_is_there(bench: MakeBench) -> None:
    b = guarded(bench, with_request_body={"max_request_bytes": 4, "allow_partial_message": True})
    client = b.client().send(POST)
    client.send(b"abc")
    assert b.upstreams == []
    client.send(b"def")
    assert b.upstream.received().endswith(b"x-envoy-auth-partial-body: true\r\nx-envoy-internal: true\r\n"
                                          b"x-envoy-expected-rq-timeout-ms: 1000\r\n\r\nabcd")  # fmt: skip


def test_what_is_decided_is_explained(bench: MakeBench) -> None:
    b = guarded(bench)
    b.client().get()
    b.upstream.send(DENIED)
    (decision,) = b.explanations.last().all("ext_authz")
    assert decision.chose == "denied"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "neither a grpc_service nor an http_service"),
        ({"grpc_service": {"google_grpc": {"target_uri": "xds://a", "stat_prefix": "a"}}}, "scheme xds"),
        ({"grpc_service": {"envoy_grpc": {"cluster_name": "a"}}, "transport_api_version": "V2"}, "v2 of the API"),
    ],
)
def test_what_can_not_be_is_refused(bench: MakeBench, settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        bench(http_filters={"ext_authz": settings})
