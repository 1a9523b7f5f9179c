"""Profilers and heap dumps, which minienvoy does not have: a Python process is profiled with Python's tools.

Envoy: `Server::ProfilingHandler`, `TcmallocProfilingHandler` (`source/server/admin/profiling_handler.cc`), with the
status codes of an Envoy that was built without a profiler.
"""

from __future__ import annotations

from .request import AdminRequest, AdminResponse, ok, text_response

_INSTEAD = "use py-spy, perf or memray on the process"


class ProfilingHandler:
    def handler_contention(self, request: AdminRequest) -> AdminResponse:
        return text_response(
            "Mutex contention tracing is not enabled. To enable, run Envoy with flag --enable-mutex-tracing."
        )

    def handler_cpu_profiler(self, request: AdminRequest) -> AdminResponse:
        enable = _enable(request)
        if enable is None:
            return text_response("?enable=<y|n>\n", 400)
        if not enable:
            return ok()
        return text_response(f"minienvoy has no CPU profiler: {_INSTEAD}\n", 501)

    def handler_heap_profiler(self, request: AdminRequest) -> AdminResponse:
        return text_response("The current build does not support heap profiler", 501)

    def handler_alloc_profiler(self, request: AdminRequest) -> AdminResponse:
        enable = _enable(request)
        if enable is None:
            return text_response("?enable=<y|n>\n", 400)
        if not enable:
            return text_response("Allocation profiler is not started", 400)
        return text_response(f"minienvoy has no allocation profiler: {_INSTEAD}\n", 501)

    def handler_heap_dump(self, request: AdminRequest) -> AdminResponse:
        return text_response(f"minienvoy has no heap dump: {_INSTEAD}\n", 501)

    def handler_memory_tcmalloc(self, request: AdminRequest) -> AdminResponse:
        return text_response("minienvoy does not use TCMalloc; see /memory\n", 501, "text/plain")


def _enable(request: AdminRequest) -> bool | None:
    """What `enable=` says; None if that makes no sense."""
    if len(request.query) != 1:
        return None
    return {"y": True, "n": False}.get(request.query.first("enable") or "")
