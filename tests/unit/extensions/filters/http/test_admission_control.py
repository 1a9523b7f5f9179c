"""Admission control over simulated time; what Envoy answers is in tests/conformance/scenarios."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minienvoy.extensions.filters.http.admission_control import AdmissionController
from tests.unit.http_bench import GET, OK, Bench

MakeBench = Callable[..., Bench]
BAD = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"


def admitting(bench: MakeBench, **settings: Any) -> Bench:
    return bench(http_filters={"admission_control": {"success_criteria": {}, **settings}})


def ask(b: Bench, answer: bytes) -> bool:
    """Whether a request was let through; the upstream gives `answer`."""
    before = b.stat("http.admission_control.rq_rejected")
    client = b.client().send(GET)
    if b.stat("http.admission_control.rq_rejected") > before:
        assert client.received().startswith(b"HTTP/1.1 503")
        return False
    b.upstream.send(answer)
    return True


def test_nobody_is_refused_while_all_succeed(bench: MakeBench) -> None:
    b = admitting(bench)
    assert all(ask(b, OK) for _ in range(100))
    assert b.stat("http.admission_control.rq_success") == 100


def test_most_are_refused_while_all_fail_and_some_are_let_through_to_see(bench: MakeBench) -> None:
    b = admitting(bench)
    for _ in range(50):
        ask(b, BAD)
    let_through = sum(ask(b, BAD) for _ in range(300))
    assert 30 < let_through < 100  # at most 80 % are refused
    decision = next(each["overload"] for each in b.explanations if "overload" in each)
    assert decision.because.startswith("denied_by_admission_control: 0 of ")


def test_failures_are_forgotten_after_the_window(bench: MakeBench) -> None:
    b = admitting(bench, sampling_window="10s")
    for _ in range(50):
        ask(b, BAD)
    b.advance(11)
    assert all(ask(b, OK) for _ in range(50))


def test_requests_are_counted_by_seconds_and_leave_when_they_are_old() -> None:
    now = 100.0
    controller = AdmissionController(3.0, lambda: now)
    for second in range(5):
        now = 100.0 + second
        controller.record(second % 2 == 0)
        controller.record(True)
    controller.forget()
    assert (controller.requests, controller.successes) == (6, 5)
    assert controller.average_rps() == 3
    assert len(controller._seconds) == 3
    now += 60
    assert controller.average_rps() == 0
    assert (controller.requests, controller.successes) == (0, 0)
