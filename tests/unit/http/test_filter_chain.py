"""Which filters a stream has: those of the chain, but for what a route says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.http.filter import StreamDecoderFilter
from minienvoy.http.filter_manager import FilterChain
from tests.unit.http_bench import GET, OK, Bench

FILTER_CONFIG = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig"}


class First(StreamDecoderFilter): ...


class Second(StreamDecoderFilter): ...


class Last(StreamDecoderFilter): ...


def chain(*disabled: int) -> FilterChain:
    return FilterChain([First, Second, Last], ["first", "second", "last"], disabled)


@pytest.mark.parametrize(
    ("disabled", "switches", "expected"),
    [
        ((), {}, (First, Second)),
        ((0,), {}, (Second,)),
        ((0, 1), {"first": False}, (First,)),
        ((), {"first": True}, (Second,)),
        ((1,), {"first": True, "second": False}, (Second,)),
        ((1,), {"other": False}, (First,)),
    ],
)
def test_a_route_has_the_last_word_on_which_filters_there_are(
    disabled: tuple[int, ...], switches: dict[str, bool], expected: tuple[type, ...]
) -> None:
    assert chain(*disabled).switched(switches) == expected


def test_a_chain_in_which_all_are_disabled_is_not_plain() -> None:
    assert chain(0, 1).factories == ()
    assert not chain(0, 1).plain
    assert FilterChain([Last]).plain


def test_a_filter_that_only_one_route_enables(bench: Callable[..., Bench]) -> None:
    fault = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
        "abort": {"http_status": 418, "percentage": {"numerator": 100}},
    }
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    enabled: dict[str, Any] = {"fault": {**FILTER_CONFIG, "config": {}}}
    b = bench(
        [
            {"match": {"prefix": "/teapot"}, "route": {"cluster": "a"}, "typed_per_filter_config": enabled},
            {"match": {"prefix": "/"}, "route": {"cluster": "a"}},
        ],
        hcm={
            "http_filters": [
                {"name": "fault", "disabled": True, "typed_config": fault},
                {"name": "router", "typed_config": router},
            ]
        },
    )
    client = b.client().send(GET)
    b.upstream.send(OK)
    assert client.received().startswith(b"HTTP/1.1 200 OK\r\n")
    assert client.get("/teapot").received().startswith(b"HTTP/1.1 418 ")
