"""The compressor filter; what Envoy answers is in tests/conformance/scenarios/compressor.yaml."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from tests.unit.http_bench import Bench

MakeBench = Callable[..., Bench]
GZIP = {"@type": "type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip"}
LIBRARY = {"compressor_library": {"name": "lib", "typed_config": GZIP}}
LONG = b"0123456789" * 10
RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n" + LONG
ACCEPT = "accept-encoding: gzip"


def compressing(bench: MakeBench, **settings: Any) -> Bench:
    runtime = settings.pop("runtime", None)
    return bench(http_filters={"compressor": {**LIBRARY, **settings}}, runtime=runtime)


def chunks(response: bytes) -> list[bytes]:
    """The chunks of a response with nothing in them that ends a line."""
    body = response.partition(b"\r\n\r\n")[2]
    found = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        found.append(rest[: int(size, 16)])
        body = rest[int(size, 16) + 2 :]
    return found


def test_a_body_with_a_length_gets_chunks(bench: MakeBench) -> None:
    b = compressing(bench)
    client = b.client().get("/", ACCEPT)
    b.upstream.send(RESPONSE)
    answer = client.received()
    assert b"content-length" not in answer
    assert b"\r\ncontent-encoding: gzip\r\nvary: Accept-Encoding\r\n" in answer
    assert zlib.decompress(b"".join(chunks(answer)), 31) == LONG
    assert b.stats("http.compressor.lib.gzip.compressed", "http.compressor.lib.gzip.header_compressor_used") == [1, 1]
    assert b.stat("http.compressor.lib.gzip.total_uncompressed_bytes") == 100


def test_each_piece_leaves_when_it_comes(bench: MakeBench) -> None:
    b = compressing(bench)
    client = b.client().get("/", ACCEPT)
    b.upstream.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    head = client.received()
    reader = zlib.decompressobj(31)
    told = []
    for piece in (b"5\r\nfirst\r\n", b"6\r\nsecond\r\n"):
        b.upstream.send(piece)
        told.append(reader.decompress(b"".join(chunks(b"\r\n\r\n" + client.received()))))
    assert head.endswith(b"\r\n\r\n")
    assert told == [b"first", b"second"]
    assert not reader.eof
    b.upstream.send(b"0\r\n\r\n")
    reader.decompress(b"".join(chunks(b"\r\n\r\n" + client.received())))
    assert reader.eof


def test_a_runtime_key_turns_it_off_and_on(bench: MakeBench) -> None:
    enabled = {"default_value": True, "runtime_key": "gzip"}
    b = compressing(bench, runtime={"gzip": "false"}, response_direction_config={"common_config": {"enabled": enabled}})
    client = b.client()
    told = []
    for value in ("false", "true"):
        b.runtime.modify({"gzip": value})
        client.get("/", ACCEPT)
        b.upstream.send(RESPONSE)
        told.append(b"content-encoding: gzip" in client.received())
    assert told == [False, True]


def test_a_client_that_leaves_takes_its_compressor_along(bench: MakeBench) -> None:
    b = compressing(bench)
    client = b.client().get("/", ACCEPT)
    b.upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + LONG)
    client.close()
    assert b.stat("http.compressor.lib.gzip.compressed") == 1


def test_a_slow_client_makes_the_upstream_wait(bench: MakeBench) -> None:
    """What is compressed waits where all else waits: behind the connection's limit."""
    b = bench(http_filters={"compressor": LIBRARY}, buffer_limit=1000)
    client = b.client().get("/", ACCEPT)
    client.block()
    b.upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", *[LONG] * 100)
    assert not b.upstream.reading
    client.unblock()
    assert b.upstream.reading


def test_a_reply_of_the_proxy_is_compressed_too(bench: MakeBench) -> None:
    body = {"inline_string": LONG.decode()}
    routes = [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": body}}]
    b = bench(routes, http_filters={"compressor": LIBRARY})
    assert zlib.decompress(b"".join(chunks(b.client().get("/", ACCEPT).received())), 31) == LONG
