"""Objects for others to ask for; what Envoy does is in tests/conformance/scenarios/set_filter_state.yaml."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from minienvoy.extensions.filters.common.set_filter_state import FACTORIES
from minienvoy.network.address import Address
from tests.unit.http_bench import OK, Bench

MakeBench = Callable[..., Bench]


def test_a_format_may_ask_for_what_came_before_it(bench: MakeBench) -> None:
    values = [
        {"object_key": key, "factory_key": "envoy.string", "format_string": {"text_format": text}}
        for key, text in (("a", "%REQ(x-a)%"), ("b", "<%FILTER_STATE(a:PLAIN)%>"))
    ]
    b = bench(http_filters={"set_filter_state": {"on_request_headers": values}})
    b.client().get("/", "x-a: 1")
    b.upstream.send(OK)
    assert (b.stream.state("a"), b.stream.state("b"), b.stream.state("c")) == ("1", "<1>", None)


@pytest.mark.parametrize(
    ("name", "text", "made"),
    [
        ("envoy.network.ip", "::1", Address("::1", 0)),
        ("envoy.network.ip", "1.2.3.4:5", None),
        ("envoy.network.transport_socket.original_dst_address", "1.2.3.4:80", Address("1.2.3.4", 80)),
        ("envoy.network.transport_socket.original_dst_address", "[::1]:80", Address("::1", 80)),
        ("envoy.network.transport_socket.original_dst_address", "::1:80", None),
        ("envoy.network.transport_socket.original_dst_address", "1.2.3.4", None),
        ("envoy.network.transport_socket.original_dst_address", "1.2.3.4:65536", None),
        ("envoy.upstream.dynamic_port", "80", 80),
        ("envoy.upstream.dynamic_port", "x", None),
        ("envoy.tcp_proxy.disable_tunneling", "True", False),
    ],
)
def test_objects_are_made_of_text(name: str, text: str, made: object) -> None:
    assert FACTORIES[name](text) == made
