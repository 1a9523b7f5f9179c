"""Listeners with real sockets: where they listen, whom they take, how they end."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from minienvoy.errors import ConfigError
from minienvoy.network.filter import LISTENER_FILTERS, FilterStatus, ListenerFilter, ListenerFilterFactory
from minienvoy.network.socket import ConnectionSocket
from minienvoy.server.active_tcp_listener import BACK_OFF
from minienvoy.server.listener_manager import StopListenersType
from tests.integration.l4_server import (
    ANYWHERE,
    ECHO,
    Backend,
    L4Server,
    Peer,
    cluster,
    file_log,
    l4_server,
    run,
    tcp_proxy,
)

LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
PREFIX = "listener.127.0.0.1_0."


def direct(text: str) -> dict[str, Any]:
    return {
        "name": "direct",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config",
            "response": {"inline_string": text},
        },
    }


async def echoes(address: Any, family: int = socket.AF_INET) -> bool:
    with await Peer.connect(address, family) as client:
        await client.send(b"ping")
        client.fin()
        return await client.end() == (b"ping", "FIN")


@LOOPS
def test_tcp_and_unix_sockets_and_additional_addresses(loop: str, tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "s")
        additional = [
            {"address": {"pipe": {"path": path}}},
            {"address": {"pipe": {"path": "@minienvoy-test-listener"}}},
            {"address": {"socket_address": {"address": "::1", "port_value": 0}}},
        ]
        async with l4_server(ECHO, additional_addresses=additional) as server:
            assert await echoes(("127.0.0.1", server.port()))
            assert await echoes(path, socket.AF_UNIX)
            assert await echoes("\0minienvoy-test-listener", socket.AF_UNIX)
            assert await echoes(("::1", server.port(at=3)), socket.AF_INET6)
            assert server.value(PREFIX + "downstream_cx_total") == 4
            assert server.value(PREFIX + "worker_0.downstream_cx_total") == 4
            assert server.value(PREFIX + "downstream_cx_destroy") == 4

    run(main, loop)


@LOOPS
def test_echo_reads_no_faster_than_it_is_read(loop: str) -> None:
    async def main() -> None:
        data = bytes(range(256)) * 160_000
        async with l4_server(ECHO, per_connection_buffer_limit_bytes=10_000) as server:
            with await Peer.connect(("127.0.0.1", server.port())) as client:
                sending = asyncio.ensure_future(client.send(data))
                await asyncio.sleep(0.1)
                assert not sending.done()
                assert await client.receive(len(data)) == data
                await sending

    run(main, loop)


@LOOPS
def test_direct_response_is_sent_and_the_connection_closed(loop: str) -> None:
    async def main() -> None:
        text = "x" * 3_000_000
        async with l4_server(direct(text)) as server:
            with await Peer.connect(("127.0.0.1", server.port())) as client:
                assert await client.end() == (text.encode(), "FIN")

    run(main, loop)


def test_two_listeners_of_port_0_share_their_stats() -> None:
    async def main() -> None:
        async with l4_server(ECHO) as server:
            server.add_listener(ECHO, name="second")
            assert await echoes(("127.0.0.1", server.port("second")))
            assert await echoes(("127.0.0.1", server.port()))
            assert server.value(PREFIX + "downstream_cx_total") == 2
            assert server.value("listener_manager.total_listeners_active") == 2

    run(main)


def test_stat_prefix_takes_the_place_of_the_address() -> None:
    async def main() -> None:
        async with l4_server(ECHO, stat_prefix="front") as server:
            assert await echoes(("127.0.0.1", server.port()))
            assert server.value("listener.front.downstream_cx_total") == 1

    run(main)


def test_listener_without_a_socket_listens_nowhere() -> None:
    async def main() -> None:
        async with l4_server(ECHO, bind_to_port=False) as server:
            (listener,) = server.listener_manager.listeners()
            assert [each.text for each in listener.local_addresses] == ["127.0.0.1:0"]

    run(main)


@LOOPS
def test_filter_chain_is_chosen_by_where_the_client_comes_from(loop: str) -> None:
    async def main() -> None:
        chains = [
            {
                "name": "nine",
                "filter_chain_match": {"source_prefix_ranges": [{"address_prefix": "127.0.0.9", "prefix_len": 32}]},
                "filters": [direct("nine")],
            },
            {
                "name": "port",
                "filter_chain_match": {"destination_port": 1},
                "filters": [direct("port")],
            },
        ]
        default = {"name": "rest", "filters": [direct("rest")]}
        async with l4_server(filter_chains=chains, default_filter_chain=default) as server:
            for source, answer in [("127.0.0.9", b"nine"), ("127.0.0.8", b"rest")]:
                raw = socket.create_connection(("127.0.0.1", server.port()), source_address=(source, 0))
                with Peer(raw) as client:
                    assert await client.end() == (answer, "FIN")

    run(main, loop)


@LOOPS
def test_connection_that_no_chain_wants_is_closed_and_logged(loop: str, tmp_path: Path) -> None:
    async def main() -> None:
        log = tmp_path / "log"
        chains = [{"filter_chain_match": {"destination_port": 1}, "filters": [ECHO]}]
        async with l4_server(filter_chains=chains, access_log=[file_log(log)]) as server:
            client = Peer(socket.create_connection(("127.0.0.1", server.port())))
            with client:
                assert await client.end() == (b"", "FIN")
            with Peer(socket.create_connection(("127.0.0.1", server.port()))) as client:
                client.raw.sendall(b"x")
                assert await client.end() == (b"", "RST")
            assert server.value(PREFIX + "no_filter_chain_match") == 2
            assert server.value(PREFIX + "downstream_cx_total") == 0
            assert server.explanations.last()["filter_chain"].because == "filter_chain_not_found"
            await server.until(lambda: log.exists() and log.read_text().count("\n") == 2)
            assert log.read_text().startswith("NR 0 0 - ")

    run(main, loop)


def test_listeners_own_log_has_a_line_for_each_connection(tmp_path: Path) -> None:
    async def main() -> None:
        log = tmp_path / "log"
        async with l4_server(ECHO, access_log=[file_log(log)]) as server:
            assert await echoes(("127.0.0.1", server.port()))
            await server.until(log.exists)
            await server.until(lambda: log.read_text().startswith("- 4 4 - "))

    run(main)


def test_chain_without_filters_closes() -> None:
    async def main() -> None:
        async with l4_server(filter_chains=[{"name": "empty"}]) as server:
            with await Peer.connect(("127.0.0.1", server.port())) as client:
                assert await client.end() == (b"", "FIN")
            assert server.value(PREFIX + "downstream_cx_destroy") == 1
            assert server.value(PREFIX + "network_extension_config_missing") == 1

    run(main)


def test_connection_that_no_filter_inspected_is_raw() -> None:
    async def main() -> None:
        chains = [
            {"filter_chain_match": {"transport_protocol": name}, "filters": [direct(name)]}
            for name in ("tls", "raw_buffer")
        ]
        async with l4_server(filter_chains=chains) as server:
            with await Peer.connect(("127.0.0.1", server.port())) as client:
                assert await client.end() == (b"raw_buffer", "FIN")

    run(main)


@pytest.mark.parametrize("named", [False, True])
def test_nameless_peer_of_a_unix_socket_is_called_as_the_listener(named: bool, tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "s")
        async with l4_server(ECHO, address={"pipe": {"path": path}}) as server:
            with socket.socket(socket.AF_UNIX) as client:
                if named:
                    client.bind(str(tmp_path / "c"))
                client.setblocking(False)
                await asyncio.get_running_loop().sock_connect(client, path)
                active = server.listener_manager.listeners()[0]._active_listener.connections
                await server.until(lambda: bool(active))
                (connection,) = [each.connection for each in active]
                assert str(connection.info.remote_address) == (str(tmp_path / "c") if named else path)

    run(main)


def test_connection_limits_of_the_runtime() -> None:
    async def main() -> None:
        runtime = {
            "envoy.resource_limits.listener.l.connection_limit": 1,
            "overload.global_downstream_max_connections": 2,
        }
        async with l4_server(ECHO, runtime=runtime) as server:
            server.add_listener(ECHO, name="m", stat_prefix="m")
            server.add_listener(ECHO, name="free", stat_prefix="free", ignore_global_conn_limit=True)
            with await Peer.connect(("127.0.0.1", server.port())) as first:
                await first.send(b"x")
                assert await first.receive(1) == b"x"
                with await Peer.connect(("127.0.0.1", server.port())) as second:
                    assert (await second.end())[0] == b""
                assert server.value(PREFIX + "downstream_cx_overflow") == 1
                with await Peer.connect(("127.0.0.1", server.port("m"))) as third:
                    await third.send(b"x")
                    assert await third.receive(1) == b"x"
                    with await Peer.connect(("127.0.0.1", server.port("m"))) as fourth:
                        assert (await fourth.end())[0] == b""
                    assert server.value("listener.m.downstream_global_cx_overflow") == 1
                    assert await echoes(("127.0.0.1", server.port("free")))
            await server.until(lambda: server.value(PREFIX + "downstream_cx_active") == 0)
            assert await echoes(("127.0.0.1", server.port()))

    run(main)


@LOOPS
def test_accepting_goes_on_when_there_are_file_descriptors_again(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[float] = []

    class NoDescriptors(socket.socket):
        """A listening socket in a process that has no file descriptor left."""

        def accept(self) -> Any:
            calls.append(asyncio.get_running_loop().time())
            if len(calls) <= 2:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return super().accept()

    async def main() -> None:
        async with l4_server(ECHO) as server:
            (listener,) = server.listener_manager.listeners()
            listener._active_listener.stop()
            raw = listener._sockets[0]
            limited = NoDescriptors(raw.family, raw.type, 0, fileno=raw.detach())
            listener._sockets[0] = limited
            listener._active_listener.start(listener._sockets)
            assert await echoes(("127.0.0.1", server.port()))
            assert calls[1] - calls[0] >= BACK_OFF * 0.9, "it does not spin"
            assert calls[2] - calls[1] >= BACK_OFF * 0.9

    run(main, loop)


def test_configuration_errors_are_in_envoys_words() -> None:
    async def refused(*filters: dict[str, Any], **fields: Any) -> str:
        async with l4_server() as server:
            with pytest.raises(ConfigError) as error:
                server.add_listener(*filters, **fields)
            assert server.listener_manager.listeners() == []
            assert error.value.path.startswith("listeners[0]")
            assert not [each for each in server.stats.counters() if each.name.startswith("listener.")]
            return error.value.problem

    async def main() -> None:
        on_80 = {"filter_chain_match": {"destination_port": 80}, "filters": [ECHO]}
        duplicates = [{"name": "x", **on_80}, {"name": "z", **on_80}]
        assert await refused(filter_chains=duplicates) == (
            "error adding listener '127.0.0.1:0': filter chain 'z' has the same matching rules defined as 'x'. "
            'duplicate matcher is: {"destination_port":80}'
        )
        assert await refused(filter_chains=[]) == "error adding listener '127.0.0.1:0': no filter chains specified"
        assert await refused(ECHO, ECHO) == (
            "Error: terminal filter named echo of type envoy.filters.network.echo must be the last filter in a "
            "network filter chain."
        )
        overlapping = [{"filter_chain_match": {"source_ports": [1, each]}, "filters": [ECHO]} for each in (2, 3)]
        assert await refused(filter_chains=overlapping) == (
            "error adding listener '127.0.0.1:0': multiple filter chains with overlapping matching rules are defined"
        )
        taken = {"socket_address": {"address": "203.0.113.7", "port_value": 0}}
        assert await refused(ECHO, additional_addresses=[{"address": taken}]) == (
            "cannot bind '203.0.113.7:0': Cannot assign requested address"
        )

    run(main)


def test_two_listeners_can_not_have_one_address() -> None:
    async def main() -> None:
        async with l4_server(ECHO) as server:
            address = {"socket_address": {"address": "127.0.0.1", "port_value": server.port()}}
            server.add_listener(ECHO, name="a", address=address)
            with pytest.raises(ConfigError, match=r"error adding listener: 'b' has duplicate address '127\.0\.0\.1:"):
                server.add_listener(ECHO, name="b", address=address)

    run(main)


@LOOPS
def test_stopped_listeners_refuse_and_their_connections_go_on(loop: str) -> None:
    async def main() -> None:
        async with l4_server(ECHO) as server:
            port = server.port()
            server.add_listener(ECHO, name="in", traffic_direction="INBOUND")
            inbound = server.port("in")
            with await Peer.connect(("127.0.0.1", port)) as client:
                await client.send(b"a")
                assert await client.receive(1) == b"a"
                server.listener_manager.stop_listeners(StopListenersType.INBOUND_ONLY)
                with pytest.raises(ConnectionRefusedError):
                    await Peer.connect(("127.0.0.1", inbound))
                assert await echoes(("127.0.0.1", port))
                server.listener_manager.stop_listeners()
                with pytest.raises(ConnectionRefusedError):
                    await Peer.connect(("127.0.0.1", port))
                await client.send(b"b")
                assert await client.receive(1) == b"b"
            assert server.value("listener_manager.listener_stopped") == 2

    run(main, loop)


def test_graceful_drain_accepts_until_the_drain_time_is_over() -> None:
    async def main() -> None:
        async with l4_server(ECHO, simulated=True) as server:
            port = server.port()
            (listener,) = server.listener_manager.listeners()
            server.listener_manager.drain_listeners(graceful=True)
            await server.advance(0.29)
            assert await echoes(("127.0.0.1", port))
            await server.advance(0.02)
            assert listener.context.drain_close()
            with pytest.raises(ConnectionRefusedError):
                await Peer.connect(("127.0.0.1", port))

    run(main)


@LOOPS
def test_updated_listener_keeps_its_socket_and_drains_the_old_connections(loop: str) -> None:
    async def main() -> None:
        async with l4_server(ECHO, via_api=True) as server:
            port = server.port()
            with await Peer.connect(("127.0.0.1", port)) as old:
                await old.send(b"a")
                assert await old.receive(1) == b"a"
                server.add_listener(ECHO, via_api=True)
                assert server.value("listener_manager.listener_modified") == 0, "nothing has changed"
                server.add_listener(direct("new"), via_api=True, per_connection_buffer_limit_bytes=65536)
                assert server.port() == port
                with await Peer.connect(("127.0.0.1", port)) as new:
                    assert await new.end() == (b"new", "FIN")
                await old.send(b"b")
                assert await old.receive(1) == b"b"
                assert server.value("listener_manager.total_listeners_draining") == 1
                assert await old.end() == (b"", "FIN")
                assert server.value("listener_manager.total_listeners_draining") == 0
            assert server.value("listener_manager.listener_modified") == 1

    run(main, loop)


@LOOPS
def test_of_a_listener_that_changes_filter_chains_only_those_that_are_gone_drain(loop: str) -> None:
    async def main() -> None:
        async with l4_server(ECHO, via_api=True) as server:
            port = server.port()
            (listener,) = server.listener_manager.listeners()
            with await Peer.connect(("127.0.0.1", port)) as old:
                await old.send(b"a")
                assert await old.receive(1) == b"a"
                server.add_listener(direct("new"), via_api=True)
                assert server.listener_manager.listeners() == [listener]
                with await Peer.connect(("127.0.0.1", port)) as new:
                    assert await new.end() == (b"new", "FIN")
                await old.send(b"b")
                assert await old.receive(1) == b"b"
                assert server.value("listener_manager.total_listeners_draining") == 0
                assert server.value("listener_manager.total_filter_chains_draining") == 1
                assert await old.end() == (b"", "FIN")
                assert server.value("listener_manager.total_filter_chains_draining") == 0
            assert server.value("listener_manager.listener_in_place_updated") == 1
            server.add_listener(ECHO, via_api=True)
            assert await echoes(("127.0.0.1", port))

    run(main, loop)


def test_removed_listener_refuses_and_its_stats_go_with_its_last_connection() -> None:
    async def main() -> None:
        async with l4_server(ECHO, via_api=True) as server:
            port = server.port()
            assert server.listener_manager.remove_listener("l")
            assert not server.listener_manager.remove_listener("l")
            with pytest.raises(ConnectionRefusedError):
                await Peer.connect(("127.0.0.1", port))
            assert server.value("listener_manager.total_listeners_active") == 0
            await server.until(lambda: server.value("listener_manager.total_listeners_draining") == 0)
            with pytest.raises(KeyError):
                server.value(PREFIX + "downstream_cx_total")

    run(main)


def test_listener_of_the_bootstrap_can_not_be_changed() -> None:
    async def main() -> None:
        async with l4_server(ECHO) as server:
            server.add_listener(direct("new"), via_api=True)
            assert await echoes(("127.0.0.1", server.port()))
            assert not server.listener_manager.remove_listener("l")

    run(main)


class Wants(ListenerFilter):
    """Waits for a number of bytes, and counts how often it looked."""

    looks: list[bytes] = []
    max_read_bytes = 10

    def on_accept(self, socket: ConnectionSocket) -> FilterStatus:
        return FilterStatus.STOP_ITERATION

    def on_data(self, socket: ConnectionSocket, peeked: bytes) -> FilterStatus:
        self.looks.append(peeked)
        if len(peeked) < 6:
            return FilterStatus.STOP_ITERATION
        socket.info.requested_server_name = peeked[:6].decode()
        return FilterStatus.CONTINUE


@pytest.fixture
def wants(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A listener filter that takes the configuration of another one."""
    config_type = "envoy.extensions.filters.listener.original_src.v3.OriginalSrc"
    monkeypatch.setattr(LISTENER_FILTERS, "_by_type", {})
    monkeypatch.setattr(Wants, "looks", [])

    @LISTENER_FILTERS.register("test.wants", config_type)
    def create(config: Any, context: Any) -> ListenerFilterFactory:
        return Wants

    return {"name": "wants", "typed_config": {"@type": f"type.googleapis.com/{config_type}"}}


