from __future__ import annotations

import pytest

from minienvoy.stats.params import StatsParams, StatsParamsError, parse_stats_params


def test_nothing_asked_is_text_of_everything() -> None:
    assert parse_stats_params({}) == StatsParams()


def test_everything_asked() -> None:
    params = parse_stats_params(
        {"format": "json", "usedonly": "", "type": "Gauges", "filter": "^a", "histogram_buckets": "disjoint"}
    )
    assert (params.format, params.used_only, params.type, params.histogram_buckets) == (
        "json",
        True,
        "Gauges",
        "disjoint",
    )
    assert params.wants("ab", True)
    assert not params.wants("ba", True)
    assert not params.wants("ab", False)


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ({"format": "foo"}, "usage: /stats?format=(html|active-html|json|prometheus|text)\n\n"),
        ({"type": "foo"}, "invalid &type= param"),
        ({"hidden": "foo"}, "usage: /stats?hidden=(include|only|exclude)\n\n"),
        (
            {"histogram_buckets": "foo"},
            "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary|prometheusnative)\n",
        ),
    ],
)
def test_bad_queries_are_answered_as_envoy_answers_them(query: dict[str, str], answer: str) -> None:
    with pytest.raises(StatsParamsError) as caught:
        parse_stats_params(query)
    assert str(caught.value) == answer


def test_a_bad_filter_is_refused() -> None:
    with pytest.raises(StatsParamsError, match="Invalid re2 regex: "):
        parse_stats_params({"filter": "("})
