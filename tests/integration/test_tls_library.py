"""TLS by pyOpenSSL, with real sockets: what Python's `ssl` has no words for, and that a session is a session."""

from __future__ import annotations

import asyncio
import socket
from base64 import b64encode
from typing import Any

import pytest
from OpenSSL import SSL

from minienvoy import Proxy
from minienvoy.errors import ConfigError
from minienvoy.testing import ca
from minienvoy.testing.fake_upstream import FakeTcpUpstream, FakeUpstream

from .test_tls import EXAMPLES, TLS, certificate, client_context, config, source, tcp_proxy

CURVES = {"tls_params": {"ecdh_curves": ["P-384", "P-256"]}}


def with_library(**more: Any) -> dict[str, Any]:
    return {"common_tls_context": {"tls_certificates": [certificate()], **CURVES, **more}}


@pytest.mark.asyncio
async def test_megabytes_go_both_ways_and_the_end_is_said():
    body = bytes(range(256)) * 16_000
    async with (
        FakeTcpUpstream() as echo,
        Proxy.from_dict(config(tcp_proxy(), with_library()), endpoints={"up": [echo.address]}) as proxy,
        asyncio.timeout(20),
    ):
        reader, writer = await asyncio.open_connection(*proxy.address(), ssl=client_context())
        assert writer.get_extra_info("ssl_object").cipher()[1] == "TLSv1.3"
        sending = asyncio.ensure_future(_send(writer, body))
        assert await reader.readexactly(len(body)) == body
        await sending
        writer.close()
        await writer.wait_closed()
        assert proxy.stats["listener.main.ssl.curves.P-384"] == 1


async def _send(writer: asyncio.StreamWriter, body: bytes) -> None:
    writer.write(body)
    await writer.drain()


def _stapled(address: tuple[str, int]) -> bytes:
    """The OCSP response that comes with the certificate."""
    seen: list[bytes] = []

    def on_response(connection: SSL.Connection, response: bytes, data: object) -> bool:
        seen.append(response)
        return True

    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_ocsp_client_callback(on_response)
    with socket.create_connection(address, 5) as raw:
        raw.setblocking(True)
        connection = SSL.Connection(context, raw)
        connection.request_ocsp()
        connection.set_connect_state()
        connection.do_handshake()
        connection.send(b"hi")
        assert connection.recv(2) == b"hi"
        connection.shutdown()
    return seen[0]


def _stapling(staple: str, policy: str) -> dict[str, Any]:
    shown = {**certificate(), "ocsp_staple": source(staple)}
    return {"common_tls_context": {"tls_certificates": [shown]}, "ocsp_staple_policy": policy}


@pytest.mark.asyncio
@pytest.mark.parametrize("policy", ["LENIENT_STAPLING", "STRICT_STAPLING", "MUST_STAPLE"])
async def test_a_client_that_asks_gets_the_staple(policy):
    async with (
        FakeTcpUpstream() as echo,
        Proxy.from_dict(
            config(tcp_proxy(), _stapling("server.ocsp", policy)), endpoints={"up": [echo.address]}
        ) as proxy,
    ):
        assert await asyncio.to_thread(_stapled, proxy.address()) == (TLS / "server.ocsp").read_bytes()
        assert proxy.stats["listener.main.ssl.ocsp_staple_requests"] == 1
        assert proxy.stats["listener.main.ssl.ocsp_staple_responses"] == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("policy", "counter"),
    [("LENIENT_STAPLING", "omitted"), ("STRICT_STAPLING", "failed"), ("MUST_STAPLE", "failed")],
)
async def test_an_old_staple_is_left_out_or_is_the_end_of_the_session(policy, counter, caplog):
    async with (
        FakeTcpUpstream() as echo,
        Proxy.from_dict(
            config(tcp_proxy(), _stapling("server_expired.ocsp", policy)), endpoints={"up": [echo.address]}
        ) as proxy,
    ):
        if counter == "omitted":
            assert await asyncio.to_thread(_stapled, proxy.address()) == b""
        else:
            with pytest.raises(SSL.Error):
                await asyncio.to_thread(_stapled, proxy.address())
        assert proxy.stats[f"listener.main.ssl.ocsp_staple_{counter}"] == 1
        assert "data_received" not in caplog.text, "the end of a handshake is no surprise"


