"""`make demo`: a lesson with its upstreams, one request that is really made, and then it keeps serving.

python -m minienvoy.testing.demo configs/03_http_routing.yaml
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from .. import Proxy, logger
from .fake_upstream import FakeUpstream, Reply, Request

CLUSTERS = ("users", "orders", "orders_beta")
LISTENER = "http"
PATH = "/users/42"


def _respond_as(cluster: str, request: Request) -> Reply:
    body = f"hello from {cluster}: {request.method} {request.path}, request id {request['x-request-id']}\n"
    return Reply(body.encode(), headers=(("content-type", "text/plain"),))


async def _fetch(url: str) -> str:
    """What `curl -i` shows for `url`."""
    authority, _, path = url.removeprefix("http://").partition("/")
    host, _, port = authority.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(f"GET /{path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n".encode())
        return (await reader.read()).decode().replace("\r\n", "\n")
    finally:
        writer.close()
        await writer.wait_closed()


async def _serve(lesson: str, once: bool) -> None:
    upstreams = {
        cluster: FakeUpstream(respond=lambda request, cluster=cluster: _respond_as(cluster, request))  # type: ignore[misc]
        for cluster in CLUSTERS
    }
    for upstream in upstreams.values():
        await upstream.start()
    endpoints = {cluster: [upstream.address] for cluster, upstream in upstreams.items()}
    try:
        proxy = Proxy.from_yaml(lesson, ports="ephemeral" if once else "as_configured", endpoints=endpoints)
        async with proxy:
            url = proxy.url(LISTENER)
            sys.stdout.write(f"{lesson} is served on {url}\n\n$ curl -i {url}{PATH}\n")
            sys.stdout.write(await asyncio.wait_for(_fetch(url + PATH), 10))
            sys.stdout.flush()
            if once:
                return
            sys.stdout.write(
                f"\nNow you:\n\n  curl -i {url}/orders -H 'x-version: beta'\n"
                f"  curl -i {url}/ -H 'host: shop.example.com'\n"
                f"  curl -i {url}/nowhere\n\nThe lesson says why each goes where it goes. Ctrl-C ends the demo.\n"
            )
            sys.stdout.flush()
            await asyncio.get_running_loop().create_future()
    finally:
        for upstream in upstreams.values():
            await upstream.stop()


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the lesson that the command line names; `--once` makes the one request, on a free port, and ends."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    once = "--once" in arguments
    lessons = [argument for argument in arguments if argument != "--once"]
    if len(lessons) != 1:
        sys.stderr.write("usage: python -m minienvoy.testing.demo [--once] configs/03_http_routing.yaml\n")
        return 1
    logger.set_level(logger.WARNING)
    try:
        asyncio.run(_serve(lessons[0], once))
    except KeyboardInterrupt:
        sys.stdout.write("\n")
    except OSError as error:
        sys.stderr.write(f"{error}\nIs something else listening there? 'make demo ONESHOT=1' takes a free port.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
