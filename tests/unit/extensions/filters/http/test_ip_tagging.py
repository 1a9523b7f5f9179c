"""Tags of addresses; what Envoy does is in tests/conformance/scenarios/ip_tagging.yaml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.extensions.filters.http import ip_tagging
from minienvoy.extensions.filters.http.ip_tagging import IpTaggingConfig
from minienvoy.network.address import Address
from tests.unit.http_bench import OK, Bench

MakeBench = Callable[..., Bench]


def tag(name: str, *ranges: str) -> dict[str, Any]:
    pairs = [each.split("/") for each in ranges]
    return {
        "ip_tag_name": name,
        "ip_list": [{"address_prefix": host, "prefix_len": int(length)} for host, length in pairs],
    }


def test_the_narrowest_range_comes_first_and_each_tag_once(bench: MakeBench) -> None:
    tags = [tag("all", "0.0.0.0/0"), tag("local", "127.0.0.0/8", "127.0.0.1/32"), tag("other", "10.0.0.0/8")]
    b = bench(http_filters={"ip_tagging": {"ip_tags": tags}})
    b.client().get()
    assert b"\r\nx-envoy-ip-tags: local,all\r\n" in b.upstream.received()
    b.upstream.send(OK)
    names = ("http.ip_tagging.local.hit", "http.ip_tagging.other.hit", "http.ip_tagging.total")
    assert b.stats(*names) == [1, 0, 1]


def test_both_families() -> None:
    made = ip_tagging.IpTags(
        load_dict(
            {"ip_tags": [tag("six", "2001:db8::/32"), tag("four", "1.0.0.0/8")]}, ip_tagging.TYPE
        ).message.ip_tags,
        "ip_tags",
    )
    told = [made.of(Address(host, 1)) for host in ("2001:db8::1", "1.2.3.4", "::1")]
    assert told == [["six"], ["four"], []]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "requires either ip_tags or ip_tags_datasource"),
        ({"ip_tags": [tag("a", "x/3")]}, "invalid ip/mask combo 'x/3'"),
        ({"ip_tags_datasource": {"filename": "/x.txt"}}, "Unsupported file format"),
        ({"ip_tags_datasource": {"filename": "/no/such.yaml"}}, "/no/such.yaml"),
    ],
)
def test_what_can_not_be_read_is_refused(bench: MakeBench, settings: dict[str, Any], problem: str) -> None:
    b = bench()
    with pytest.raises(ConfigError, match=problem):
        IpTaggingConfig(load_dict(settings, ip_tagging.TYPE).message, b.runtime, b.store.scope("x"))


def test_tags_of_a_file(bench: MakeBench, tmp_path: Path) -> None:
    file = tmp_path / "tags.yaml"
    file.write_text("ip_tags:\n- {ip_tag_name: a, ip_list: [{address_prefix: 127.0.0.1}]}\n")
    b = bench(http_filters={"ip_tagging": {"ip_tags_datasource": {"filename": str(file)}}})
    b.client().get()
    assert b"\r\nx-envoy-ip-tags: a\r\n" in b.upstream.received()
    b.upstream.send(OK)
