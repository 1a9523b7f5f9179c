"""What `accept-encoding` says; what Envoy makes of it is in tests/conformance/scenarios/compressor.yaml."""

from __future__ import annotations

import math

import pytest

from minienvoy.extensions.filters.http.compressor.encoding_decision import (
    HeaderStat,
    accepted,
    choose_encoding,
    weight,
)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"1", 1.0),
        (b".5", 0.5),
        (b"1.", 1.0),
        (b"+1", 1.0),
        (b"-0", 0.0),
        (b"1e-50", 0.0),
        (b"1e99", math.inf),
        (b"-1e99", -math.inf),
        (b"0x.8p1", 1.0),
        (b"0x1p99999", math.inf),
        (b"infinity", math.inf),
        (b"", None),
        (b".", None),
        (b"1_0", None),
        (b"1e", None),
        (b"+-1", None),
        (b" 1 ", 1.0),
        ("１".encode(), None),
        (b"0x", None),
        (b"9" * 1_000_000, None),
    ],
)
def test_a_weight_is_what_envoy_reads(text: bytes, number: float | None) -> None:
    assert weight(text) == number


def test_only_the_first_parameter_of_a_coding_counts() -> None:
    header = b"gzip;level=1;q=0, br ; Q = 0.5 ,, zstd;q=x, deflate;q=0.5;a=b"
    assert accepted(header) == [(b"gzip", 1.0), (b"br", 0.5)]


THREE = {b"gzip": False, b"br": True, b"zstd": False}


@pytest.mark.parametrize(
    ("header", "encoding", "stat"),
    [
        (b"gzip, br", b"br", HeaderStat.VALID_COMPRESSOR),
        (b"zstd, br;q=0.9", b"zstd", HeaderStat.VALID_COMPRESSOR),
        (b"*", b"gzip", HeaderStat.WILDCARD),
        (b"gzip;q=0, *", b"br", HeaderStat.WILDCARD),
        (b"gzip;q=0, br;q=0, zstd;q=0, *", b"identity", HeaderStat.NOT_VALID),
        (b"identity, gzip", b"identity", HeaderStat.IDENTITY),
        (b"GZIP", b"identity", HeaderStat.NOT_VALID),
        (b"", b"identity", HeaderStat.NOT_VALID),
        (b"gzip;q=nan", b"identity", HeaderStat.NOT_VALID),
    ],
)
def test_what_is_chosen(header: bytes, encoding: bytes, stat: HeaderStat) -> None:
    decision = choose_encoding(header, THREE)
    assert (decision.encoding, decision.stat) == (encoding, stat)
