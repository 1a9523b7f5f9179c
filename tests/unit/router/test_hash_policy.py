"""What of a request is hashed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.http.header_map import RequestHeaderMap, entry
from minienvoy.network.address import Address
from minienvoy.router.hash_policy import HashPolicy
from minienvoy.stream_info import ConnectionInfo
from minienvoy.upstream.xx_hash import xx_hash64
from tests.unit.http_bench import GET, OK, Bench
from tests.unit.router.conftest import Stream

MakeHeaders = Callable[..., RequestHeaderMap]
MakeBench = Callable[..., Bench]


def policy(*protos: dict[str, Any]) -> HashPolicy:
    action = load_dict({"cluster": "a", "hash_policy": list(protos)}, "envoy.config.route.v3.RouteAction").message
    return HashPolicy(action.hash_policy, "hash_policy")


@pytest.fixture
def stream() -> Stream:
    made = Stream()
    made.connection = ConnectionInfo(Address("10.0.0.1", 80), Address("10.0.0.2", 5000))
    made.filter_state["k"] = "state"
    return made


@pytest.mark.parametrize(
    ("proto", "hashed"),
    [
        ({"header": {"header_name": "X-User"}}, b"me"),
        (
            {"header": {"header_name": "x-user", "regex_rewrite": {"pattern": {"regex": "m"}, "substitution": "h"}}},
            b"he",
        ),
        ({"header": {"header_name": "x-none"}}, None),
        ({"query_parameter": {"name": "q"}}, b"1"),
        ({"query_parameter": {"name": "none"}}, None),
        ({"cookie": {"name": "c"}}, b"2"),
        ({"cookie": {"name": "none"}}, None),
        ({"connection_properties": {"source_ip": True}}, b"10.0.0.2"),
        ({"connection_properties": {"source_ip": False}}, None),
        ({"filter_state": {"key": "k"}}, b"state"),
        ({"filter_state": {"key": "none"}}, None),
    ],
)
def test_what_is_hashed(
    request_headers: MakeHeaders, stream: Stream, proto: dict[str, Any], hashed: bytes | None
) -> None:
    headers = request_headers("/?q=1", headers={"x-user": "me", "cookie": "c=2"})
    expected = None if hashed is None else xx_hash64(hashed)
    assert policy(proto).generate_hash(headers, stream, None) == expected


def test_the_order_of_a_repeated_header_does_not_matter(request_headers: MakeHeaders, stream: Stream) -> None:
    one, other = request_headers(), request_headers()
    one.entries += [entry(b"x-user", b"a"), entry(b"x-user", b"b")]
    other.entries += [entry(b"x-user", b"b"), entry(b"x-user", b"a")]
    made = policy({"header": {"header_name": "x-user"}})
    assert made.generate_hash(one, stream, None) == made.generate_hash(other, stream, None)


def test_two_that_are_alike_do_not_cancel_each_other_out(request_headers: MakeHeaders, stream: Stream) -> None:
    header = {"header": {"header_name": "x-user"}}
    assert policy(header, header).generate_hash(request_headers(headers={"x-user": "me"}), stream, None) != 0


def test_what_comes_after_a_terminal_policy_counts_only_if_that_finds_nothing(
    request_headers: MakeHeaders, stream: Stream
) -> None:
    made = policy({"header": {"header_name": "x-a"}, "terminal": True}, {"header": {"header_name": "x-b"}})
    assert made.generate_hash(request_headers(headers={"x-a": "1", "x-b": "2"}), stream, None) == xx_hash64(b"1")
    assert made.generate_hash(request_headers(headers={"x-b": "2"}), stream, None) == xx_hash64(b"2")


def test_a_client_without_the_cookie_gets_one(request_headers: MakeHeaders, stream: Stream) -> None:
    cookie = {"name": "c", "ttl": "60s", "path": "/p", "attributes": [{"name": "SameSite", "value": "Strict"}]}
    made, cookies = policy({"cookie": cookie}), list[bytes]()
    value = made.generate_hash(request_headers(), stream, cookies.append)
    name, quoted, *attributes = cookies[0].replace(b"=", b";", 1).split(b";")
    assert (name, attributes) == (b"c", [b" Max-Age=60", b" Path=/p", b" SameSite=Strict", b" HttpOnly"])
    assert value == xx_hash64(quoted.strip(b'"'))


def test_the_cookie_comes_with_the_response(bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    action = {"cluster": "a", "hash_policy": [{"cookie": {"name": "c", "ttl": "0s"}}]}
    b = bench([{"match": {"prefix": "/"}, "route": action}])
    choose = b.cluster.load_balancer.choose_host
    hashes: list[int | None] = []

    def by_hash(context: Any) -> Any:
        hashes.append(context.compute_hash_key())
        return choose(context)

    monkeypatch.setattr(b.cluster, "load_balancer", type("ByHash", (), {"choose_host": staticmethod(by_hash)}))
    client = b.client().send(GET)
    b.upstream.send(OK)
    assert b'set-cookie: c="' in client.received()
    assert hashes[0] is not None
