"""TLS with real sockets: how sessions end, what is resumed, and what is never told."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector, web

from minienvoy import Proxy
from minienvoy.errors import ConfigError
from minienvoy.testing.fake_upstream import FakeTcpUpstream, FakeUpstream

TLS = Path(__file__).parents[1] / "data" / "tls"
EXAMPLES = Path(__file__).parents[1] / "data" / "examples"
TYPES = "type.googleapis.com/envoy.extensions"


def client_context(**settings: object) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name, value in settings.items():
        setattr(context, name, value)
    return context


def source(name: str) -> dict[str, str]:
    return {"filename": str(TLS / name)}


def certificate(name: str = "server") -> dict[str, object]:
    return {"certificate_chain": source(f"{name}.pem"), "private_key": source(f"{name}.key")}


def config(filters: list[object], context: dict[str, object]) -> dict[str, object]:
    socket = {
        "name": "tls",
        "typed_config": {"@type": f"{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext", **context},
    }
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}}}}
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {
            "listeners": [
                {
                    "name": "main",
                    "stat_prefix": "main",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                    "filter_chains": [{"filters": filters, "transport_socket": socket}],
                }
            ],
            "clusters": [
                {"name": "up", "load_assignment": {"cluster_name": "up", "endpoints": [{"lb_endpoints": [endpoint]}]}}
            ],
        },
    }


def tcp_proxy() -> list[object]:
    typed = {"@type": f"{TYPES}.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "t", "cluster": "up"}
    return [{"name": "envoy.filters.network.tcp_proxy", "typed_config": typed}]


COMMON = {"common_tls_context": {"tls_certificates": [certificate()]}}


@pytest.mark.asyncio
async def test_a_long_body_arrives_whole_although_the_connection_closes_behind_it():
    body = bytes(range(256)) * 20_000
    async with (
        FakeUpstream(body) as service,
        Proxy.from_yaml(EXAMPLES / "tls/envoy-https-http.yaml", endpoints={"service-http": [service.address]}) as proxy,
        asyncio.timeout(20),
    ):
        reader, writer = await asyncio.open_connection(*proxy.address(), ssl=client_context(), limit=4096)
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        await asyncio.sleep(0.3)  # nobody reads: the kernel's buffers are full
        received = await reader.read()
        assert received.partition(b"\r\n\r\n")[2] == body
        writer.close()


@pytest.mark.asyncio
async def test_the_end_of_a_session_is_said():
    """A client that insists on a close_notify gets one."""
    async with (
        FakeUpstream("ok") as service,
        Proxy.from_yaml(EXAMPLES / "tls/envoy-https-http.yaml", endpoints={"service-http": [service.address]}) as proxy,
    ):
        host, port = proxy.address()

        def talk() -> bytes:
            import socket

            with (
                socket.create_connection((host, port), 5) as raw,
                client_context().wrap_socket(raw, suppress_ragged_eofs=False) as wrapped,
            ):
                wrapped.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                received = b""
                while data := wrapped.recv(4096):
                    received += data
                return received

        received = await asyncio.to_thread(talk)
        assert received.endswith(b"\r\n\r\nok")


@pytest.mark.asyncio
async def test_a_session_is_resumed():
    context = client_context(maximum_version=ssl.TLSVersion.TLSv1_2)
    async with (
        FakeTcpUpstream() as service,
        Proxy.from_dict(config(tcp_proxy(), COMMON), endpoints={"up": [service.address]}) as proxy,
    ):
        host, port = proxy.address()

        def talk(session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool | None]:
            import socket

            with (
                socket.create_connection((host, port), 5) as raw,
                context.wrap_socket(raw, session=session) as wrapped,
            ):
                wrapped.sendall(b"x")
                assert wrapped.recv(1) == b"x"
                return wrapped.session, wrapped.session_reused

        session, reused = await asyncio.to_thread(talk, None)
        assert not reused
        _, reused = await asyncio.to_thread(talk, session)
        assert reused
        assert proxy.stats["listener.main.ssl.session_reused"] == 1
        assert proxy.stats["listener.main.ssl.handshake"] == 2


@pytest.mark.asyncio
async def test_what_was_sent_before_the_end_is_answered_through_a_tcp_proxy():
    async with (
        FakeTcpUpstream() as service,
        Proxy.from_dict(config(tcp_proxy(), COMMON), endpoints={"up": [service.address]}) as proxy,
        asyncio.timeout(10),
    ):
        reader, writer = await asyncio.open_connection(*proxy.address(), ssl=client_context())
        for size in (1, 100_000, 1_000_000):
            data = bytes([size % 251]) * size
            writer.write(data)
            assert await reader.readexactly(size) == data
        writer.close()


@pytest.mark.asyncio
async def test_keys_are_never_shown(fetch):
    context = {
        "common_tls_context": {
            "tls_certificates": [
                {
                    "certificate_chain": {"inline_string": (TLS / "server.pem").read_text()},
                    "private_key": {"inline_string": (TLS / "server.key").read_text()},
                }
            ]
        }
    }
    async with Proxy.from_dict(config(tcp_proxy(), context)) as proxy:
        dump = (await fetch(f"{proxy.url('admin')}/config_dump")).body.decode()
        assert "[redacted]" in dump
        assert "PRIVATE KEY" not in dump


@pytest.mark.asyncio
async def test_an_encrypted_key_is_opened_with_its_password(monkeypatch):
    monkeypatch.setenv("KEY_PASSWORD", "secret")
    shown = {
        "certificate_chain": source("client.pem"),
        "private_key": source("client_encrypted.key"),
        "password": {"environment_variable": "KEY_PASSWORD"},
    }
    async with (
        FakeTcpUpstream() as service,
        Proxy.from_dict(
            config(tcp_proxy(), {"common_tls_context": {"tls_certificates": [shown]}}),
            endpoints={"up": [service.address]},
        ) as proxy,
        asyncio.timeout(10),
    ):
        _, writer = await asyncio.open_connection(*proxy.address(), ssl=client_context())
        der = writer.get_extra_info("ssl_object").getpeercert(True)
        assert der == ssl.PEM_cert_to_DER_cert((TLS / "client.pem").read_text())
        writer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("shown", "says"),
    [
        (
            {**certificate(), "password": {"inline_string": "wrong"}, "private_key": source("client_encrypted.key")},
            "key",
        ),
        ({"certificate_chain": source("server.pem"), "private_key": source("client_encrypted.key")}, "key"),
        ({"certificate_chain": source("server.pem"), "private_key": source("client.key")}, "private key"),
        ({"certificate_chain": source("server.key"), "private_key": source("server.key")}, "certificate chain"),
    ],
)
async def test_a_certificate_that_can_not_be_used_is_refused_and_the_key_is_not_told(shown, says):
    with pytest.raises(ConfigError, match=says) as refused:
        async with Proxy.from_dict(config(tcp_proxy(), {"common_tls_context": {"tls_certificates": [shown]}})):
            pass
    assert "PRIVATE" not in str(refused.value)
    assert "tls_certificates[0]" in refused.value.path


@pytest.mark.asyncio
async def test_what_was_connected_and_says_nothing_ends_with_the_proxy():
    async with Proxy.from_dict(config(tcp_proxy(), COMMON)) as proxy:
        reader, writer = await asyncio.open_connection(*proxy.address())
        await asyncio.sleep(0.05)
        assert proxy.stats["listener.main.downstream_cx_active"] == 1
    async with asyncio.timeout(5):
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass
    writer.close()


@pytest.mark.asyncio
async def test_websocket_over_tls_on_both_sides():
    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data.upper())
        return socket

    app = web.Application()
    app.router.add_get("/", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem", TLS / "server.key")
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        (host, port) = runner.addresses[0]
        endpoints = {"service_wss": [f"{host}:{port}"]}
        async with (
            asyncio.timeout(10),
            Proxy.from_yaml(EXAMPLES / "websocket/envoy-wss.yaml", endpoints=endpoints) as proxy,
            ClientSession(connector=TCPConnector(ssl=client_context())) as session,
        ):
            address, number = proxy.address()
            async with session.ws_connect(f"wss://{address}:{number}/") as socket:
                for word in ("one", "two", "x" * 100_000):
                    await socket.send_str(word)
                    assert await socket.receive_str() == word.upper()
            assert proxy.stats["cluster.service_wss.ssl.handshake"] == 1
    finally:
        await runner.cleanup()
