"""Headers to metadata; what Envoy does is in tests/conformance/scenarios/header_to_metadata.yaml."""

from __future__ import annotations

from collections.abc import Callable

from tests.unit.http_bench import OK, Bench

MakeBench = Callable[..., Bench]
NAME = "envoy.filters.http.header_to_metadata"


def test_both_directions_and_what_goes_wrong_is_counted(bench: MakeBench) -> None:
    rules = [
        {"header": "x-a", "remove": True, "on_header_present": {"key": "a"}},
        {"header": "x-no", "on_header_missing": {"key": "no", "value": "none"}},
        {"cookie": "c", "on_header_present": {"key": "c", "type": "NUMBER"}},
        {"header": "x-b", "on_header_present": {"key": "b", "encode": "BASE64"}},
        {"header": "x-long", "on_header_present": {"key": "long"}},
    ]
    back = [{"header": "content-length", "on_header_present": {"key": "length", "metadata_namespace": "other"}}]
    settings = {"stat_prefix": "p", "request_rules": rules, "response_rules": back}
    b = bench(http_filters={"header_to_metadata": settings})
    b.client().get("/", "x-a: 1", "x-a: 2", "cookie: c=7; c=8", "x-b: !", f"x-long: {'a' * 8192}")
    assert b"x-a" not in b.upstream.received()
    b.upstream.send(OK)
    assert b.stream.dynamic_metadata == {NAME: {"a": "1,2", "no": "none", "c": 7.0}, "other": {"length": "2"}}
    names = (
        "request_rules_processed",
        "request_metadata_added",
        "request_header_not_found",
        "response_metadata_added",
        "base64_decode_failed",
        "header_value_too_long",
    )
    assert [b.stat(f"http_filter_name.p.{name}") for name in names] == [5, 3, 1, 1, 1, 1]