@pytest.mark.asyncio
@pytest.mark.parametrize(("addresses", "logged"), [("127.0.0.0", True), ("10.0.0.0", False)])
async def test_keys_of_sessions_are_logged_for_some_addresses_into_a_file_of_our_own(tmp_path, addresses, logged):
    path = tmp_path / "keys"
    log = {"path": str(path), "remote_address_range": [{"address_prefix": addresses, "prefix_len": 8}]}
    context = {"common_tls_context": {"tls_certificates": [certificate()], "key_log": log}}
    async with (
        FakeTcpUpstream(b"hello") as up,
        Proxy.from_dict(config(tcp_proxy(), context), endpoints={"up": [up.address]}) as proxy,
    ):
        reader, writer = await asyncio.open_connection(*proxy.address(), ssl=client_context())
        assert await reader.readexactly(5) == b"hello"
        writer.close()
    assert path.stat().st_mode & 0o077 == 0
    assert (b"CLIENT_TRAFFIC_SECRET_0 " in path.read_bytes()) is logged


@pytest.mark.asyncio
async def test_what_is_kept_of_sessions_with_upstreams_is_used_again_and_verified_again():
    authority = ca()
    upstream = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": "a.test",
        "auto_sni_san_validation": True,
        "common_tls_context": {
            "validation_context": {"trusted_ca": {"inline_string": authority.certificate.decode()}},
            **CURVES,
        },
    }
    made = config(tcp_proxy(), with_library())
    made["static_resources"]["clusters"][0]["transport_socket"] = {"name": "tls", "typed_config": upstream}
    server = authority.issue("a.test").server_context()
    async with (
        FakeTcpUpstream(b"hello", tls=server) as up,
        Proxy.from_dict(made, endpoints={"up": [up.address]}) as proxy,
    ):
        for _ in range(3):
            reader, writer = await asyncio.open_connection(*proxy.address(), ssl=client_context())
            assert await reader.readexactly(5) == b"hello"
            writer.close()
            await writer.wait_closed()
        assert proxy.stats["cluster.up.ssl.handshake"] == 3
        assert proxy.stats["cluster.up.ssl.session_reused"] == 2


