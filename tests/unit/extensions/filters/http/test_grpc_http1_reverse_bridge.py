"""What is held of a response; what Envoy answers is in tests/conformance/scenarios/grpc_reverse_bridge.yaml."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from minienvoy.extensions.filters.http import grpc_http1_reverse_bridge
from tests.unit.http_bench import Bench

MakeBench = Callable[..., Bench]
CALL = b"POST /a.B/C HTTP/1.1\r\nhost: a.com\r\ncontent-type: application/grpc\r\ncontent-length: 7\r\n\r\n\0\0\0\0\2hi"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\n"


@pytest.mark.parametrize(("size", "fits"), [(100, True), (102, False)])
def test_a_response_that_is_held_is_bounded(
    bench: MakeBench, monkeypatch: pytest.MonkeyPatch, size: int, fits: bool
) -> None:
    monkeypatch.setattr(grpc_http1_reverse_bridge, "MAX_HELD", 100)
    settings = {"content_type": "application/x-protobuf", "withhold_grpc_frames": True}
    b = bench(http_filters={"grpc_http1_reverse_bridge": settings})
    client = b.client().send(CALL)
    assert b.upstream.received().endswith(b"\r\n\r\nhi")
    b.upstream.send(HEAD + b"content-length: %d\r\n\r\n" % size + b"x" * (size - 1), b"x")
    assert (b"x" * 100 in client.received()) == fits
    b.advance(2)
    assert client.gone != fits
    assert (b.stream.response_code_details == "via_upstream") == fits
