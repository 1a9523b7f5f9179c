from __future__ import annotations

import pytest

from minienvoy.explain.explanation import NO_EXPLANATION, Explanation
from minienvoy.explain.log import ExplanationLog


def explained(request_id: str, *hosts: str) -> Explanation:
    explanation = Explanation()
    explanation.request_id = request_id
    for host in hosts:
        explanation.decided("host", host, "round robin", ("other",))
    return explanation


def test_the_last_decision_at_a_point_is_the_one_that_counts() -> None:
    explanation = explained("1", "a", "b")
    assert explanation["host"].chose == "b"
    assert [each.chose for each in explanation.all("host")] == ["a", "b"]
    assert ("host" in explanation, "route" in explanation) == (True, False)
    with pytest.raises(KeyError):
        explanation["route"]


def test_an_explanation_reads_as_a_list() -> None:
    assert str(explained("1", "a", "b")) == (
        "host: a (not other), because round robin\nhost: b (not other), because round robin"
    )


def test_nothing_is_kept_where_nothing_is_explained() -> None:
    NO_EXPLANATION.decided("host", "a", "because")
    assert NO_EXPLANATION.decisions == []


def test_the_newest_explanations_are_kept() -> None:
    log = ExplanationLog(capacity=2)
    for request_id in ("1", "2", "3"):
        log.append(explained(request_id))
    assert (len(log), [each.request_id for each in log], log.last().request_id) == (2, ["2", "3"], "3")
    with pytest.raises(KeyError):
        log.for_request_id("1")
    log.clear()
    with pytest.raises(IndexError):
        log.last()


def test_a_request_is_found_by_its_id_the_newest_first() -> None:
    log = ExplanationLog()
    log.append(explained("1", "a"))
    log.append(explained("1", "b"))
    log.append(explained("2", "c"))
    assert log.for_request_id("1")["host"].chose == "b"
