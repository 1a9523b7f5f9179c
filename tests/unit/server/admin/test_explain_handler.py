from __future__ import annotations

import json

import pytest

from minienvoy.config.fields import Unsupported
from minienvoy.explain.explanation import Explanation
from minienvoy.explain.log import ExplanationLog


@pytest.fixture
def log(server):
    server.explanations = ExplanationLog()
    for name in ("one", "two", "three"):
        explanation = Explanation()
        explanation.request_id = name
        explanation.decided("host", "a:80", "round robin", rejected=("b:80",))
        server.explanations.append(explanation)
    return server.explanations


def ids(response):
    return [each["request_id"] for each in json.loads(response.body)["explanations"]]


@pytest.mark.usefixtures("log")
def test_the_newest_request_is_explained(ask):
    assert json.loads(ask("/minienvoy/explain").body) == {
        "explanations": [
            {
                "request_id": "three",
                "decisions": [{"point": "host", "chose": "a:80", "because": "round robin", "rejected": ["b:80"]}],
            }
        ]
    }


@pytest.mark.usefixtures("log")
def test_the_newest_requests_are_explained_newest_last(ask):
    assert ids(ask("/minienvoy/explain?last=2")) == ["two", "three"]
    assert ids(ask("/minienvoy/explain?last=99")) == ["one", "two", "three"]
    assert ids(ask("/minienvoy/explain?last=0")) == []


def test_requests_for_which_nothing_was_decided_are_left_out(ask, log):
    log.append(Explanation())
    assert ids(ask("/minienvoy/explain")) == ["three"]


@pytest.mark.usefixtures("log")
def test_a_request_is_explained_by_its_id(ask):
    assert ids(ask("/minienvoy/explain?request_id=two")) == ["two"]
    assert ask("/minienvoy/explain?request_id=nope").status == 404


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("last", ["x", "-1", "1_0", "%D9%A1", "9" * 5000])
def test_a_wrong_number_is_refused(ask, last):
    assert ask(f"/minienvoy/explain?last={last}").status == 400


def test_nothing_is_explained_unless_asked_for_at_start(ask):
    response = ask("/minienvoy/explain")
    assert response.status == 404
    assert b"--explain" in response.body


def test_what_is_unsupported_is_listed(ask, server):
    server.unsupported = [Unsupported("a.b", "not done"), "something"]
    assert json.loads(ask("/minienvoy/unsupported").body) == {
        "unsupported": [{"path": "a.b", "reason": "not done"}, "something"]
    }
