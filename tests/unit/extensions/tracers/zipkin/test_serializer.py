"""Spans as collectors of Zipkin read them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from minienvoy.extensions.tracers.zipkin.serializer import JsonSerializer, ProtobufSerializer


def span(**more: Any) -> Any:
    return SimpleNamespace(
        **{
            "trace_id": "00000000000000aa",
            "span_id": "00000000000000bb",
            "parent_id": "",
            "kind": "SERVER",
            "operation": "größe",
            "start_time": 1.5,
            "end_time": 2.0,
            "events": [(2.0, "ss")],
            "tags": {"a": "b", "empty": ""},
            "shared": True,
            **more,
        }
    )


def test_json_leaves_out_what_is_empty() -> None:
    packed = JsonSerializer("service", "192.0.2.2").serialize(
        [span(), span(operation="", parent_id="cc", shared=False)]
    )
    whole, bare = json.loads(packed)
    assert whole == {
        "traceId": "00000000000000aa",
        "id": "00000000000000bb",
        "kind": "SERVER",
        "name": "größe",
        "timestamp": 1500000,
        "duration": 500000,
        "localEndpoint": {"serviceName": "service", "ipv4": "192.0.2.2", "port": 0},
        "annotations": [{"timestamp": 2000000, "value": "ss"}],
        "tags": {"a": "b"},
        "shared": True,
    }
    assert "name" not in bare
    assert "shared" not in bare
    assert bare["parentId"] == "cc"


def test_an_endpoint_without_a_name_and_of_ipv6() -> None:
    (plain,) = json.loads(JsonSerializer("", "::1").serialize([span()]))
    assert plain["localEndpoint"] == {"ipv6": "::1", "port": 0}


def test_protobuf_has_the_ids_of_spans_the_wrong_way_round_as_envoy_has() -> None:
    packed = ProtobufSerializer("", "192.0.2.2").serialize([span(parent_id="00000000000000cc")])
    assert packed[:2] == b"\x0a" + bytes([len(packed) - 2])
    assert b"\x0a\x08" + bytes(7) + b"\xaa" in packed  # the trace
    assert b"\x12\x08\xcc" + bytes(7) in packed  # the parent
    assert b"\x1a\x08\xbb" + bytes(7) in packed
    assert b"\x20\x02" in packed  # a server
    assert b"\x2a\x07" + "größe".encode() in packed
    assert b"\x31" + (1500000).to_bytes(8, "little") in packed
    assert b"\x42\x06\x12\x04\xc0\x00\x02\x02" in packed
    assert b"empty" not in packed
    assert packed.endswith(b"\x68\x01")


def test_protobuf_leaves_out_a_name_that_is_empty() -> None:
    named = ProtobufSerializer("", "::1").serialize([span()])
    bare = ProtobufSerializer("", "::1").serialize([span(operation="")])
    assert len(named) - len(bare) == 2 + len("größe".encode())
