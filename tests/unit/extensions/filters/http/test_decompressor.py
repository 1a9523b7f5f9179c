"""The decompressor filter; what Envoy answers is in tests/conformance/scenarios/decompressor.yaml."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

from tests.unit.http_bench import OK, Bench

MakeBench = Callable[..., Bench]
GZIP = {"@type": "type.googleapis.com/envoy.extensions.compression.gzip.decompressor.v3.Gzip"}
LIBRARY = {"decompressor_library": {"name": "Lib", "typed_config": GZIP}}
HELLO = gzip.compress(b"hello", mtime=0)


def decompressing(bench: MakeBench, **settings: Any) -> Bench:
    return bench(http_filters={"decompressor": {**LIBRARY, **settings}})


def test_a_request_loses_its_coding_and_its_length(bench: MakeBench) -> None:
    b = decompressing(bench)
    head = b"POST / HTTP/1.1\r\nhost: a.com\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(HELLO)
    b.client().send(head + HELLO)
    request = b.upstream.received()
    assert b"content-encoding" not in request
    assert b"content-length" not in request
    assert request.endswith(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    b.upstream.send(OK)
    assert b.stats(
        "http.decompressor.Lib.gzip.request.total_compressed_bytes",
        "http.decompressor.Lib.gzip.request.total_uncompressed_bytes",
        "http.decompressor.Lib.gzip.response.not_decompressed",
    ) == [len(HELLO), 5, 1]


def test_the_upstream_is_told_what_is_accepted(bench: MakeBench) -> None:
    b = decompressing(bench)
    b.client().get("/", "accept-encoding: gzip;q=0.1, br")
    assert b"\r\naccept-encoding: br,gzip\r\n" in b.upstream.received()
    b.upstream.send(OK)


def test_trailers_tell_how_much_it_was(bench: MakeBench) -> None:
    b = bench(http_filters={"decompressor": LIBRARY}, hcm={"http_protocol_options": {"enable_trailers": True}})
    client = b.client().get()
    b.upstream.send(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(HELLO) + HELLO)
    assert client.received().endswith(
        b"0\r\nx-envoy-decompressor-lib-compressed-bytes: %d\r\nx-envoy-decompressor-lib-uncompressed-bytes: 5\r\n\r\n"
        % len(HELLO)
    )


def test_a_bomb_does_not_go_off(bench: MakeBench) -> None:
    b = decompressing(bench)
    bomb = gzip.compress(b"a" * 10_000_000)
    client = b.client().get()
    b.upstream.send(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(bomb) + bomb)
    assert len(client.received()) < 110 * len(bomb)
    assert b.stat("http.decompressor.Lib.gzip.decompressor_library.zlib_data_error") == 1
