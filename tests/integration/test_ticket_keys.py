"""Session ticket keys: two processes, and minienvoy and Envoy, that share them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import pytest

from minienvoy import Proxy
from minienvoy.testing.fake_upstream import FakeTcpUpstream

from .test_tls import COMMON, client_context, config, tcp_proxy

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


def keys(*letters: str) -> dict[str, Any]:
    return {**COMMON, "session_ticket_keys": {"keys": [{"inline_string": each * 80} for each in letters]}}


def talk(
    address: tuple[str, int], context: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[ssl.SSLSession | None, bool | None]:
    """(the session, whether it goes on with the one that was given)"""
    with socket.create_connection(address, 5) as raw, context.wrap_socket(raw, session=session) as wrapped:
        wrapped.sendall(b"x")
        assert wrapped.recv(1) == b"x"
        return wrapped.session, wrapped.session_reused


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_ticket_of_another_proxy_with_the_same_keys_is_good(version):
    context = client_context(minimum_version=version, maximum_version=version)
    async with FakeTcpUpstream() as service:
        up = {"up": [service.address]}
        async with (
            Proxy.from_dict(config(tcp_proxy(), keys("a")), endpoints=up) as one,
            Proxy.from_dict(config(tcp_proxy(), keys("b", "a")), endpoints=up) as rotated,
            Proxy.from_dict(config(tcp_proxy(), keys("b")), endpoints=up) as newest,
        ):
            session, reused = await asyncio.to_thread(talk, one.address(), context)
            assert not reused
            renewed, reused = await asyncio.to_thread(talk, rotated.address(), context, session)
            assert reused
            _, reused = await asyncio.to_thread(talk, newest.address(), context, renewed)
            assert reused, "a ticket of the older key was not renewed by the newer one"
            _, reused = await asyncio.to_thread(talk, newest.address(), context, session)
            assert not reused


@pytest.mark.asyncio
async def test_ticket_keys_beside_what_needs_pyopenssl_are_told_to_have_no_effect(tmp_path, capfd):
    common = {**COMMON["common_tls_context"], "key_log": {"path": str(tmp_path / "keys")}}
    async with (
        FakeTcpUpstream() as service,
        Proxy.from_dict(
            config(tcp_proxy(), {**keys("a"), "common_tls_context": common}), endpoints={"up": [service.address]}
        ) as proxy,
    ):
        assert "tickets of other proxies lead to a whole handshake" in capfd.readouterr().err
        session, _ = await asyncio.to_thread(
            talk, proxy.address(), context := client_context(maximum_version=ssl.TLSVersion.TLSv1_2)
        )
        _, reused = await asyncio.to_thread(talk, proxy.address(), context, session)
        assert reused, "its own tickets are good"


@pytest.mark.asyncio
async def test_a_ticket_of_envoy_leads_to_a_whole_handshake_and_so_does_ours_at_envoy(tmp_path):
    """What is in a ticket is the library's own: BoringSSL's sessions are not OpenSSL's. Nothing fails."""
    from tests.conformance.proxies import ProxyProcess

    envoy = ProxyProcess("envoy", tmp_path)
    async with FakeTcpUpstream() as service:
        bootstrap: Any = config(tcp_proxy(), keys("a"))
        host, _, port = service.address.rpartition(":")
        address = {"socket_address": {"address": host, "port_value": int(port)}}
        endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
        bootstrap["static_resources"]["clusters"][0]["load_assignment"]["endpoints"] = endpoints
        async with Proxy.from_dict(bootstrap) as ours:
            await envoy.start(bootstrap)
            try:
                theirs = (await envoy.listener_addresses())["main"][0]
                for first, second in ((theirs, ours.address()), (ours.address(), theirs)):
                    for version in VERSIONS:
                        context = client_context(minimum_version=version, maximum_version=version)
                        session, _ = await asyncio.to_thread(talk, first, context)
                        _, reused = await asyncio.to_thread(talk, second, context, session)
                        assert not reused
                        _, reused = await asyncio.to_thread(talk, first, context, session)
                        assert reused
            finally:
                await envoy.stop()
