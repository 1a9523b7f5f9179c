"""The socket under the fake API server (aiohttp), and what it does wrong when told to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from .api import Api
from .api_error import ApiError, forbidden, too_old, unauthorized
from .faults import Faults
from .representation import dump
from .request import Answer, Request
from .watch import BOOKMARK_INTERVAL, Watch

if TYPE_CHECKING:
    from ...event.dispatcher import Dispatcher

MAX_BODY = 32 * 1024 * 1024
_HEADERS = {"Cache-Control": "no-cache, private"}


class HttpServer:
    """Listens on loopback.

    Attributes:
        port: 0 until it listens, unless one was asked for.
        requests: how many have come, for those who count.
    """

    def __init__(self, api: Api, faults: Faults, dispatcher: Dispatcher, port: int = 0) -> None:
        self._api = api
        self._faults = faults
        self._dispatcher = dispatcher
        self.port = port
        self.requests = 0
        self._watches: dict[Watch, web.StreamResponse] = {}
        self._open: dict[int, web.BaseRequest] = {}
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._on_request)
        # Whoever still watches when the server ends is cut off: nobody is waited for.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self._api.address = f"127.0.0.1:{self.port}"

    async def stop(self) -> None:
        runner, self._runner = self._runner, None
        self.cut()
        if runner is not None:
            await runner.cleanup()

    def cut(self) -> None:
        """Break every connection, in the middle of whatever it is about."""
        for request in tuple(self._open.values()):
            if request.transport is not None:
                request.transport.abort()
        self.end_watches()

    def end_watches(self) -> None:
        """Every watch ends as if its time was over."""
        for watch in tuple(self._watches):
            watch.end()

    def expire_watches(self) -> None:
        """Every watch is told 410."""
        for watch in tuple(self._watches):
            watch.end(self._expired().status())

    def _expired(self) -> ApiError:
        return too_old(self._api.store.compacted, self._api.store.version)

    async def _on_request(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        self._open[id(request)] = request
        try:
            body = await request.read()
            await self._wait()
            fault = self._fault(request)
            if fault is not None:
                return web.Response(
                    status=fault.status, body=fault.body, headers={**_HEADERS, "Content-Type": fault.content_type}
                )
            headers = {name.lower(): value for name, value in request.headers.items()}
            answer = self._api.handle(Request(request.method, request.path, request.query, headers, body))
            if answer.watch is not None:
                return await self._watch(request, answer, answer.watch)
            return web.Response(
                status=answer.status, body=answer.body, headers={**_HEADERS, "Content-Type": answer.content_type}
            )
        finally:
            del self._open[id(request)]

    async def _wait(self) -> None:
        if self._faults.delay:
            await self._dispatcher.sleep(self._faults.delay)
        while self._faults.stalled:
            await self._dispatcher.sleep(0.02)

    def _fault(self, request: web.Request) -> Answer | None:
        faults = self._faults
        if faults.status:
            body = faults.body or dump(ApiError(faults.status, "InternalError", "told to fail").status())
            return Answer(faults.status, body, faults.content_type)
        if faults.tokens is not None:
            token = request.headers.get("authorization", "").removeprefix("Bearer ")
            if token not in faults.tokens:
                error = unauthorized()
                return Answer(error.code, dump(error.status()))
        parts = request.path.strip("/").split("/")
        for plural in faults.forbidden & set(parts):
            namespace = parts[parts.index("namespaces") + 1] if "namespaces" in parts[:-1] else ""
            verb = "watch" if request.query.get("watch") in ("1", "true") else "list"
            error = forbidden(parts[1] if parts[0] == "apis" else "", plural, verb, namespace)
            return Answer(error.code, dump(error.status()))
        return None

    async def _watch(self, request: web.Request, answer: Answer, watch: Watch) -> web.StreamResponse:
        response = web.StreamResponse(headers={**_HEADERS, "Content-Type": answer.content_type})
        response.enable_chunked_encoding()
        more = asyncio.Event()
        watch.wake = more.set
        end = self._dispatcher.create_timer(watch.end)
        end.enable(watch.timeout)
        bookmark = self._dispatcher.create_timer(lambda: bookmark_now())

        def bookmark_now() -> None:
            watch.bookmark()
            bookmark.enable(BOOKMARK_INTERVAL)

        if watch.bookmarks:
            bookmark.enable(min(BOOKMARK_INTERVAL, max(watch.timeout - 2.0, 0.1)))
        self._watches[watch] = response
        try:
            if self._faults.expired:
                watch.lines.clear()
                watch.end(self._expired().status())
            await response.prepare(request)
            await self._send_lines(request, response, watch, more)
        except (ConnectionError, asyncio.CancelledError):
            watch.close()
            raise
        finally:
            end.disable()
            bookmark.disable()
            watch.close()
            self._watches.pop(watch, None)
        return response

    async def _send_lines(
        self, request: web.Request, response: web.StreamResponse, watch: Watch, more: asyncio.Event
    ) -> None:
        while True:
            while watch.lines:
                await self._wait()
                line = watch.lines.popleft()
                if self._faults.half_lines:
                    await response.write(line[: len(line) // 2])
                    watch.close()
                    return
                await response.write(line)
            if watch.over:
                return
            more.clear()
            if not watch.lines and not watch.over:
                await more.wait()