@pytest.mark.asyncio
async def test_no_secret_is_in_the_dump_the_log_or_an_explanation(fetch, caplog, capfd):
    """Keys, PKCS#12, passwords, keys of tickets; in clear, in base64, of a context that works and of one that fails."""
    key, ticket = (TLS / "server.key").read_text(), "0123456789abcdef" * 5
    shown = {"certificate_chain": source("server.pem"), "private_key": {"inline_string": key}}
    bundle = b64encode((TLS / "server_ecdsa_secret.p12").read_bytes()).decode()
    packed = {"pkcs12": {"inline_bytes": bundle}, "password": {"inline_string": "secret"}}
    context = {
        "common_tls_context": {"tls_certificates": [shown, packed], **CURVES},
        "session_ticket_keys": {"keys": [{"inline_string": ticket}]},
    }
    secrets = [key.splitlines()[3], ticket, b64encode(ticket.encode()).decode()[:40], bundle[:60], '"secret"']
    told = []
    async with (
        FakeTcpUpstream(b"hello") as up,
        Proxy.from_dict(config(tcp_proxy(), context), endpoints={"up": [up.address]}) as proxy,
    ):
        reader, writer = await asyncio.open_connection(*proxy.address(), ssl=client_context())
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        await writer.wait_closed()
        for path in ("/config_dump?include_eds", "/certs", "/clusters?format=json", "/minienvoy/explain", "/listeners"):
            told.append((await fetch(f"{proxy.url('admin')}{path}")).body.decode())
        told += [str(each) for each in proxy.explain]
    wrong = {**packed, "password": {"inline_string": "wrong"}}
    with pytest.raises(ConfigError) as refused:
        async with Proxy.from_dict(config(tcp_proxy(), {"common_tls_context": {"tls_certificates": [wrong]}})):
            pass
    told += [str(refused.value), caplog.text, *capfd.readouterr()]
    assert "[redacted]" in told[0]
    for text in told:
        assert not [secret for secret in secrets if secret in text]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "secure"), [("tls/envoy-http-https.yaml", False), ("tls/envoy-https-https.yaml", True)]
)
async def test_the_examples_with_tls_upstreams_run(fetch, name, secure):
    server = ca().issue("service").server_context()
    async with (
        FakeUpstream("hello", tls=server) as service,
        Proxy.from_yaml(EXAMPLES / name, endpoints={"service-https": [service.address]}) as proxy,
    ):
        context = client_context() if secure else None
        reader, writer = await asyncio.open_connection(*proxy.address(), ssl=context)
        writer.write(b"GET /there HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"hello")
        writer.close()
        assert [request.path for request in service.requests] == ["/there"]
        assert proxy.stats["cluster.service-https.ssl.handshake"] == 1


@pytest.mark.asyncio
async def test_the_example_of_server_names_says_a_name_to_each_upstream(fetch):
    asked: list[str] = []
    authority = ca()
    context = authority.issue("domain1.example.com").server_context()
    context.sni_callback = lambda session, name, _: asked.append(name)
    async with FakeUpstream("hello", tls=context) as service:
        endpoints = {f"proxy-client-domain{number}": [service.address] for number in (1, 2, 3)}
        async with Proxy.from_yaml(EXAMPLES / "tls-sni/envoy-client.yaml", endpoints=endpoints) as proxy:
            for number in (1, 2, 3):
                answer = await fetch(f"{proxy.url()}/domain{number}")
                assert answer.status == 200
    assert asked == [f"domain{number}.example.com" for number in (1, 2, 3)]


@pytest.mark.asyncio
async def test_starttls_begins_when_a_filter_says_so():
    """As a filter that understands a protocol would: after one plain exchange."""
    from minienvoy.network.connection import ConnectionCloseType
    from minienvoy.network.filter import FilterStatus, ReadFilter

    class Starter(ReadFilter):
        def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
            if data == b"STARTTLS":
                self.connection.write(b"go ahead")
                assert self.connection.start_tls is not None
                assert self.connection.start_tls()
                assert not self.connection.start_tls()
            elif end_stream:
                self.connection.close(ConnectionCloseType.FLUSH_WRITE)
            else:
                self.connection.write(data.upper())
            return FilterStatus.STOP_ITERATION

    made = config(tcp_proxy(), {})
    chain = made["static_resources"]["listeners"][0]["filter_chains"][0]
    chain["transport_socket"] = {
        "name": "starttls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.starttls.v3.StartTlsConfig",
            "tls_socket_config": {"common_tls_context": {"tls_certificates": [certificate()]}},
        },
    }
    async with Proxy.from_dict(made) as proxy:
        (listener,) = proxy.server.listener_manager.listeners()
        listener.filter_chain_manager.filter_chains[0].filters = (Starter,)

        def talk() -> list[bytes]:
            with socket.create_connection(proxy_address, 5) as raw:
                raw.sendall(b"hello")
                heard = [raw.recv(5)]
                raw.sendall(b"STARTTLS")
                heard.append(raw.recv(8))
                with client_context().wrap_socket(raw) as secured:
                    secured.sendall(b"secret")
                    heard.append(secured.recv(6))
                    return heard

        proxy_address = proxy.address()
        assert await asyncio.to_thread(talk) == [b"HELLO", b"go ahead", b"SECRET"]
        assert proxy.stats["listener.main.ssl.handshake"] == 1
