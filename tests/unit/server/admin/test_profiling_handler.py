from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [
        ("/cpuprofiler", 400, "?enable=<y|n>\n"),
        ("/cpuprofiler?enable=x", 400, "?enable=<y|n>\n"),
        ("/cpuprofiler?enable=y&x=1", 400, "?enable=<y|n>\n"),
        ("/cpuprofiler?enable=n", 200, "OK\n"),
        ("/heapprofiler", 501, "The current build does not support heap profiler"),
        ("/heapprofiler?enable=y", 501, "The current build does not support heap profiler"),
        ("/allocprofiler", 400, "?enable=<y|n>\n"),
        ("/allocprofiler?enable=n", 400, "Allocation profiler is not started"),
    ],
)
def test_profilers_answer_as_envoys_do(ask, target, status, body):
    response = ask(target, "POST")
    assert (response.status, response.body.decode()) == (status, body)


@pytest.mark.parametrize(
    ("target", "method"),
    [
        ("/cpuprofiler?enable=y", "POST"),
        ("/allocprofiler?enable=y", "POST"),
        ("/heap_dump", "GET"),
        ("/peak_heap_dump", "GET"),
        ("/memory/tcmalloc", "GET"),
    ],
)
def test_what_minienvoy_can_not_do_is_not_implemented_and_says_what_to_use(ask, target, method):
    response = ask(target, method)
    assert response.status == 501
    assert b"minienvoy" in response.body


def test_mutex_contention_is_not_traced(ask):
    response = ask("/contention")
    assert response.status == 200
    assert response.body.startswith(b"Mutex contention tracing is not enabled.")
