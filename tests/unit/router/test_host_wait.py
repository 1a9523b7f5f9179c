"""A request waits for its host: it goes on, is told why not, or gives up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from minienvoy.router.host_wait import HostWait


class Router:
    def __init__(self) -> None:
        self.config = SimpleNamespace(stats=SimpleNamespace(rq_total=1))
        self.request_headers = object()
        self.request_complete = True
        self.upstream: Any = None
        self.happened: list[Any] = []

    def decode_headers(self, headers: Any, end_stream: bool) -> None:
        self.config.stats.rq_total += 1
        self.happened.append(("begins anew", headers is self.request_headers, end_stream))

    def no_healthy_upstream(self, details: str, waited: bool) -> None:
        assert waited
        self.happened.append(details)


def waiting() -> tuple[Router, HostWait]:
    router = Router()
    router.upstream = wait = HostWait(router)  # type: ignore[arg-type]
    return router, wait


def test_the_request_begins_anew_when_its_host_is_known_and_counts_once() -> None:
    router, wait = waiting()
    wait.on_host("")
    assert router.happened == [("begins anew", True, True)]
    assert (router.upstream, router.config.stats.rq_total, wait.done) == (None, 1, True)


def test_it_is_told_why_there_is_no_host() -> None:
    router, wait = waiting()
    wait.on_host("dns_resolution_failure{why}")
    assert router.happened == ["dns_resolution_failure{why}"]


def test_what_comes_meanwhile_is_kept_by_the_router() -> None:
    _, wait = waiting()
    assert not wait.encode_data(b"x", False)
    assert not wait.encode_trailers(None)  # type: ignore[arg-type]


def test_a_request_that_ends_stops_the_search_once() -> None:
    _, wait = waiting()
    stopped: list[int] = []
    wait.cancel = lambda: stopped.append(1)
    wait.reset()
    wait.reset()
    assert stopped == [1]
