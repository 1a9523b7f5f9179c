"""The CORS filter; what Envoy answers is in tests/conformance/scenarios/cors.yaml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.extensions.filters.http import cors
from minienvoy.router.cors_policy import FILTER_POLICY, CorsPolicy
from tests.unit.http_bench import OK, Bench

MakeBench = Callable[..., Bench]
ORIGIN = "origin: http://a.com"
ANYBODY = [{"exact": "*"}]


def bench_with(bench: MakeBench, runtime: dict[str, Any] | None = None, **policy: Any) -> Bench:
    told = {cors.NAME: {"@type": f"type.googleapis.com/{FILTER_POLICY}", **policy}}
    return bench(http_filters={"cors": {}}, route_config={"typed_per_filter_config": told}, runtime=runtime)


def test_a_response_tells_who_may_read_it(bench: MakeBench) -> None:
    b = bench_with(bench, allow_origin_string_match=ANYBODY)
    client = b.client().get("/", ORIGIN)
    b.upstream.send(OK)
    assert b"\r\naccess-control-allow-origin: http://a.com\r\n" in client.received()
    assert b.stats("http.cors.origin_valid", "http.cors.origin_invalid") == [1, 0]


def test_what_is_decided_is_explained(bench: MakeBench) -> None:
    b = bench_with(bench, allow_origin_string_match=[{"exact": "http://b.com"}])
    client = b.client().get("/", ORIGIN)
    b.upstream.send(OK)
    assert b"access-control" not in client.received()
    (decision,) = [each for each in b.explanations.last().decisions if each.point == "cors"]
    assert str(decision) == "cors: not allowed, because origin http://a.com"


def test_an_origin_that_has_been_counted_may_still_be_let_alone(bench: MakeBench) -> None:
    """Both fractions are drawn twice: three of four requests are counted, three of four of those are enforced."""
    half = {"default_value": {"numerator": 50}}
    b = bench_with(bench, allow_origin_string_match=ANYBODY, filter_enabled=half, shadow_enabled=half)
    client = b.client()
    enforced = 0
    for _ in range(400):
        client.get("/", ORIGIN)
        b.upstream.send(OK)
        enforced += b"access-control-allow-origin" in client.received()
    assert 250 < b.stat("http.cors.origin_valid") < 350
    assert 175 < enforced < 275


def test_a_runtime_key_turns_it_off_and_on(bench: MakeBench) -> None:
    enabled = {"default_value": {"numerator": 100}, "runtime_key": "cors"}
    b = bench_with(bench, {"cors": 0}, allow_origin_string_match=ANYBODY, filter_enabled=enabled)
    client = b.client()
    told = []
    for value in ("0", "100"):
        b.runtime.modify({"cors": value})
        client.get("/", ORIGIN)
        b.upstream.send(OK)
        told.append(b"access-control-allow-origin" in client.received())
    assert told == [False, True]


def test_a_wrong_regex_is_refused_with_its_place() -> None:
    wrong = {"allow_origin_string_match": [{"exact": "a"}, {"safe_regex": {"regex": "("}}]}
    with pytest.raises(ConfigError) as refused:
        CorsPolicy.from_proto(load_dict(wrong, FILTER_POLICY).message, "here", None)
    assert refused.value.path == "here.allow_origin_string_match[1].safe_regex.regex"
