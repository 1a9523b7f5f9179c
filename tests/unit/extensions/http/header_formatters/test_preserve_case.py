"""`preserve_case`: header names go on in the case in which they came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.errors import ConfigError
from minienvoy.extensions import register_catalogue
from tests.unit.http_bench import Bench

MakeBench = Callable[..., Bench]
TYPE = "type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"
REQUEST = b"POST / HTTP/1.1\r\nHoSt: a.com\r\nX-Two: 1\r\nx-tWO: 2\r\nTransfer-ENCODING: chunked\r\n\r\n0\r\n\r\n"

register_catalogue()


def preserving(**config: Any) -> dict[str, Any]:
    extension = {"name": "preserve_case", "typed_config": {"@type": TYPE, **config}}
    return {"header_key_format": {"stateful_formatter": extension}}


def upstream(options: dict[str, Any]) -> dict[str, Any]:
    kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    packed = {
        "@type": f"type.googleapis.com/{kind}",
        "explicit_http_config": {"http_protocol_options": options},
    }
    return {"typed_extension_protocol_options": {kind: packed}}


def test_a_request_goes_upstream_as_it_came_whatever_the_cluster_says(bench: MakeBench) -> None:
    b = bench(hcm={"http_protocol_options": preserving(), "generate_request_id": False})
    b.client().send(REQUEST)
    assert b.upstream.received().startswith(
        b"POST / HTTP/1.1\r\nHoSt: a.com\r\nX-Two: 1\r\nX-Two: 2\r\nx-forwarded-proto: http\r\n"
        b"x-envoy-expected-rq-timeout-ms: 15000\r\nTransfer-ENCODING: chunked\r\n\r\n"
    )


def test_the_next_request_on_the_connection_has_its_own_names(bench: MakeBench) -> None:
    b = bench(hcm={"http_protocol_options": preserving()})
    client = b.client()
    for name in (b"X-A", b"x-a", b"X-a"):
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n%b: 1\r\n\r\n" % name)
        assert b"\r\n%b: 1\r\n" % name in b.upstream.received()
        b.upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


def test_a_response_keeps_its_names_and_its_reason_if_it_is_to(bench: MakeBench) -> None:
    options = preserving(forward_reason_phrase=True, formatter_type_on_envoy_headers="PROPER_CASE")
    b = bench(cluster=upstream(options))
    client = b.client().get()
    b.upstream.send(b"HTTP/1.1 200 Very Fine\r\nX-MiXed: 1\r\nsERVER: me\r\nContent-length: 2\r\n\r\nok")
    head = client.received().partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert head[:4] == [b"HTTP/1.1 200 Very Fine", b"X-MiXed: 1", b"sERVER: envoy", b"Content-length: 2"]
    assert head[4].startswith(b"X-Envoy-Upstream-Service-Time: ")


def test_what_the_proxy_answers_itself_is_in_lower_case(bench: MakeBench) -> None:
    b = bench([], hcm={"http_protocol_options": preserving()})
    assert b"content-length: 0\r\n" in b.client().send(b"GET / HTTP/1.1\r\nHost: a\r\nDATE: x\r\n\r\n").received()


def test_trailers_are_in_lower_case(bench: MakeBench) -> None:
    options = {**preserving(), "enable_trailers": True}
    b = bench(hcm={"http_protocol_options": options}, cluster=upstream(options))
    b.client().send(REQUEST.replace(b"0\r\n\r\n", b"0\r\nX-End: 1\r\n\r\n"))
    assert b.upstream.received().endswith(b"0\r\nx-end: 1\r\n\r\n")


def test_an_unknown_formatter_is_named_with_its_place(bench: MakeBench) -> None:
    kind = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    extension = {"name": "mine", "typed_config": {"@type": kind}}
    with pytest.raises(ConfigError, match=r"http_protocol_options\.header_key_format\.stateful_formatter"):
        bench(hcm={"http_protocol_options": {"header_key_format": {"stateful_formatter": extension}}})
