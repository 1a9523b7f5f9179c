"""WebSocket through each mix of HTTP/1 upgrades and extended CONNECT: a client and a server of aiohttp, and a browser.

aiohttp speaks WebSocket over HTTP/1 only. Where a side is to be HTTP/2, another proxy stands between: it makes an
extended CONNECT of the upgrade, and an upgrade of the extended CONNECT.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from minienvoy import Proxy

pytestmark = pytest.mark.asyncio

TLS = Path(__file__).parents[1] / "data" / "tls"
TYPES = "type.googleapis.com/envoy.extensions"
H1, H2 = "http_protocol_options", "http2_protocol_options"


def config(upstream: str, *, tls: bool = False) -> dict[str, object]:
    """A proxy that lets WebSocket through; `upstream` is the protocol behind it, before it both are understood."""
    chain: dict[str, object] = {
        "filters": [
            {
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
                    "stat_prefix": "http",
                    "delayed_close_timeout": "0.1s",
                    "upgrade_configs": [{"upgrade_type": "websocket"}],
                    "http2_protocol_options": {"allow_connect": True},
                    "route_config": {
                        "virtual_hosts": [
                            {
                                "name": "all",
                                "domains": ["*"],
                                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "next", "timeout": "0s"}}],
                                # RFC 8441 has no key, and Envoy gives a server of RFC 6455 none of its own.
                                "request_headers_to_add": [
                                    {
                                        "header": {"key": "sec-websocket-key", "value": "dGhlIHNhbXBsZSBub25jZQ=="},
                                        "append_action": "ADD_IF_ABSENT",
                                    }
                                ],
                            }
                        ]
                    },
                    "http_filters": [
                        {
                            "name": "envoy.filters.http.router",
                            "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"},
                        }
                    ],
                },
            }
        ]
    }
    if tls:
        certificate = {
            "certificate_chain": {"filename": str(TLS / "server.pem")},
            "private_key": {"filename": str(TLS / "server.key")},
        }
        chain["transport_socket"] = {
            "name": "tls",
            "typed_config": {
                "@type": f"{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {"tls_certificates": [certificate], "alpn_protocols": ["h2", "http/1.1"]},
            },
        }
    options = {
        "@type": f"{TYPES}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {upstream: {"allow_connect": True} if upstream == H2 else {}},
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    return {
        "static_resources": {
            "listeners": [{"name": "main", "address": address, "filter_chains": [chain]}],
            "clusters": [
                {
                    "name": "next",
                    "load_assignment": {"cluster_name": "next"},
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
                    },
                }
            ],
        }
    }


class Service:
    """Echoes what it is told in a WebSocket, and keeps what a page reports."""

    def __init__(self) -> None:
        self.ended: list[object] = []
        self.report: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    async def websocket(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/refused":
            return web.Response(status=403, text="no")
        socket = web.WebSocketResponse(max_msg_size=0, protocols=("chat",), timeout=5)
        await socket.prepare(request)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT and message.data == "leave":
                    await socket.close(code=4001, message=b"as you wish")
                elif message.type is WSMsgType.TEXT:
                    await socket.send_str(message.data)
                else:
                    await socket.send_bytes(message.data)
        finally:
            self.ended.append(socket.close_code)
        return socket

    async def page(self, request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def told(self, request: web.Request) -> web.Response:
        if not self.report.done():
            self.report.set_result(await request.json())
        return web.Response(text="ok")


@asynccontextmanager
async def chain(*protocols: str, tls: bool = False):
    """A service behind a proxy for each of `protocols`, which says what the proxy speaks behind it."""
    async with AsyncExitStack() as stack:
        service = Service()
        app = web.Application()
        app.router.add_get("/ws", service.websocket)
        app.router.add_get("/refused", service.websocket)
        app.router.add_get("/page", service.page)
        app.router.add_post("/told", service.told)
        runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address = "{}:{}".format(*runner.addresses[0][:2])
        proxies: list[Proxy] = []
        for at, protocol in reversed(list(enumerate(protocols))):
            proxy = Proxy.from_yaml(config(protocol, tls=tls and not at), endpoints={"next": [address]})
            await stack.enter_async_context(proxy)
            proxies.insert(0, proxy)
            address = "{}:{}".format(*proxy.address("main"))
        yield service, proxies


MIXES = {
    "h1 to h1": (H1,),
    "h1 to h2, h2 to h1": (H2, H1),
    "h1 to h2, h2 to h2, h2 to h1": (H2, H2, H1),
}
mixes = pytest.mark.parametrize("protocols", MIXES.values(), ids=MIXES)


async def until(condition, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@mixes
async def test_messages_of_any_size_come_back(protocols):
    async with chain(*protocols) as (_, proxies), aiohttp.ClientSession(proxies[0].url()) as session:
        async with session.ws_connect("/ws", protocols=("chat",), max_msg_size=0) as socket:
            assert socket.protocol == "chat"
            for size in (0, 1, 125, 126, 65_535, 65_536, 3_000_000):
                await socket.send_bytes(bytes(size))
                assert await socket.receive_bytes(timeout=10) == bytes(size)
            await socket.send_str("ü" * 1000)
            assert await socket.receive_str(timeout=5) == "ü" * 1000
        assert socket.close_code == 1000
        for proxy in proxies[1:]:
            assert proxy.stats["http.http.downstream_cx_http2_total"] == 1
        for proxy in proxies:
            await until(lambda proxy=proxy: not proxy.stats["http.http.downstream_rq_active"])
            assert proxy.stats["http.http.downstream_cx_upgrades_total"] == 1


@mixes
async def test_the_server_ends_it_with_a_code_of_its_own(protocols):
    async with chain(*protocols) as (service, proxies), aiohttp.ClientSession(proxies[0].url()) as session:
        async with session.ws_connect("/ws") as socket:
            await socket.send_str("leave")
            message = await socket.receive(timeout=5)
            assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 4001, "as you wish")
        await until(lambda: service.ended)


@mixes
async def test_a_client_that_is_gone_is_gone_for_the_server(protocols):
    async with chain(*protocols) as (service, proxies), aiohttp.ClientSession(proxies[0].url()) as session:
        socket = await session.ws_connect("/ws")
        await socket.send_str("hello")
        assert await socket.receive_str(timeout=5) == "hello"
        socket._response.connection.transport.abort()
        await until(lambda: service.ended)
        for proxy in proxies:
            await until(lambda proxy=proxy: not proxy.stats["http.http.downstream_cx_upgrades_active"])
            await until(lambda proxy=proxy: not proxy.stats["cluster.next.upstream_rq_active"])
        with contextlib.suppress(ConnectionError):
            await socket.close()


@mixes
async def test_an_upgrade_that_the_server_refuses(protocols):
    async with chain(*protocols) as (_, proxies), aiohttp.ClientSession(proxies[0].url()) as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await session.ws_connect("/refused")
        assert caught.value.status == 403


@mixes
async def test_many_at_once_and_a_reader_that_is_slow(protocols):
    async with chain(*protocols) as (_, proxies), aiohttp.ClientSession(proxies[0].url()) as session:

        async def talk(number: int) -> None:
            async with session.ws_connect("/ws", max_msg_size=0) as socket:
                for turn in range(20):
                    await socket.send_str(f"{number} {turn}")
                    assert await socket.receive_str(timeout=10) == f"{number} {turn}"

        async def read_slowly() -> None:
            async with session.ws_connect("/ws", max_msg_size=0) as socket:

                async def write() -> None:
                    for _ in range(40):
                        await socket.send_bytes(bytes(100_000))

                async def read() -> None:
                    for _ in range(40):
                        await asyncio.sleep(0.005)
                        assert len(await socket.receive_bytes(timeout=10)) == 100_000

                await asyncio.gather(write(), read())

        await asyncio.gather(read_slowly(), *(talk(number) for number in range(20)))


# -- a browser

PAGE = """<!doctype html><title>echo</title><script>
const told = [];
const tell = () => fetch("/told", {method: "POST", body: JSON.stringify(told)});
const socket = new WebSocket(location.origin.replace("http", "ws") + "/ws", "chat");
socket.binaryType = "arraybuffer";
socket.onopen = () => { told.push("open " + socket.protocol); socket.send("hello ü"); };
socket.onerror = () => told.push("error");
socket.onclose = event => { told.push("close " + event.code + " " + event.reason); tell(); };
socket.onmessage = event => {
  if (typeof event.data === "string") {
    told.push("text " + event.data);
    socket.send(new Uint8Array(200000).buffer);
  } else {
    told.push("bytes " + event.data.byteLength);
    socket.send("leave");
  }
};
</script>
"""


def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        found = shutil.which(name)
        if found is not None:
            return found
    pytest.skip("there is no Chromium here; aiohttp's client speaks WebSocket in the other tests of this module")


@asynccontextmanager
async def browse(url: str, directory: Path):
    """A headless browser on `url`, with an empty profile of its own."""
    switches = (
        "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
        "disable-component-update disable-sync disable-dev-shm-usage ignore-certificate-errors"
    )
    process = await asyncio.create_subprocess_exec(
        chromium(),
        *(f"--{switch}" for switch in switches.split()),
        f"--user-data-dir={directory}",
        "--remote-debugging-port=0",
        url,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


SAID = ["open chat", "text hello ü", "bytes 200000", "close 4001 as you wish"]


async def test_a_browser_speaks_websocket(tmp_path):
    async with chain(H1) as (service, proxies), browse(proxies[0].url() + "/page", tmp_path):
        assert await asyncio.wait_for(service.report, 25) == SAID
        assert proxies[0].stats["http.http.downstream_cx_upgrades_total"] == 1
        assert proxies[0].stats["http.http.downstream_cx_http1_total"] > 0


async def test_a_browser_speaks_websocket_over_http2_and_tls(tmp_path):
    """It sends an extended CONNECT on the connection that brought the page, because the proxy says that it may."""
    async with chain(H1, tls=True) as (service, proxies):
        url = "https://{}:{}/page".format(*proxies[0].address("main"))
        async with browse(url, tmp_path):
            assert await asyncio.wait_for(service.report, 25) == SAID
        assert proxies[0].stats["http.http.downstream_cx_upgrades_total"] == 1
        assert proxies[0].stats["http.http.downstream_cx_http2_total"] > 0
        assert proxies[0].stats["http.http.downstream_cx_http1_total"] == 0


async def test_a_browser_through_two_proxies_that_speak_http2(tmp_path):
    async with chain(H2, H1, tls=True) as (service, proxies):
        url = "https://{}:{}/page".format(*proxies[0].address("main"))
        async with browse(url, tmp_path):
            assert await asyncio.wait_for(service.report, 25) == SAID
        assert proxies[1].stats["http.http.downstream_cx_http1_total"] == 0
        assert [proxy.stats["http.http.downstream_cx_upgrades_total"] for proxy in proxies] == [1, 1]