@LOOPS
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_listener_filter_sees_the_first_bytes_and_takes_none(
    loop: str, family: socket.AddressFamily, wants: dict[str, Any], tmp_path: Path
) -> None:
    async def main() -> None:
        chains = [{"filter_chain_match": {"server_names": ["secret"]}, "filters": [ECHO]}]
        address = ANYWHERE if family is socket.AF_INET else {"pipe": {"path": str(tmp_path / "s")}}
        async with l4_server(filter_chains=chains, listener_filters=[wants], address=address) as server:
            (listener,) = server.listener_manager.listeners()
            with await Peer.connect(listener.local_addresses[0].sockaddr, family) as client:
                await client.send(b"sec")
                await server.until(lambda: Wants.looks == [b"sec"])
                assert listener.stats.downstream_pre_cx_active == 1
                await asyncio.sleep(0.12)
                assert Wants.looks == [b"sec"], "the same bytes are not shown again"
                await client.send(b"ret and more")
                assert await client.receive(15) == b"secret and more"
            assert listener.stats.downstream_pre_cx_active == 0

    run(main, loop)


@pytest.mark.parametrize("goes_on", [False, True])
def test_listener_filter_that_waits_too_long(goes_on: bool, wants: dict[str, Any]) -> None:
    async def main() -> None:
        async with l4_server(
            direct("hello"),
            listener_filters=[wants],
            listener_filters_timeout="10s",
            continue_on_listener_filters_timeout=goes_on,
            simulated=True,
        ) as server:
            with await Peer.connect(("127.0.0.1", server.port())) as client:
                await server.until(lambda: server.value(PREFIX + "downstream_pre_cx_active") == 1)
                await server.advance(9.9)
                assert server.value(PREFIX + "downstream_pre_cx_timeout") == 0
                await server.advance(0.2)
                assert await client.end() == (b"hello" if goes_on else b"", "FIN")
            assert server.value(PREFIX + "downstream_pre_cx_timeout") == 1
            assert server.value(PREFIX + "downstream_pre_cx_active") == 0

    run(main)


def test_client_that_leaves_during_the_listener_filters(wants: dict[str, Any]) -> None:
    async def main() -> None:
        async with l4_server(ECHO, listener_filters=[wants]) as server:
            (await Peer.connect(("127.0.0.1", server.port()))).close()
            await server.until(lambda: server.value(PREFIX + "downstream_listener_filter_remote_close") == 1)
            assert server.value(PREFIX + "downstream_cx_total") == 0
            assert server.value(PREFIX + "downstream_pre_cx_active") == 0

    run(main)


@LOOPS
def test_server_that_stops_closes_what_is_open(loop: str) -> None:
    async def main() -> None:
        with Backend() as backend:
            async with l4_server(tcp_proxy(), clusters=[cluster(backend.port)]) as server:
                client = await Peer.connect(("127.0.0.1", server.port()))
                upstream = await backend.accept()
            assert (await client.end())[0] == b""
            assert (await upstream.end())[0] == b""
            client.close()
            upstream.close()
            assert isinstance(server, L4Server)

    run(main, loop)
