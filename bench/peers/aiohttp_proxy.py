"""The usual way: an HTTP reverse proxy of aiohttp's server and client, on uvloop, with nothing added.

Run as `python -m bench.peers.aiohttp_proxy LISTEN:UPSTREAM` (ports on 127.0.0.1).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import uvloop
from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web
from multidict import CIMultiDict
from yarl import URL

HOST = "127.0.0.1"
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
SESSION: web.AppKey[ClientSession] = web.AppKey("session", ClientSession)


def end_to_end(headers: CIMultiDict[str]) -> CIMultiDict[str]:
    """A copy without the headers that concern one connection only."""
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in HOP_BY_HOP)


def application(upstream: URL) -> web.Application:
    """Forwards every request to `upstream`, bodies read whole."""

    async def client_session(app: web.Application) -> AsyncIterator[None]:
        app[SESSION] = ClientSession(
            connector=TCPConnector(limit=0), cookie_jar=DummyCookieJar(), auto_decompress=False
        )
        yield
        await app[SESSION].close()

    async def forward(request: web.Request) -> web.Response:
        body = await request.read() if request.can_read_body else None
        url = upstream.join(request.rel_url)
        headers = end_to_end(CIMultiDict(request.headers))
        async with request.app[SESSION].request(
            request.method, url, headers=headers, data=body, allow_redirects=False
        ) as response:
            return web.Response(
                status=response.status,
                reason=response.reason,
                headers=end_to_end(CIMultiDict(response.headers)),
                body=await response.read(),
            )

    app = web.Application()
    app.cleanup_ctx.append(client_session)
    app.router.add_route("*", "/{path:.*}", forward)
    return app


async def main(listen_port: int, upstream_port: int) -> None:
    runner = web.AppRunner(application(URL(f"http://{HOST}:{upstream_port}")), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, listen_port, backlog=4096).start()
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    uvloop.run(main(*map(int, sys.argv[1].split(":"))))
