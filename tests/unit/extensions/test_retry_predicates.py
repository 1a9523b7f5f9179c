"""Which hosts and priorities a retry avoids, predicate by predicate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.network.address import Address
from minienvoy.router.retry_policy import RetryHostPredicate, RetryPolicy
from minienvoy.upstream.host import Host
from tests.unit.http_bench import Bench

MakeBench = Callable[..., Bench]
TYPE = "type.googleapis.com/envoy.extensions.retry"
NO = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"
CANARY = {"@type": f"{TYPE}.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate"}
PREVIOUS = {"@type": f"{TYPE}.host.previous_hosts.v3.PreviousHostsPredicate"}


def without(**values: Any) -> dict[str, Any]:
    metadata = {"filter_metadata": {"envoy.lb": values}}
    return {"@type": f"{TYPE}.host.omit_host_metadata.v3.OmitHostMetadataConfig", "metadata_match": metadata}


def policy(**fields: Any) -> RetryPolicy:
    return RetryPolicy.from_proto(load_dict(fields, "envoy.config.route.v3.RetryPolicy").message, "retry_policy")


def predicate(config: dict[str, Any]) -> RetryHostPredicate:
    (make,) = policy(retry_host_predicate=[{"name": "p", "typed_config": config}]).host_predicates
    return make()


def host(number: int = 1, **metadata: Any) -> Host:
    return Host(Address(f"10.0.0.{number}", 80), metadata={"envoy.lb": metadata})


def test_a_canary_is_left_out() -> None:
    omit = predicate(CANARY)
    assert omit.should_select_another_host(host(canary=True))
    assert not omit.should_select_another_host(host(canary=False))
    assert not omit.should_select_another_host(host())


@pytest.mark.parametrize(
    ("wanted", "has", "out"),
    [
        ({"stage": "dev"}, {"stage": "dev"}, True),
        ({"stage": "dev"}, {"stage": "prod"}, False),
        ({"stage": "dev"}, {}, False),
        ({"stage": "dev", "zone": "x"}, {"stage": "dev"}, False),
        ({"stage": "dev", "zone": "x"}, {"stage": "dev", "zone": "x", "more": 1}, True),
        ({"weight": 2}, {"weight": 2.0}, True),
    ],
)
def test_a_host_with_all_of_the_metadata_is_left_out(wanted: dict[str, Any], has: dict[str, Any], out: bool) -> None:
    assert predicate(without(**wanted)).should_select_another_host(host(**has)) is out


def test_a_host_that_was_tried_is_left_out_by_that_request_only() -> None:
    (make,) = policy(retry_host_predicate=[{"name": "p", "typed_config": PREVIOUS}]).host_predicates
    first, second = make(), make()
    tried, other = host(1), host(2)
    first.on_host_attempted(tried)
    assert first.should_select_another_host(tried)
    assert not first.should_select_another_host(other)
    assert not second.should_select_another_host(tried)


def test_options_of_a_retry_have_no_extension() -> None:
    with pytest.raises(ConfigError, match="retry_options_predicates"):
        policy(retry_options_predicates=[{"name": "p"}])


def asked(b: Bench) -> list[str]:
    """The hosts that have been asked, in order of their first time."""
    return [str(each.address) for each in b.upstreams]


def answer(b: Bench) -> None:
    for upstream in b.upstreams:
        if not upstream.closed and upstream.received():
            upstream.send(NO)
    b.advance(0.3)


@pytest.mark.parametrize(("attempts", "hosts"), [(1, 1), (20, 2)])
def test_another_host_is_looked_for_only_so_often(bench: MakeBench, attempts: int, hosts: int) -> None:
    """A ring chooses the same host again, unless it is asked to go on."""
    action = {
        "cluster": "a",
        "hash_policy": [{"header": {"header_name": "x-key"}}],
        "retry_policy": {
            "retry_on": "5xx",
            "retry_host_predicate": [{"name": "p", "typed_config": PREVIOUS}],
            "host_selection_retry_max_attempts": attempts,
        },
    }
    b = bench(
        [{"match": {"prefix": "/"}, "route": action}],
        cluster={"lb_policy": "RING_HASH"},
        endpoints=("10.0.0.1:80", "10.0.0.2:80"),
    )
    b.client().get("/", "x-key: k")
    for _ in range(2):
        b.upstream.send(NO)
        b.advance(0.3)
    assert len({str(each.address) for each in b.upstreams}) == hosts
