"""Requests that Envoy itself was asked, with its answers written down by `record_envoy_answers.py`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.http.envoy_cases import TOPICS, Case
from tests.unit.http.record_envoy_answers import RECORDED, comparable
from tests.unit.http_bench import Bench

CASES = [(topic, case) for topic, cases in TOPICS.items() for case in cases()]


def answers(topic: str, known: dict[str, dict[str, list[str]]] = {}) -> dict[str, list[str]]:
    """What is recorded, read once."""
    if topic not in known:
        known[topic] = json.loads(Path(RECORDED, f"{topic}.json").read_text())
    return known[topic]


@pytest.mark.parametrize(("topic", "case"), CASES, ids=[f"{topic}: {case.name}" for topic, case in CASES])
def test_it_answers_and_forwards_as_envoy_does(bench: Callable[..., Bench], topic: str, case: Case) -> None:
    b = bench(**case.options)
    client = b.client().send(case.request)
    heads = []
    if b.upstreams:
        heads.append(b.upstream.received())
        b.upstream.send(case.response)
    heads.insert(0, client.received())
    assert [comparable(head.partition(b"\r\n\r\n")[0]) for head in heads] == answers(topic)[case.name]


@pytest.mark.parametrize("topic", TOPICS)
def test_every_recorded_answer_has_its_case(topic: str) -> None:
    assert set(answers(topic)) == {case.name for case in TOPICS[topic]()}
