"""The TLS of Envoy's own examples as their files have it, with generated certificates in place of what is missing.

Their certificates are inline, and so stay; the services behind them are of an authority of the test.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from minienvoy import Proxy
from minienvoy.network.x509 import Certificate
from minienvoy.testing import ca
from minienvoy.testing.fake_upstream import FakeTcpUpstream, FakeUpstream

EXAMPLES = Path(__file__).parents[1] / "data" / "examples"
UPGRADE = (
    b"GET /chat HTTP/1.1\r\nhost: a.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"


def client(*protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


def served(name: str, *protocols: str, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """What a service speaks TLS with."""
    context = ca().issue(name).server_context()
    if protocols:
        context.set_alpn_protocols(protocols)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


@asynccontextmanager
async def connected(
    proxy: Proxy, tls: ssl.SSLContext | None, listener: str | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with asyncio.timeout(10):
        name = "a.test" if tls is not None else None
        reader, writer = await asyncio.open_connection(*proxy.address(listener), ssl=tls, server_hostname=name)
        yield reader, writer
        writer.close()


async def ask(
    proxy: Proxy, tls: ssl.SSLContext | None, path: str = "/", listener: str | None = None
) -> tuple[bytes, str]:
    """(answer, subject of the certificate that was shown)"""
    async with connected(proxy, tls, listener) as (reader, writer):
        writer.write(f"GET {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n".encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        answer += await reader.readexactly(int(re.findall(rb"(?i)content-length: (\d+)", answer)[0]))
        session = writer.get_extra_info("ssl_object")
        shown = Certificate(session.getpeercert(True)).subject if session is not None else ""
        return answer, shown


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "cluster", "front", "behind"),
    [
        ("tls/envoy-https-http.yaml", "service-http", True, False),
        ("tls/envoy-http-https.yaml", "service-https", False, True),
        ("tls/envoy-https-https.yaml", "service-https", True, True),
    ],
)
async def test_requests_pass_with_tls_on_either_side_or_both(name, cluster, front, behind):
    tls = served("service", version=ssl.TLSVersion.TLSv1_3) if behind else None
    async with (
        FakeUpstream("served", tls=tls) as service,
        Proxy.from_yaml(EXAMPLES / name, endpoints={cluster: [service.address]}, certificates="generated") as proxy,
    ):
        answer, shown = await ask(proxy, client() if front else None)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"served")
        assert shown == ("CN=front-envoy" if front else "")
        assert service.requests[0]["x-forwarded-proto"] == ("https" if front else "http")
        if behind:
            assert proxy.stats[f"cluster.{cluster}.ssl.versions.TLSv1.3"] == 1


@pytest.mark.asyncio
async def test_each_path_goes_to_the_service_with_its_own_name():
    names: list[str | None] = []

    def note(session: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        names.append(name)

    tls = served("proxy")
    tls.sni_callback = note
    async with FakeUpstream("served", tls=tls) as service:
        endpoints = {f"proxy-client-domain{number}": [service.address] for number in (1, 2, 3)}
        async with Proxy.from_yaml(
            EXAMPLES / "tls-sni/envoy-client.yaml", endpoints=endpoints, certificates="generated"
        ) as proxy:
            for number in (1, 2, 3):
                answer, _ = await ask(proxy, None, f"/domain{number}")
                assert answer.endswith(b"served")
    assert names == ["domain1.example.com", "domain2.example.com", "domain3.example.com"]


@pytest.mark.asyncio
async def test_the_inspector_tells_tls_from_plain_bytes_and_protocols_from_each_other():
    async with (
        FakeTcpUpstream(b"h2", tls=served("one", "h2")) as two,
        FakeTcpUpstream(b"http/1.1", tls=served("zero", "http/1.1")) as one,
        FakeUpstream("plain") as plain,
        Proxy.from_yaml(
            EXAMPLES / "tls-inspector/envoy.yaml",
            endpoints={
                "service-https1": [two.address],
                "service-https0": [one.address],
                "service-http": [plain.address],
            },
            certificates="generated",
        ) as proxy,
    ):
        for protocol in ("h2", "http/1.1"):
            async with connected(proxy, client(protocol)) as (reader, _):
                assert await reader.readexactly(len(protocol)) == protocol.encode()
        answer, _ = await ask(proxy, None)
        assert answer.endswith(b"plain")
        assert proxy.stats["tls_inspector.alpn_found"] == 2
        assert proxy.stats["tls_inspector.tls_not_found"] == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "cluster", "shown"),
    [
        ("websocket/envoy-wss.yaml", "service_wss", "CN=front-envoy"),
        ("websocket/envoy-wss-passthrough.yaml", "service_wss_passthrough", "CN=service"),
        ("tls/envoy-https-passthrough.yaml", "service-https", "CN=service"),
    ],
)
async def test_a_websocket_over_tls_is_passed_on(name, cluster, shown):
    context = ca().issue("service", common_name="service").server_context()
    async with (
        FakeTcpUpstream(answers=[ACCEPTED, b"one", b"two"], tls=context) as service,
        Proxy.from_yaml(EXAMPLES / name, endpoints={cluster: [service.address]}, certificates="generated") as proxy,
        connected(proxy, client()) as (reader, writer),
    ):
        writer.write(UPGRADE)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        for answer in (b"one", b"two"):
            writer.write(b"\x81\x85\x00\x00\x00\x00hello")
            assert await reader.readexactly(3) == answer
        certificate = Certificate(writer.get_extra_info("ssl_object").getpeercert(True))
        assert certificate.subject == shown


@pytest.mark.asyncio
async def test_a_listener_with_tls_beside_one_without():
    config = yaml.safe_load((EXAMPLES / "front-proxy/envoy.yaml").read_text())
    for name, listener in zip(("plain", "secure"), config["static_resources"]["listeners"], strict=True):
        listener["name"] = name
    async with FakeUpstream("served") as service:
        endpoints = {key: [service.address] for key in ("service1-envoy", "service2-envoy")}
        async with Proxy.from_dict(config, endpoints=endpoints, certificates="generated") as proxy:
            for number in (1, 2):
                answer, _ = await ask(proxy, None, f"/service/{number}", "plain")
                assert answer.endswith(b"served")
                answer, shown = await ask(proxy, client(), f"/service/{number}", "secure")
                assert answer.endswith(b"served")
                assert shown == "CN=front-envoy"
