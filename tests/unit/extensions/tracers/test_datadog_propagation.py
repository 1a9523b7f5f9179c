"""Who called, in the headers of Datadog and of W3C, and what the next proxy is told."""

from __future__ import annotations

import pytest

from minienvoy.extensions.tracers.datadog.agent import Unsigned, pack
from minienvoy.extensions.tracers.datadog.propagation import extract, inject
from minienvoy.http.header_map import HeaderMap


def headers(**values: str) -> HeaderMap:
    made = HeaderMap()
    for name, value in values.items():
        made.add(name.replace("_", "-").encode(), value.encode())
    return made


def test_datadogs_headers_come_before_those_of_w3c() -> None:
    found = extract(
        headers(
            x_datadog_trace_id="1",
            x_datadog_parent_id="2",
            traceparent="00-000000000000000000000000000000ff-00000000000000ee-01",
        )
    )
    assert found is not None
    assert (found.high, found.trace_id, found.parent_id, found.priority) == (0, 1, 2, None)
    assert found.last_datadog_parent is None


@pytest.mark.parametrize(
    ("flags", "state", "priority", "decision"),
    [
        ("01", "", 1, None),
        ("00", "", 0, None),
        ("01", "dd=s:2;t.dm:-4", 2, "-4"),
        ("01", "dd=s:-1;t.dm:-4", 1, "-0"),
        ("00", "dd=s:2;t.dm:-4", 0, None),
        ("00", "dd=s:-1", -1, None),
        ("01", "dd=s:x", 1, None),
    ],
)
def test_priority_of_w3cs_headers_agrees_with_their_flag(
    flags: str, state: str, priority: int, decision: str | None
) -> None:
    found = extract(headers(traceparent=f"00-{'0' * 30}ff-{'0' * 14}ee-{flags}", tracestate=state))
    assert found is not None
    assert (found.priority, found.tags.get("_dd.p.dm")) == (priority, decision)


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00-0-0-01",
        f"ff-{'0' * 30}ff-{'0' * 14}ee-01",
        f"00-{'0' * 32}-{'0' * 14}ee-01",
        f"00-{'0' * 30}ff-{'0' * 16}-01",
    ],
)
def test_who_can_not_be_understood_has_not_called(traceparent: str) -> None:
    assert extract(headers(traceparent=traceparent, x_datadog_trace_id="-1", x_datadog_parent_id="1")) is None


def test_tags_that_are_too_long_are_not_told() -> None:
    made = HeaderMap()
    assert not inject(made, 0, 1, 2, 1, "", {"_dd.p.x": "y" * 600}, "")
    assert made.get(b"x-datadog-tags") is None
    assert made.get(b"x-datadog-trace-id") == b"1"


def test_origin_has_no_characters_that_tracestate_means_something_by() -> None:
    made = HeaderMap()
    inject(made, 0, 1, 2, 1, "a;b=c", {}, "other=1")
    assert made.get(b"tracestate") == b"dd=s:1;p:0000000000000002;o:a_b~c,other=1"


def test_msgpack_has_the_widest_sizes() -> None:
    assert pack([Unsigned(1), -1, 0.5, "a", {"b": []}]) == bytes.fromhex(
        "dd00000005 cf0000000000000001 d3ffffffffffffffff cb3fe0000000000000 db0000000161"
        "df00000001 db0000000162 dd00000000"
    )
