"""Descriptors of requests; what Envoy makes of them is in tests/conformance/scenarios/rate_limit_actions.yaml."""

from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.http.header_map import RequestHeaderMap, entry
from minienvoy.network.address import Address
from minienvoy.router.rate_limit import Descriptor, RateLimitOverride, RateLimitPolicy, Subject
from minienvoy.stream_info import ConnectionInfo, StreamInfo

EXPRESSION = "type.googleapis.com/envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor"


class Route:
    cluster_name = "users"
    metadata: dict[str, Any] = {"mine": {"team": "blue"}}


def policy(*limits: dict[str, Any]) -> RateLimitPolicy:
    message = load_dict(
        {"name": "v", "domains": ["*"], "rate_limits": list(limits)}, "envoy.config.route.v3.VirtualHost"
    )
    made = RateLimitPolicy.from_protos(message.message.rate_limits, "rate_limits", None)
    assert made is not None
    return made


def subject(path: str = "/", remote: Address | None = None, **headers: str) -> Subject:
    entries = [entry(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    stream = StreamInfo()
    stream.connection = ConnectionInfo(None, remote or Address("10.1.2.3", 4000))
    return Subject(RequestHeaderMap(b"GET", path.encode(), b"a.com", entries), stream, Route(), "me")


def descriptor(*actions: dict[str, Any], of: Subject | None = None, **limit: Any) -> Descriptor | None:
    (one,) = policy({"actions": list(actions), **limit}).entries
    return one.descriptor_with_hits(of or subject())


def test_each_action_adds_an_entry_in_order() -> None:
    made = descriptor(
        {"source_cluster": {}},
        {"destination_cluster": {}},
        {"generic_key": {"descriptor_value": "x"}},
        {"remote_address": {}},
        {"masked_remote_address": {"v4_prefix_mask_len": 16}},
    )
    assert made == Descriptor(
        (
            ("source_cluster", "me"),
            ("destination_cluster", "users"),
            ("generic_key", "x"),
            ("remote_address", "10.1.2.3"),
            ("masked_remote_address", "10.1.0.0/16"),
        )
    )


def test_an_action_without_an_answer_means_no_descriptor() -> None:
    header = {"request_headers": {"header_name": "x-user", "descriptor_key": "user"}}
    assert descriptor({"generic_key": {"descriptor_value": "x"}}, header) is None
    made = descriptor(header, of=subject(x_user="bob"))
    assert made is not None
    assert made.entries == (("user", "bob"),)


@pytest.mark.parametrize("action", [{"remote_address": {}}, {"masked_remote_address": {}}])
def test_a_unix_socket_has_no_remote_address(action: dict[str, Any]) -> None:
    assert descriptor(action, of=subject(remote=Address.pipe("/a"))) is None


def test_a_query_parameter_is_decoded() -> None:
    action = {"query_parameters": {"query_parameter_name": "a b", "descriptor_key": "q"}}
    made = descriptor(action, of=subject("/?x=1&a%20b=%41"))
    assert made is not None
    assert made.entries == (("q", "A"),)


def test_metadata_must_be_a_text() -> None:
    key = {"key": "mine", "path": [{"key": "team"}]}
    made = descriptor({"metadata": {"descriptor_key": "team", "source": "ROUTE_ENTRY", "metadata_key": key}})
    assert made is not None
    assert made.entries == (("team", "blue"),)
    dynamic = subject()
    dynamic.stream.dynamic_metadata["mine"] = {"team": 4}
    assert descriptor({"metadata": {"descriptor_key": "team", "metadata_key": key}}, of=dynamic) is None


def test_a_limit_of_the_metadata_replaces_that_of_the_service() -> None:
    limit = {"dynamic_metadata": {"metadata_key": {"key": "mine", "path": [{"key": "limit"}]}}}
    one = subject()
    one.stream.dynamic_metadata["mine"] = {"limit": {"requests_per_unit": 7.0, "unit": "HOUR"}}
    made = descriptor({"remote_address": {}}, of=one, limit=limit)
    assert made is not None
    assert made.limit == RateLimitOverride(7, 3)
    one.stream.dynamic_metadata["mine"] = {"limit": {"requests_per_unit": 7.0, "unit": "FORTNIGHT"}}
    made = descriptor({"remote_address": {}}, of=one, limit=limit)
    assert made is not None
    assert made.limit is None


def test_hits_are_a_number_or_a_format_that_gives_one() -> None:
    made = descriptor({"remote_address": {}}, hits_addend={"number": 3})
    assert made is not None
    assert made.hits == 3
    formatted = {"format": "%REQ(x-hits)%"}
    made = descriptor({"remote_address": {}}, of=subject(x_hits="12"), hits_addend=formatted)
    assert made is not None
    assert made.hits == 12
    assert descriptor({"remote_address": {}}, of=subject(x_hits="many"), hits_addend=formatted) is None
    assert descriptor({"remote_address": {}}, hits_addend=formatted) is None


def test_limits_are_kept_by_stage() -> None:
    made = policy(
        {"actions": [{"remote_address": {}}]}, {"stage": 3, "disable_key": "off", "actions": [{"source_cluster": {}}]}
    )
    assert [each.stage for each in made.of_stage(0)] == [0]
    assert [each.disable_key for each in made.of_stage(3)] == ["off"]
    assert made.of_stage(1) == ()


def test_expressions_are_not_supported() -> None:
    with pytest.raises(ConfigError, match="Didn't find a registered implementation"):
        policy({"actions": [{"extension": {"name": "x", "typed_config": {"@type": EXPRESSION, "text": "a"}}}]})


def test_nothing_to_limit_is_no_policy() -> None:
    assert RateLimitPolicy.from_protos([], "rate_limits", None) is None
